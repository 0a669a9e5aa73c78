"""One key in two pods under any sequence of events: the vendor is asked once, as long as there is a record of it."""

import asyncio
import contextlib

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.body import Body
from sidecar.core.call import Reply
from sidecar.core.errors import RateLimited, SidecarError, UpstreamReset
from sidecar.core.outcome import Outcome
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import read_all
from tests.layers.coalesce.shared import Asked
from tests.layers.idempotency.pods import Pods, Slow

WORDS = [
    "ask", "ask", "ask", "other", "hang_up", "hang_up", "now", "answer", "answer", "stream", "feed", "finish", "break",
    "fail", "refuse", "close", "open", "age", "settle", "turn",
]  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 7)), max_size=50)
DEADLINE = 1000.0  # Longer than all that passes, so a claim ends by its call alone.


class Run:
    """One sequence, with what is under way."""

    def __init__(self, *, waits: bool) -> None:
        self.clock = ManualClock()
        self.records = Slow(self.clock)
        self.pods = Pods(self.clock, 2, records=self.records, waits=waits, answer_max=8)
        self.bodies: list[Body] = []
        self.ended: set[int] = set()
        self.done: dict[bytes, int] = {}  # Keys for which the vendor gave a final answer, or nobody knows: the status.
        self.seen = 0

    def open(self) -> list[Asked]:
        """Give what waits for an answer's head."""
        return [asked for asked in self.pods.asked if not asked.future.done()]

    def look(self) -> None:
        """Hold what reached the vendor since the last look to the promise."""
        for asked in self.pods.asked[self.seen :]:
            key = asked.call.idempotency_key
            assert key is not None
            assert key not in self.done, "it was done, or might be, and the vendor is asked again"
            others = [other for other in self.open() if other.call.idempotency_key == key]
            assert others in ([asked], []), "two at once"
        self.seen = len(self.pods.asked)

    async def step(self, word: str, number: int) -> None:
        """Do one thing."""
        pods, asked = self.pods, self.open()
        one = asked[number % len(asked)] if asked else None
        match word:
            case "ask" | "other":
                await pods.ask(b"b" if word == "other" else b"a", pod=number % 2, seconds=DEADLINE)
            case "hang_up" if pods.calls:
                await self.hang_up(number % len(pods.calls))
            case "now" if one is not None:  # In the very turn in which the answer comes.
                self.answer(one, b"y")
                await self.hang_up([call for call, _ in pods.calls].index(one.call))
            case "answer" if one is not None:
                self.answer(one, b"y" * number * 2, 503 if number == 5 else 200)
            case "stream" if one is not None:
                self.bodies.append(Body(None if number % 2 else 6))
                self.answer(one, self.bodies[-1])
            case "feed" if self.bodies:
                self.bodies[number % len(self.bodies)].feed(b"z" * number)
            case "finish" if self.bodies:
                self.bodies.pop(number % len(self.bodies)).finish()
            case "break" if self.bodies:
                self.bodies.pop(number % len(self.bodies)).fail(UpstreamReset("gone"))
            case "fail" if one is not None:
                one.break_off(UpstreamReset("gone"))
            case "refuse" if one is not None:  # Before it was sent.
                one.call.attempts.clear()
                one.break_off(RateLimited("no permit"))
            case "close":
                self.records.gate.clear()
            case "open":
                self.records.gate.set()
            case "age":
                await self.clock.advance(number * 0.3)
            case "turn":
                await settle(number)
            case _:
                await settle()

    def answer(self, asked: Asked, body: Body | bytes, status: int = 200) -> None:
        """Answer; a final one is not to be had twice."""
        asked.answer(body, status)
        if status < 500:
            assert asked.call.idempotency_key is not None
            self.done[asked.call.idempotency_key] = status

    async def hang_up(self, number: int) -> None:
        """Cancel a call of an app in whatever it does, and end it as the exchange would."""
        call, task = self.pods.calls[number]
        if number in self.ended:
            return
        self.ended.add(number)
        for asked in self.open():
            if asked.call is call and call.idempotency_key is not None:
                self.done.setdefault(call.idempotency_key, 0)  # Nobody knows.
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        call.end(Outcome.CANCELLED)

    async def wind_up(self) -> None:
        """Open the store, answer everybody, and end every call that is left."""
        self.records.gate.set()
        for body in self.bodies:
            body.finish()
        for _ in range(len(self.pods.calls) + 1):
            await self.clock.advance(2)
            self.look()
            for asked in self.open():
                self.answer(asked, b"end")
            await self.end_those_that_are_done()
        await self.clock.advance(DEADLINE + 10)
        await self.end_those_that_are_done()
        for number in set(range(len(self.pods.calls))) - self.ended:
            raise AssertionError(f"call {number} waits for ever")
        self.pods.assert_quiet()
        assert self.clock.pending == 0

    async def end_those_that_are_done(self) -> None:
        """Read what each got, as its app would."""
        for number, (call, task) in enumerate(self.pods.calls):
            if number in self.ended or not task.done():
                continue
            self.ended.add(number)
            error = task.exception()
            if error is None:
                reply: Reply = task.result()
                with contextlib.suppress(UpstreamReset):
                    await asyncio.wait_for(read_all(reply.body), 1)
            else:
                assert isinstance(error, SidecarError), error
            call.end(Outcome.SUCCESS)
        await settle()


async def play(steps: list[tuple[str, int]], *, waits: bool) -> None:
    """Play a sequence to its end."""
    run = Run(waits=waits)
    for word, number in steps:
        await run.step(word, number)
        run.look()
    await run.wind_up()


@settings(max_examples=300)
@given(steps=STEPS, waits=st.booleans())
def test_what_was_done_is_not_asked_for_again(steps: list[tuple[str, int]], waits: bool) -> None:
    """Any order of asking, hanging up, answers, streams, breaks, failures, refusals, and a store that is slow."""
    uvloop.run(play(steps, waits=waits))
