"""The bulkhead under random sequences: never too many inside, first come first served, every slot comes back."""

import asyncio
from typing import Any

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.body import NO_BODY
from sidecar.core.call import Call, Reply
from sidecar.core.errors import BulkheadFull, DeadlineExceeded, UpstreamReset
from sidecar.core.outcome import Outcome
from sidecar.core.units import Duration
from sidecar.layers.bulkhead.bulkhead import Bulkhead
from sidecar.layers.bulkhead.config import BulkheadConfig
from sidecar.layers.bulkhead.layer import bulkhead
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from([1, 5, 100])),
        st.tuples(st.just("ask"), st.sampled_from([1, 5, 100])),
        st.tuples(st.sampled_from(["answer", "answer", "break", "end", "end", "cancel"]), st.integers(0, 9)),
        st.tuples(st.just("resize"), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 5])),
        st.tuples(st.just("settle"), st.just(0)),
    ),
    min_size=10,
    max_size=60,
)


class Asked:
    """One call, its task, and how its attempt ends."""

    def __init__(self, call: Call, number: int) -> None:
        self.call = call
        self.number = number
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self.is_inside = False


def fits(word: str, asked: Asked) -> bool:
    """Whether this can happen to a call now."""
    assert asked.task is not None
    if word in {"end", "cancel"}:
        return asked.task.done() == (word == "end")
    return asked.is_inside and not asked.answer.done()


class Run:
    """Calls through one bulkhead, of which a test decides when each is answered, ended, cancelled."""

    def __init__(self, config: BulkheadConfig) -> None:
        self.clock = ManualClock()
        self.machine = Bulkhead(config, self.clock.now())
        self.slots = self.machine.slots
        self.handler = bulkhead(self.machine, self.clock)(self._vendor)
        self.asked: dict[bytes, Asked] = {}
        self.entered: list[int] = []
        self.count = 0
        self.too_many = 0  # Those inside when the slots became fewer, and not gone since.

    async def _vendor(self, call: Call) -> Reply:
        asked = self.asked[call.target]
        asked.is_inside = True
        self.entered.append(asked.number)
        self.check()
        return await asked.answer

    async def _ask(self, asked: Asked) -> None:
        try:
            await self.handler(asked.call)
        except (BulkheadFull, DeadlineExceeded, UpstreamReset):
            self._end(asked, Outcome.FAILURE)
        except asyncio.CancelledError:
            self._end(asked, Outcome.CANCELLED)
            raise

    def _end(self, asked: Asked, outcome: Outcome) -> None:
        asked.is_inside = False
        del self.asked[asked.call.target]
        asked.call.end(outcome)
        self.too_many = max(0, min(self.too_many, self.slots.taken - self.slots.capacity))

    async def step(self, word: str, number: int) -> None:
        """Play one step; between two of them the loop need not turn."""
        if word == "ask":
            asked = Asked(call_for(target=b"/%d" % self.count), self.count)
            self.count += 1
            asked.call.deadline_at = self.clock.now() + number
            self.asked[asked.call.target] = asked
            asked.task = asyncio.get_running_loop().create_task(self._ask(asked))
        elif word == "wait":
            await self.clock.advance(number)
        elif word == "settle":
            await settle()
        elif word == "resize":
            self.too_many = max(0, self.slots.taken - number)
            self.slots.resize(number)
        else:
            fitting = [asked for asked in self.asked.values() if fits(word, asked)]
            if fitting:
                self.end_one(word, fitting[number % len(fitting)])

    def end_one(self, word: str, asked: Asked) -> None:
        """Answer, break off, end or cancel one of the calls."""
        assert asked.task is not None
        if word == "cancel":
            asked.task.cancel()
        elif word == "end":
            if asked.task.done():
                if not asked.task.cancelled():  # Before it began.
                    asked.task.result()  # A fault of ours is raised here.
                self._end(asked, Outcome.SUCCESS)
        elif not asked.answer.done():
            if word == "answer":
                asked.answer.set_result(Reply(200, b"OK", [], NO_BODY))
            else:
                asked.answer.set_exception(UpstreamReset("gone"))
                asked.answer.exception()

    def check(self) -> None:
        """What holds at all times."""
        inside = sum(asked.is_inside for asked in self.asked.values())
        assert inside <= self.slots.taken <= self.slots.capacity + self.too_many, "too many inside"
        assert self.slots.waiting <= self.slots.waiting_max
        assert not self.slots.waiting or self.slots.taken >= self.slots.capacity, "a slot is free, and somebody waits"

    async def wind_up(self) -> None:
        """End everything, and look whether it is all there."""
        for _ in range(200):
            await settle()
            for asked in list(self.asked.values()):
                self.end_one("answer", asked)
                self.end_one("end", asked)
            self.check()
            if not self.asked:
                break
        assert not self.asked, "somebody starves in line"
        await settle()
        assert (self.slots.taken, self.slots.waiting) == (0, 0)
        assert self.clock.pending == 0


async def play(config: BulkheadConfig, steps: list[tuple[str, int]]) -> None:
    """Play a sequence to its end."""
    run = Run(config)
    for word, number in steps:
        await run.step(word, number)
        run.check()
    await run.wind_up()


def finish(work: Any) -> None:
    """Run to the end on the loop of production."""
    uvloop.run(work)


@settings(max_examples=400)
@given(
    steps=STEPS,
    slots=st.integers(1, 4),
    waiting_max=st.integers(0, 5),
    wait_max=st.sampled_from([None, Duration(2)]),
)
def test_every_slot_comes_back_and_nobody_starves(
    steps: list[tuple[str, int]], slots: int, waiting_max: int, wait_max: Duration | None
) -> None:
    """Any order of calls, answers, failures, last bytes, hang-ups, time, and changes of the number."""
    finish(play(BulkheadConfig(slots=slots, waiting_max=waiting_max, wait_max=wait_max), steps))


async def in_order(cancelled: set[int], count: int) -> list[int]:
    """Let `count` wait behind one, hang some of them up, and give the order in which the others came in."""
    run = Run(BulkheadConfig(slots=1))
    for _ in range(count):
        await run.step("ask", 100)
        await settle()
    waiting = list(run.asked.values())
    for asked in waiting:
        if asked.number in cancelled:
            run.end_one("cancel", asked)
    await run.wind_up()
    return run.entered


@given(cancelled=st.sets(st.integers(1, 9)), count=st.integers(1, 10))
def test_first_come_first_served(cancelled: set[int], count: int) -> None:
    """Whoever hangs up meanwhile."""

    async def ordered() -> None:
        entered = await in_order(cancelled, count)
        assert entered == [number for number in range(count) if number not in cancelled]

    finish(ordered())
