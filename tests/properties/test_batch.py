import asyncio
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.body import NO_BODY
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.errors import BadRequest, RateLimited, SidecarError, UpstreamReset
from sidecar.core.outcome import Outcome
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.running import Service
from sidecar.queue.batch.item import Item
from sidecar.queue.batch.result import Result
from sidecar.queue.batch.run import Run
from sidecar.queue.batch.sending import Sender, Sent, Work
from tests.kit.clock import ManualClock

TIME = 30.0  # Seconds that a batch has.
# What a sending comes to, one after the other: it takes so long, and ends so; past its end an item succeeds.
SENDINGS = st.lists(
    st.tuples(st.floats(0.0, 5.0), st.sampled_from(["ok", "503", "reset", "limited", "bad"])), max_size=5
)
ITEMS = st.lists(st.tuples(st.floats(0.0, 2.0), SENDINGS), max_size=25)


class _Entry:
    routes = ()
    config = type("Config", (), {"retry": RetryConfig()})()


class Scripted:
    """Stands in for the way to the vendor, and counts who is on it."""

    service = cast("Service", type("Named", (), {"entry": _Entry})())

    def __init__(self, clock: ManualClock, scripts: list[list[tuple[float, str]]]) -> None:
        self._clock = clock
        self._scripts = scripts
        self.under_way = 0
        self.under_way_max = 0
        self.last_began_at = 0.0

    async def send(self, work: Work) -> Sent:
        """Do what the item's script says next."""
        assert self._clock.now() < work.deadline_at, "nothing is begun past the end"
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        script = self._scripts[work.index]
        seconds, end = script.pop(0) if script else (0.0, "ok")
        try:
            await self._clock.sleep(min(seconds, work.deadline_at - self._clock.now()))
        finally:
            self.under_way -= 1
        sent = Sent(Call("crm", "GET", b"/x", [], NO_BODY))
        if end not in {"limited", "bad"}:
            record = AttemptRecord()
            record.request_head = b"GET /x HTTP/1.1\r\n\r\n"
            sent.call.attempts.append(record)
            work.attempts += 1
            work.sendings += 1
        errors: dict[str, SidecarError] = {
            "reset": UpstreamReset(""), "limited": RateLimited("", retry_after=0.5), "bad": BadRequest(""),
        }  # fmt: skip
        sent.error = errors.get(end)
        if sent.error is None:
            sent.reply = Reply(503 if end == "503" else 200, b"", [], NO_BODY)
        sent.call.end(Outcome.SUCCESS if end == "ok" else Outcome.FAILURE)
        return sent


@given(items=ITEMS, concurrency=st.integers(1, 5), extra=st.integers(0, 5), breaks=st.booleans())
async def test_each_item_has_exactly_one_result(
    items: list[tuple[float, list[tuple[float, str]]]], concurrency: int, extra: int, breaks: bool
) -> None:
    """However slowly they come and whatever becomes of them; within the places, and within what may be held."""
    clock = ManualClock()
    sender = Scripted(clock, [list(script) for _, script in items])
    delivered: list[int] = []
    taken = 0
    held_max = 0
    broke_off = BadRequest("the app broke off")

    async def take() -> Work | None:
        nonlocal taken, held_max
        if taken == len(items):
            if breaks:
                raise broke_off
            return None
        await clock.sleep(items[taken][0])
        taken += 1
        held_max = max(held_max, taken - len(delivered))
        item = Item(id=str(taken), method="GET", path="/x")
        return Work(item, item.id, taken - 1, clock.now() + TIME)

    async def deliver(result: Result) -> None:
        await clock.sleep(0.1)
        delivered.append(result.index)

    run = Run(cast("Sender", sender), concurrency, concurrency + extra, deliver, clock, lambda: 0.5)
    running = asyncio.create_task(run.all(take))
    for _ in range(10_000):
        if running.done():
            break
        await clock.advance(1.0)
    assert running.result() is (broke_off if breaks else None)
    assert sorted(delivered) == list(range(len(items)))
    assert sender.under_way_max <= concurrency
    assert held_max <= concurrency + extra
    assert run.held == 0
    assert sender.under_way == 0


@given(items=ITEMS, at=st.floats(0.0, 40.0))
async def test_a_batch_that_is_given_up_leaves_nothing(
    items: list[tuple[float, list[tuple[float, str]]]], at: float
) -> None:
    """At whatever moment: no item goes on, and none is told twice."""
    clock = ManualClock()
    sender = Scripted(clock, [list(script) for _, script in items])
    works = iter([Work(Item(id="a", method="GET", path="/"), "a", n, clock.now() + TIME) for n in range(len(items))])
    delivered: list[int] = []

    async def take() -> Work | None:
        return next(works, None)

    async def deliver(result: Result) -> None:
        delivered.append(result.index)

    run = Run(cast("Sender", sender), 3, 6, deliver, clock, lambda: 0.5)
    running = asyncio.create_task(run.all(take))
    await clock.advance(at)
    running.cancel()
    await asyncio.wait([running])
    assert run.held == 0
    assert sender.under_way == 0
    assert clock.pending == 0
    assert len(delivered) == len(set(delivered))
