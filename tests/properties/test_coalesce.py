"""Shared calls under any sequence of events: all that was taken comes back, and nobody who waits is forgotten."""

import asyncio

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.body import Body
from sidecar.core.call import Reply
from sidecar.core.errors import DeadlineExceeded, Draining, SidecarError, UpstreamReset
from sidecar.core.outcome import Outcome
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import read_all
from tests.layers.coalesce.shared import Asked, Crowd

WORDS = [
    "ask", "ask", "ask", "ask", "other", "hurried", "hang_up", "hang_up", "now", "answer", "answer", "stream", "begin",
    "go_on", "finish", "break", "fail", "fault", "age", "settle", "settle", "stop",
]  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 7)), max_size=50)
BODY_MAX = 8


class Run:
    """One sequence, with what is under way."""

    def __init__(self, waiting_max: int) -> None:
        self.clock = ManualClock()
        self.crowd = Crowd(self.clock, body_max=BODY_MAX, waiting_max=waiting_max)
        self.bodies: list[Body] = []  # Of answers that have begun.
        self.ended: set[int] = set()  # Calls of the apps, by number.

    def open(self) -> list[Asked]:
        """Give what waits for an answer's head."""
        return [asked for asked in self.crowd.asked if not asked.future.done()]

    async def step(self, word: str, number: int) -> None:
        """Do one thing."""
        crowd, asked = self.crowd, self.open()
        turn = number % len(asked) if asked else 0
        match word:
            case "ask" | "other" | "hurried":
                target = b"/other" if word == "other" else b"/x"
                await crowd.ask(target, seconds=number + 0.5 if word == "hurried" else 100)
            case "hang_up" if crowd.calls:
                await self.hang_up(number % len(crowd.calls))
            case "now" if asked and crowd.calls:  # In the very turn in which the answer comes.
                asked[turn].answer(b"%d" % number)
                await self.hang_up(number % len(crowd.calls))
            case "answer" if asked:
                asked[turn].answer(b"y" * number, status=503 if number == 5 else 200)
            case "stream" if asked:
                asked[turn].answer(self.begin(None), headers=[(b"Content-Type", b"text/event-stream")])
            case "begin" if asked:
                asked[turn].answer(self.begin(None if number % 2 else 12 - number))
            case "go_on" if self.bodies:
                self.bodies[number % len(self.bodies)].feed(b"z" * (number + 1))
            case "finish" if self.bodies:
                self.bodies.pop(number % len(self.bodies)).finish()
            case "break" if self.bodies:
                self.bodies.pop(number % len(self.bodies)).fail(UpstreamReset("gone"))
            case "fail" if asked:
                error = DeadlineExceeded("late") if number % 2 else UpstreamReset("gone")
                asked[turn].break_off(error)
            case "fault" if asked:
                asked[turn].break_off(ZeroDivisionError("a fault"))
            case "age":
                await self.clock.advance(number * 0.4)
            case "settle":
                await settle()
            case "stop" if number == 0:  # Seldom, since it ends everything.
                await crowd.tasks.stop()

    def begin(self, length: int | None) -> Body:
        """Begin a body."""
        body = Body(length)
        self.bodies.append(body)
        return body

    async def hang_up(self, number: int) -> None:
        """Cancel a call of an app in whatever it does, and end it as the exchange would."""
        call, task = self.crowd.calls[number]
        if number in self.ended:
            return
        task.cancel()
        await asyncio.wait([task])
        self.ended.add(number)
        if not task.cancelled():
            task.exception()
        call.end(Outcome.CANCELLED)

    async def wind_up(self) -> None:
        """Answer everybody, and end every call that is left."""
        for body in self.bodies:
            body.finish()
        for _ in range(len(self.crowd.calls) + 1):
            for asked in self.open():
                asked.answer(b"end")
            await settle()
        for number, (call, task) in enumerate(self.crowd.calls):
            assert task.done(), "somebody waits for ever"
            if number in self.ended:
                continue
            await self.end(number)
            call.end(Outcome.SUCCESS)
        await settle()

    async def end(self, number: int) -> None:
        """Look at what a call got, and read it as its app would."""
        _, task = self.crowd.calls[number]
        error = task.exception()
        if error is None:
            reply: Reply = task.result()
            try:
                await asyncio.wait_for(read_all(reply.body), 1)
            except UpstreamReset:
                return
        else:
            assert isinstance(error, (SidecarError, ZeroDivisionError)), error
            assert not isinstance(error, Draining) or len(self.crowd.tasks) == 0


async def play(steps: list[tuple[str, int]], waiting_max: int) -> None:
    """Play a sequence to its end."""
    run = Run(waiting_max)
    for word, number in steps:
        await run.step(word, number)
        snapshot = run.crowd.layer.snapshot()
        assert snapshot["shared_calls"] <= 2, "one for each target"
        assert snapshot["waiting"] <= 2 * (waiting_max + 1)
    await run.wind_up()
    run.crowd.assert_quiet()


@settings(max_examples=300)
@given(steps=STEPS, waiting_max=st.integers(1, 4))
def test_everything_comes_back_and_everybody_gets_an_answer(steps: list[tuple[str, int]], waiting_max: int) -> None:
    """Any order of asking, hanging up, answers, streams, breaks, faults, deadlines and stops."""
    uvloop.run(play(steps, waiting_max))
