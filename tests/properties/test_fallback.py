"""The backlog over two sides: whatever fails in between, what was acknowledged is done, and one at a time."""

import asyncio
import tempfile
from pathlib import Path

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.store.backlog import RUNNING, WAITING, NewEntry, Settlement
from sidecar.store.base import StoreDown
from tests.kit.clock import ManualClock
from tests.store.sides import LEASE, LINE, WIDE, Sides

ROUNDS_MAX = 50  # Of working off what is left; each is a lease later. More: something is never given out again.

NAMES = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["", "k"])),
        st.tuples(st.just("shared"), st.sampled_from(["up", "down", "deaf"])),
        st.tuples(st.just("local"), st.sampled_from(["up", "up", "down"])),
        st.tuples(st.just("claim"), st.integers(1, 3)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.sampled_from(["done", WAITING])),
        st.tuples(st.just("keep")),
        st.tuples(st.just("pass"), st.sampled_from([1.0, LEASE])),
        st.tuples(st.just("restart")),
    ),
    min_size=5,
    max_size=40,
)  # fmt: skip


class Play:
    """What was acknowledged, what is worked on, and what was done."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.acknowledged: set[str] = set()
        self.done: set[str] = set()
        self.held: list[str] = []

    async def step(self, step: tuple[object, ...]) -> None:
        """Take one; what fails was not acknowledged."""
        backlog = self.sides.backlog
        match step:
            case ("append", list(ids), str(key)):
                await backlog.append(LINE, [NewEntry(name, key, b"h", b"b") for name in ids], WIDE)
                self.acknowledged |= set(ids)
            case ("shared", str(how)):
                self.sides.shared.how = how
            case ("local", str(how)):
                self.sides.local.how = how
            case ("claim", int(count)):
                await self.claim(count)
            case ("settle", int(number), str(state)) if self.held:
                await self.settle(self.held[number % len(self.held)], state)
            case ("keep",):
                await backlog.keep(LINE, self.held, "w", LEASE)
            case ("pass", float(seconds)):
                await self.sides.clock.advance(seconds)
                await self.keep_up()
            case ("restart",):
                self.held.clear()
                await self.sides.restart("w")
            case _:
                assert step[0] == "settle", "nothing is held that could be settled"

    async def keep_up(self) -> None:
        """Keep what is worked on, as a worker does all the time; whether it is heard or not."""
        try:
            await self.sides.backlog.keep(LINE, self.held, "w", LEASE)
        except StoreDown:
            return

    async def claim(self, count: int) -> int:
        """Begin."""
        claimed = await self.sides.backlog.claim(LINE, "w", count, LEASE)
        for entry in claimed:
            assert entry.id not in self.held, "it is worked on already"
            self.held.append(entry.id)
        return len(claimed)

    async def settle(self, name: str, state: str) -> None:
        """End one. It was done even if that cannot be stored, or was stored by a question that nobody answered."""
        if state == "done":
            self.done.add(name)
        await self.sides.backlog.settle(LINE, name, "w", Settlement(state, 1.0))
        self.held.remove(name)

    async def work_off(self) -> None:
        """Do all that is left."""
        for _ in range(ROUNDS_MAX):
            while await self.claim(3) or self.held:
                for name in list(self.held):
                    await self.settle(name, "done")
            states = (await self.sides.backlog.tally(LINE)).states
            if not any(states.get(state) for state in (WAITING, RUNNING)):
                return
            await self.sides.clock.advance(LEASE)
        raise AssertionError("something is never given out again")


async def play(steps: list[tuple[object, ...]]) -> None:
    """Play a sequence, then let all heal."""
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(Path(folder), ManualClock())
        await sides.open()
        played = Play(sides)
        try:
            for step in steps:
                try:
                    await played.step(step)
                except StoreDown:
                    continue
            played.held.clear()
            sides.shared.how = "up"
            await sides.restart("w")  # What was claimed by questions that nobody heard the answer of has ended.
            await played.work_off()
            assert played.acknowledged <= played.done
        finally:
            await sides.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps=STEPS)
def test_nothing_that_was_acknowledged_is_lost(steps: list[tuple[object, ...]]) -> None:
    """Over outages, questions whose answers are lost, broken disks and restarts, in any order."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play(steps))
