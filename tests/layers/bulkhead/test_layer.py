"""Who is inside, who waits, and that every slot comes back."""

import asyncio
from typing import Any

import pytest

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call, Handler, Reply
from sidecar.core.errors import BulkheadFull, DeadlineExceeded, UpstreamReset
from sidecar.core.outcome import Outcome
from sidecar.core.units import Duration
from sidecar.layers.bulkhead.bulkhead import Bulkhead
from sidecar.layers.bulkhead.config import BulkheadConfig
from sidecar.layers.bulkhead.layer import bulkhead
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for


class Bench:
    """A vendor behind a bulkhead; it answers at once, with `reply` or `error`, after moving time by `takes_s`."""

    def __init__(self, clock: ManualClock, **settings: Any) -> None:
        self.clock = clock
        self.machine = Bulkhead(BulkheadConfig(**settings), clock.now())
        self.handler: Handler = bulkhead(self.machine, clock)(self._vendor)
        self.came: list[bytes] = []
        self.reply = Reply(200, b"OK", [], NO_BODY)
        self.error: BaseException | None = None
        self.takes_s = 0.0
        self.pool_s = 0.0

    async def _vendor(self, call: Call) -> Reply:
        self.came.append(call.target)
        if self.takes_s:
            self.clock.tick(self.takes_s)
            call.waited_slot_s += self.pool_s
        if self.error is not None:
            raise self.error
        return self.reply

    async def enter(self, target: bytes = b"/", deadline_in: float = 20.0) -> Call:
        """Go in, and stay: the call has not ended."""
        call = call_for(target=target)
        call.deadline_at = self.clock.now() + deadline_in
        try:
            await self.handler(call)
        except BaseException:
            call.end(Outcome.FAILURE)
            raise
        return call

    async def fill(self, count: int) -> list[Call]:
        """Let so many in."""
        return [await self.enter() for _ in range(count)]

    @property
    def shown(self) -> tuple[int, int]:
        """In use, waiting."""
        shown = self.machine.snapshot(self.clock.now())
        return shown["in_use"], shown["waiting"]


async def test_a_slot_is_held_until_the_last_byte(clock: ManualClock) -> None:
    """Slow downloads count: with the head alone nothing is given back."""
    bench = Bench(clock, slots=1)
    bench.reply = Reply(200, b"OK", [], Body())
    call = await bench.enter()
    assert bench.shown == (1, 0)
    call.end(Outcome.SUCCESS)
    assert bench.shown == (0, 0)


async def test_the_others_wait_and_come_in_in_order(clock: ManualClock) -> None:
    """And the time in line is on the call's line."""
    bench = Bench(clock, slots=1)
    (inside,) = await bench.fill(1)
    tasks = []
    for target in (b"/1", b"/2", b"/3"):
        tasks.append(asyncio.create_task(bench.enter(target)))
        await settle()
    assert bench.shown == (1, 3)
    for task in tasks:
        await clock.advance(2)
        inside.end(Outcome.SUCCESS)
        inside = await task
    assert bench.came == [b"/", b"/1", b"/2", b"/3"]
    assert inside.waited_slot_s == 6.0
    inside.end(Outcome.SUCCESS)
    assert bench.shown == (0, 0)
    assert clock.pending == 0


async def test_a_full_line_refuses_at_once(clock: ManualClock) -> None:
    """503 with Retry-After and the numbers."""
    bench = Bench(clock, slots=1, waiting_max=1)
    (inside,) = await bench.fill(1)
    waiting = asyncio.create_task(bench.enter())
    await settle()
    with pytest.raises(BulkheadFull) as refused:
        await bench.enter()
    assert refused.value.retry_after == 1.0
    assert refused.value.detail == "all 1 slots of crm are in use, and 1 calls wait already"
    inside.end(Outcome.SUCCESS)
    (await waiting).end(Outcome.SUCCESS)


async def test_nobody_waits_when_nobody_may(clock: ManualClock) -> None:
    """`waiting_max = 0` refuses as soon as all slots are in use."""
    bench = Bench(clock, slots=1, waiting_max=0)
    (inside,) = await bench.fill(1)
    with pytest.raises(BulkheadFull):
        await bench.enter()
    inside.end(Outcome.SUCCESS)


async def test_the_wait_ends_at_the_calls_deadline_and_says_so(clock: ManualClock) -> None:
    """The time was spent in a line of ours: the vendor is not to blame."""
    bench = Bench(clock, slots=1)
    (inside,) = await bench.fill(1)
    waiting = asyncio.create_task(bench.enter(deadline_in=5))
    await clock.advance(5)
    with pytest.raises(DeadlineExceeded, match="waiting for a slot") as late:
        await waiting
    assert not late.value.blames_vendor
    assert bench.shown == (1, 0)
    inside.end(Outcome.SUCCESS)
    assert bench.shown == (0, 0)


async def test_the_wait_ends_at_wait_max_as_if_the_line_were_full(clock: ManualClock) -> None:
    """The call has time left, so this is no deadline."""
    bench = Bench(clock, slots=1, wait_max=Duration(2))
    (inside,) = await bench.fill(1)
    waiting = asyncio.create_task(bench.enter(deadline_in=5))
    await clock.advance(2)
    with pytest.raises(BulkheadFull, match="wait_max = 2 s"):
        await waiting
    inside.end(Outcome.SUCCESS)


async def test_a_hand_over_in_the_moment_of_hanging_up_goes_to_the_next(clock: ManualClock) -> None:
    """A slot must not be lost between two events of one turn of the loop."""
    bench = Bench(clock, slots=1)
    (inside,) = await bench.fill(1)
    first = asyncio.create_task(bench.enter(b"/1"))
    await settle()
    second = asyncio.create_task(bench.enter(b"/2"))
    await settle()
    inside.end(Outcome.SUCCESS)
    first.cancel()
    await asyncio.wait([first])
    (await second).end(Outcome.SUCCESS)
    assert bench.came == [b"/", b"/2"]
    assert bench.shown == (0, 0)


async def test_a_hang_up_just_before_a_hand_over_loses_nothing(clock: ManualClock) -> None:
    """The same the other way round."""
    bench = Bench(clock, slots=1)
    (inside,) = await bench.fill(1)
    first = asyncio.create_task(bench.enter(b"/1"))
    await settle()
    first.cancel()
    inside.end(Outcome.SUCCESS)
    await asyncio.wait([first])
    assert bench.came == [b"/"]
    assert bench.shown == (0, 0)


async def test_what_the_vendor_fails_with_gives_the_slot_back(clock: ManualClock) -> None:
    """With the end of the call, as everything."""
    bench = Bench(clock, slots=1)
    bench.error = UpstreamReset("gone")
    with pytest.raises(UpstreamReset):
        await bench.enter()
    assert bench.shown == (0, 0)


async def one_by_one(bench: Bench, count: int) -> None:
    """Send calls one after the other, each while all the slots are needed."""
    bench.machine.slots.taken += 9
    for _ in range(count):
        try:
            (await bench.enter()).end(Outcome.SUCCESS)
        except (UpstreamReset, DeadlineExceeded):
            continue
    bench.machine.slots.taken -= 9


async def test_adaptive_begins_with_the_fewest_and_follows_the_latency(clock: ManualClock) -> None:
    """Ten answers of 0.1 s: three slots more."""
    bench = Bench(clock, adaptive=True, slots_min=10, slots=50)
    bench.takes_s = 0.125
    await one_by_one(bench, 10)
    assert bench.machine.snapshot(clock.now()) == {
        "in_use": 0, "slots": 13, "waiting": 0, "waiting_max": 100, "usual_ms": 125.0
    }  # fmt: skip


async def test_adaptive_grows_for_those_in_line(clock: ManualClock) -> None:
    """They come in at once, not when the next one leaves."""
    bench = Bench(clock, adaptive=True, slots_min=1, slots=50)
    inside = await bench.fill(1)
    waiting = asyncio.create_task(bench.enter())
    await settle()
    for _ in range(10):
        bench.machine.learn(0.1, clock.now())
        clock.tick(1)
    assert bench.machine.slots.capacity == 2
    inside.append(await waiting)
    for call in inside:
        call.end(Outcome.SUCCESS)


@pytest.mark.parametrize(
    ("answer", "is_sample"),
    [
        (Reply(200, b"", [], NO_BODY), True),
        (Reply(404, b"", [], NO_BODY), True),
        (Reply(429, b"", [], NO_BODY), False),
        (Reply(503, b"", [], NO_BODY), False),
        (DeadlineExceeded("the vendor took too long"), True),
        (DeadlineExceeded("the app did", is_ours=True), False),
        (UpstreamReset("gone"), False),
    ],
)
async def test_only_what_tells_the_vendors_latency_is_a_sample(
    clock: ManualClock, answer: Reply | BaseException, is_sample: bool
) -> None:
    """A refusal comes quickly because nothing was done for it."""
    bench = Bench(clock, adaptive=True, slots_min=10, slots=50)
    if isinstance(answer, Reply):
        bench.reply = answer
    else:
        bench.error = answer
    bench.takes_s = 0.25
    await one_by_one(bench, 10)
    assert bench.machine.snapshot(clock.now())["usual_ms"] == (250.0 if is_sample else 0)


async def test_waiting_for_a_connection_is_not_the_vendors_latency(clock: ManualClock) -> None:
    """It is the pool's bound that is felt there."""
    bench = Bench(clock, adaptive=True, slots_min=10, slots=50)
    bench.takes_s, bench.pool_s = 0.5, 0.25
    await one_by_one(bench, 10)
    assert bench.machine.snapshot(clock.now())["usual_ms"] == 250.0


def test_a_least_number_above_the_most_is_a_problem() -> None:
    """Only where it means something."""
    assert BulkheadConfig(slots=5).problems() == []
    ((field, sentence),) = BulkheadConfig(slots=5, adaptive=True).problems()
    assert (field, sentence) == ("slots_min", "10 is more than slots = 5; write at most that")
