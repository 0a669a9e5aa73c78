"""Gathered reads under any sequence of events: each gets exactly its own, or a stated failure; nothing is left."""

import asyncio
import json

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.errors import DeadlineExceeded, Draining, NotInAnswer, SidecarError, UpstreamReset
from sidecar.core.outcome import Outcome
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import read_all
from tests.layers.coalesce.shared import Asked
from tests.layers.gathering.readers import JSON, Readers, things

WORDS = [
    "ask", "ask", "ask", "ask", "ask", "hurried", "hang_up", "answer", "answer", "answer", "turned", "short", "twice",
    "refuse", "down", "fail", "fault", "age", "age", "age", "stop",
]  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 7)), max_size=50)


def ids_of(asked: Asked) -> list[int]:
    """Give what a vendor call asks for."""
    path, _, query = asked.call.target.partition(b"?ids=")
    return [int(one) for one in query.split(b",")] if query else [int(path.rpartition(b"/")[2])]


class Run:
    """One sequence, with what is under way."""

    def __init__(self, ids_max: int) -> None:
        self.clock = ManualClock()
        self.ids_max = ids_max
        self.readers = Readers(self.clock, ids_max=ids_max, waiting_max=5)
        self.ended: set[int] = set()  # Calls of the apps, by number.
        self.wanted: list[int] = []  # The id of each call.
        self.is_stopped = False

    async def step(self, word: str, number: int) -> None:
        """Do one thing."""
        readers = self.readers
        waiting = [asked for asked in readers.asked if not asked.future.done()]
        asked = waiting[number % len(waiting)] if waiting else None
        match word:
            case "ask" | "hurried":
                self.wanted.append(number)
                await readers.ask(b"/c/%d" % number, seconds=0.01 * number if word == "hurried" else 100)
            case "hang_up" if readers.calls:
                await self.hang_up(number % len(readers.calls))
            case "age":
                await self.clock.advance(number * 0.002)
            case "stop" if number == 0:
                self.is_stopped = True
                await readers.tasks.stop()
            case _:
                if asked is not None:
                    self.answer(word, number, asked)
                    await settle()

    def answer(self, word: str, number: int, asked: Asked) -> None:
        """Have the vendor say something."""
        ids = ids_of(asked)
        assert len(set(ids)) == len(ids) <= self.ids_max
        if word == "fail":
            asked.break_off(DeadlineExceeded("late") if number % 2 else UpstreamReset("gone"))
        elif word == "fault":
            asked.break_off(ZeroDivisionError("a fault"))
        elif word in {"refuse", "down"}:
            asked.answer(b"no", status=400 if word == "refuse" else 503)
        elif b"?ids=" not in asked.call.target:
            asked.answer(json.dumps({"id": ids[0]}).encode())
        else:
            content = {"answer": ids, "turned": ids[::-1], "short": ids[1:], "twice": [*ids, ids[0]]}.get(word, ids)
            asked.answer(things(*content), headers=JSON)

    async def hang_up(self, number: int) -> None:
        """Have an app hang up, or take its answer to the end."""
        call, task = self.readers.calls[number]
        if number in self.ended:
            return
        self.ended.add(number)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await self.look(number, task)
        call.end(Outcome.CANCELLED)

    async def look(self, number: int, task: "asyncio.Task[object]") -> None:
        """Hold an answer against what was asked."""
        reply = self.readers.calls[number][1].result()
        assert task.done()
        content = await read_all(reply.body)
        if reply.status == 200:
            assert json.loads(content)["id"] == self.wanted[number]
        else:
            assert (reply.status, content) in {(503, b"no"), (400, b"no")}

    async def finish(self) -> None:
        """Let everything come to its end, and see that nothing is left."""
        for _ in range(50):
            await self.clock.advance(1)
            for asked in [asked for asked in self.readers.asked if not asked.future.done()]:
                self.answer("answer", 0, asked)
            await settle()
        for number, (call, task) in enumerate(self.readers.calls):
            if number in self.ended:
                continue
            assert task.done(), "somebody who waits was forgotten"
            error = task.exception()
            if error is None:
                await self.look(number, task)
            elif isinstance(error, SidecarError):
                assert isinstance(error, NotInAnswer | DeadlineExceeded | UpstreamReset | Draining)
                assert not isinstance(error, Draining) or self.is_stopped
            else:
                assert isinstance(error, ZeroDivisionError)
            call.end(Outcome.SUCCESS)
        self.readers.assert_quiet()
        assert None not in [asked.outcome() for asked in self.readers.asked]


@settings(max_examples=200)
@given(STEPS, st.integers(1, 4))
def test_each_gets_its_own_or_a_stated_failure(steps: list[tuple[str, int]], ids_max: int) -> None:
    """Whoever comes, leaves or is late, and whatever the vendor answers."""

    async def run() -> None:
        one = Run(ids_max)
        for word, number in steps:
            await one.step(word, number)
        await one.finish()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(lambda *_: None)  # A fault that nobody takes is told there.
        runner.run(run())
