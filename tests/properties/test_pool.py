"""The pool under any sequence of events: never over its bound, every place comes back, nobody starves."""

import asyncio
from typing import Any

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.errors import ConnectFailed, Shed
from sidecar.core.units import Duration
from sidecar.upstream.pool import PoolConfig
from tests.kit.clock import ManualClock, settle
from tests.upstream.pooled import Line, Lines

WORDS = [
    "take", "take", "take", "insist", "give_back", "give_back", "break", "close", "cancel", "fail", "hold", "release",
    "age", "hint", "settle", "settle", "settle", "retire",
]  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 7)), max_size=60)


class Run:
    """One sequence, with what it holds."""

    def __init__(self, config: PoolConfig) -> None:
        self.clock = ManualClock()
        self.lines = Lines(self.clock, config)
        self.config = config
        self.asks: list[asyncio.Task[Line]] = []
        self.holds: list[asyncio.Event] = []
        self.lent: list[Line] = []

    def collect(self) -> None:
        """Take note of the asks that ended."""
        for ask in [ask for ask in self.asks if ask.done()]:
            self.asks.remove(ask)
            if ask.cancelled():
                continue
            error = ask.exception()
            if error is None:
                assert ask.result() not in self.lent, "lent to two"
                self.lent.append(ask.result())
            else:
                assert isinstance(error, (ConnectFailed, Shed)), error

    async def step(self, word: str, number: int) -> None:
        """Do one thing."""
        match word:
            case "take":
                self.asks.append(self.lines.ask(seconds=1e6))
            case "insist":
                self.asks.append(self.lines.ask(seconds=1e6, insists=True))
            case "give_back" | "break" | "hint" if self.lent:
                line = self.lent.pop(number % len(self.lent))
                line.may_go_on = word != "break"
                line.keepalive_hint = float(number) if word == "hint" else None
                self.lines.give_back(line)
            case "close" if self.lines.dialled:
                line = self.lines.dialled[number % len(self.lines.dialled)]
                if not line.is_closed:
                    self.lines.lose(line)
            case "cancel" if self.asks:
                self.asks[number % len(self.asks)].cancel()
            case "fail":
                self.lines.fail_next_dial()
            case "hold":
                self.holds.append(asyncio.Event())
                self.lines.holds.append(self.holds[-1])
            case "release" if self.holds:
                self.holds.pop(0).set()
            case "age":
                await self.clock.advance(number * 5.0)
            case "settle":
                await settle()
            case "retire" if number == 0:  # Seldom, since little happens afterwards.
                self.lines.pool.retire()

    def check(self) -> None:
        """Hold what must be so between any two steps."""
        idle, busy, waiting = self.lines.counts()
        assert 0 <= idle <= self.config.idle_max
        assert busy >= 0
        assert idle + busy <= self.config.connections_max
        assert waiting <= self.config.waiting_max
        assert self.lines.open <= self.config.connections_max

    async def wind_up(self) -> None:
        """Give everything back: nobody may be left in line, and no place."""
        self.lines.failures.clear()
        for hold in [*self.holds, *self.lines.holds]:
            hold.set()
        for _ in range(200):
            await settle()
            self.collect()
            if not self.lent:
                break
            self.lines.give_back(self.lent.pop(0))
        assert not self.asks, "somebody starves in line while a place is free"
        self.lines.pool.retire()
        assert self.lines.counts() == (0, 0, 0)
        assert self.lines.open == 0
        assert self.clock.pending == 0


async def play(config: PoolConfig, steps: list[tuple[str, int]]) -> None:
    """Play a sequence to its end."""
    run = Run(config)
    for word, number in steps:
        await run.step(word, number)
        run.collect()
        run.check()
        if word == "settle" and not run.holds:
            idle, busy, waiting = run.lines.counts()
            assert not waiting or idle + busy == config.connections_max, "a place is free, and somebody waits"
            assert not (waiting and idle), "a connection is idle, and somebody waits"
    await run.wind_up()


def finish(work: Any) -> None:
    """Run to the end on the loop of production."""
    uvloop.run(work)


@settings(max_examples=300)
@given(steps=STEPS, places=st.integers(1, 3), idle_max=st.integers(0, 3), waiting_max=st.integers(0, 4))
def test_every_place_comes_back_and_nobody_starves(
    steps: list[tuple[str, int]], places: int, idle_max: int, waiting_max: int
) -> None:
    """Any order of take, give back, break, close, cancel, fail and time."""
    config = PoolConfig(connections_max=places, idle_max=idle_max, waiting_max=waiting_max, idle_timeout=Duration(30))
    finish(play(config, steps))
