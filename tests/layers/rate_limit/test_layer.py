"""The layer and its line: waits in order of arrival, refuses what would come too late, and listens."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sidecar.core.body import Body
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.errors import ConnectFailed, RateLimited, UpstreamReset
from sidecar.core.outcome import Outcome
from sidecar.core.statuses import Statuses
from sidecar.layers.rate_limit.ear import Ear
from sidecar.layers.rate_limit.layer import rate_limit
from sidecar.layers.rate_limit.limiter import Limiter
from sidecar.layers.rate_limit.line import Line
from sidecar.layers.rate_limit.near import Near
from sidecar.upstream.hints.config import Dialect, HintsConfig, Signal
from sidecar.upstream.hints.interpreter import Interpreter
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for
from tests.layers.rate_limit.told import advice, limiter, window

HINTS = HintsConfig(
    dialects=(Dialect(load="Concurrent-Requests"),),
    signals=(Signal(statuses=Statuses([400]), body="error", values=("THROTTLED",)),),
)


class Vendor:
    """Stands below the layer: counts, and answers what it is told to, at once or when it is let."""

    def __init__(self) -> None:
        self.sent_at: list[float] = []
        self.reply: Callable[[], Reply] = lambda: Reply(200, b"OK", [], Body.of(b""))
        self.error: Exception | None = None
        self.is_sent = True
        self.hold: asyncio.Event | None = None
        self.clock = ManualClock()

    async def __call__(self, call: Call) -> Reply:
        """Take an attempt."""
        record = AttemptRecord()
        record.request_head = b"GET / HTTP/1.1" if self.is_sent else b""
        call.attempts.append(record)
        self.sent_at.append(self.clock.now() - 1000)
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return self.reply()

    def says(self, status: int, *headers: tuple[bytes, bytes], body: Body | None = None) -> None:
        """Answer so from now on."""

        def reply() -> Reply:
            made = Reply(status, b"", list(headers), body or Body.of(b""))
            made.notable = [(name.lower(), value) for name, value in headers] or None
            return made

        self.reply = reply


class Story:
    """A layer over a vendor, with what it wrote and counted."""

    def __init__(
        self, limits: Limiter | None = None, *, wait_max: float = 1.0, waiting_max: int = 1000, cost: float = 1.0
    ) -> None:
        self.vendor = Vendor()
        self.clock = self.vendor.clock
        self.limiter = limits or limiter()
        self.line = Line(self.limiter, self.clock, wait_max, waiting_max)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.throttled = 0
        self.ignored = 0
        self.waits: list[float] = []
        interpreter = Interpreter(HINTS)
        ear = Ear(
            "crm", interpreter, self.limiter.announced, self.clock, body_max=1024,
            tell=self._tell, count_throttled=self._throttled, count_ignored=self._ignored,
        )  # fmt: skip
        ear.add(self.line)
        self.handler = rate_limit(
            self.line, Near(0.8), ear, frozenset({400, 403, 429, 503}), cost, self.clock, self.waits.append
        )(self.vendor)

    def _tell(self, level: str, msg: str, **fields: Any) -> None:
        assert level == "warning"
        self.told.append((msg, fields))

    def _throttled(self) -> None:
        self.throttled += 1

    def _ignored(self) -> None:
        self.ignored += 1

    def call(self, *, deadline: float = 20.0, target: bytes = b"/x") -> tuple[Call, "asyncio.Task[Reply]"]:
        """Begin a call."""
        call = call_for(target=target)
        call.deadline_at = self.clock.now() + deadline
        return call, asyncio.get_running_loop().create_task(_await(self.handler(call)))

    async def begin(self, count: int) -> list["asyncio.Task[Reply]"]:
        """Begin so many, and let them come to rest."""
        tasks = [self.call()[1] for _ in range(count)]
        await settle()
        return tasks


async def _await(work: Awaitable[Reply]) -> Reply:
    return await work


async def test_third_call_waits_half_a_second_at_two_per_second() -> None:
    """A burst of two passes at once; the third comes exactly when its permit is due, and says that it waited."""
    story = Story(limiter(("2/s", 2, 1.0), burst=2))
    await story.begin(2)
    call, third = story.call()
    await settle()
    assert call.step == "waiting for a permit"
    await story.clock.advance(0.49)
    assert len(story.vendor.sent_at) == 2
    await story.clock.advance(0.01)
    assert story.vendor.sent_at[2] == pytest.approx(0.5)
    assert (await third).status == 200
    assert call.waited_rate_s == pytest.approx(0.5)
    assert story.waits == [pytest.approx(0.5)]


async def test_they_go_in_order_of_arrival_and_nobody_overtakes() -> None:
    """Whoever comes while others wait stands behind them, also in the moment when a permit is there."""
    story = Story(limiter(("2/s", 2, 1.0), burst=1))
    order: list[bytes] = []

    async def take(call: Call) -> Reply:
        order.append(call.target)
        return Reply(200, b"OK", [], Body.of(b""))

    handler = rate_limit(story.line, Near(0.8), None, frozenset(), 1.0, story.clock, story.waits.append)(take)
    tasks = []
    for i in range(4):
        call = call_for(target=b"/%d" % i)
        call.deadline_at = 2000.0
        tasks.append(asyncio.get_running_loop().create_task(_await(handler(call))))
        await settle()
        if i == 2:
            story.clock._now += 0.5  # The permit is due, and its timer did not run yet.
    await story.clock.advance(2.0)
    for task in tasks:
        await task
    assert order == [b"/0", b"/1", b"/2", b"/3"]


async def test_too_long_a_wait_is_refused_at_once_with_the_true_time() -> None:
    """Behind two who wait already it is 1.5 s, and nobody waits longer than one."""
    story = Story(limiter(("2/s", 2, 1.0), burst=1))
    await story.begin(3)
    with pytest.raises(RateLimited, match=r"2/s.*wait_max") as refused:
        await story.call()[1]
    assert refused.value.retry_after == pytest.approx(1.5)
    assert story.clock.now() == 1000.0
    await story.clock.advance(1.0)
    assert story.line.count == 0


async def test_a_deadline_that_would_pass_is_refused_at_once_not_late() -> None:
    """0.3 s are left, and the permit is due in 0.5."""
    story = Story(limiter(("2/s", 2, 1.0), burst=1))
    await story.begin(1)
    with pytest.raises(RateLimited):
        await story.call(deadline=0.3)[1]
    assert story.clock.now() == 1000.0


async def test_a_full_line_refuses_at_once() -> None:
    """The bound is exact."""
    story = Story(limiter(("2/s", 2, 1.0), burst=1), wait_max=60, waiting_max=2)
    await story.begin(3)
    assert story.line.count == 2
    with pytest.raises(RateLimited, match="waiting_max"):
        await story.call()[1]
    await story.clock.advance(1.0)
    assert story.line.count == 0


async def test_who_hangs_up_leaves_the_line_and_spends_nothing() -> None:
    """The next goes when the one that left would have gone."""
    story = Story(limiter(("2/s", 2, 1.0), burst=1), wait_max=5)
    tasks = await story.begin(3)
    tasks[1].cancel()
    await story.clock.advance(0.5)
    assert len(story.vendor.sent_at) == 2
    assert (await tasks[2]).status == 200


async def test_who_hangs_up_in_the_moment_of_being_let_go_gives_the_permit_back() -> None:
    """It was woken and cancelled in the same turn of the loop."""
    story = Story(limiter(("2/s", 2, 1.0), burst=1), wait_max=5)
    tasks = await story.begin(3)
    story.clock._now += 0.5
    story.line.drain(story.clock.now())
    tasks[1].cancel()
    await settle()
    assert (await tasks[2]).status == 200
    assert story.limiter.announced.in_flight == 0


async def test_for_what_all_share_a_cheap_call_does_not_overtake_a_dear_one() -> None:
    """Though they belong to different resources of the vendor's, and its one permit is there first."""
    story = Story(limiter(("10/s", 10, 1.0), burst=5), wait_max=5)
    order: list[str] = []

    async def ask(name: str, cost: float) -> None:
        waiter = await story.line.enter(cost, name, 2000.0)
        order.append(name)
        assert waiter.cost == cost

    tasks = []
    for name, cost in [("first", 5.0), ("dear", 4.0), ("cheap", 1.0)]:
        tasks.append(asyncio.get_running_loop().create_task(ask(name, cost)))
        await settle()
    await story.clock.advance(0.35)
    assert order == ["first"]
    await story.clock.advance(0.2)
    assert order == ["first", "dear", "cheap"]
    for task in tasks:
        await task


async def test_a_resource_that_is_closed_does_not_hold_the_calls_of_another() -> None:
    """Each stands in order among its own."""
    story = Story(wait_max=60)
    told = advice(window(30, 0, 40, resource="search"))
    story.limiter.announced.hear(told, sent_at=1000, number=0, cost=1, route="", target=b"/search", now=1000)
    _, search = story.call(target=b"/search/code", deadline=100)
    _, core = story.call(target=b"/repos")
    await settle()
    assert [search.done(), core.done()] == [False, True]
    await story.clock.advance(40.02)
    assert search.done()


async def test_a_cost_takes_so_many_permits() -> None:
    """Two of five per second: the second waits."""
    story = Story(limiter(("5/s", 5, 1.0), burst=5), cost=3.0)
    tasks = await story.begin(2)
    assert len(story.vendor.sent_at) == 1
    await story.clock.advance(0.2)
    assert [task.done() for task in tasks] == [True, True]


# What was not sent.


@pytest.mark.parametrize(
    ("error", "is_sent", "left"), [(ConnectFailed("no"), False, 2), (UpstreamReset("no"), True, 1)]
)
async def test_a_permit_comes_back_only_when_the_vendor_saw_nothing(
    error: Exception, is_sent: bool, left: float
) -> None:
    """What may have been sent stays spent: rather slow than over."""
    story = Story(limiter(("2/h", 2, 3600.0), burst=2))
    story.vendor.error, story.vendor.is_sent = error, is_sent
    (task,) = await story.begin(1)
    with pytest.raises(type(error)):
        await task
    assert story.limiter.bucket is not None
    assert story.limiter.bucket.level(story.clock.now()) == left
    assert story.limiter.announced.in_flight == 0


async def test_a_call_that_is_cancelled_at_the_vendor_is_not_under_way_any_more() -> None:
    """Its permit stays spent."""
    story = Story(limiter(("2/h", 2, 3600.0), burst=2))
    story.vendor.hold = asyncio.Event()
    (task,) = await story.begin(1)
    assert story.limiter.announced.in_flight == 1
    task.cancel()
    await settle()
    assert story.limiter.announced.in_flight == 0
    assert story.limiter.bucket is not None
    assert story.limiter.bucket.level(story.clock.now()) == 1


# Hints.


async def test_an_announced_limit_holds_without_any_of_our_own() -> None:
    """Nothing left for half a second: the next call waits for it, and 20 ms."""
    story = Story()
    story.vendor.says(
        200, (b"X-RateLimit-Limit", b"100"), (b"X-RateLimit-Remaining", b"0"), (b"X-RateLimit-Reset", b"0.5")
    )
    (first,) = await story.begin(1)
    assert (await first).advice is not None
    await story.begin(1)
    await story.clock.advance(0.519)
    assert len(story.vendor.sent_at) == 1
    await story.clock.advance(0.001)
    assert len(story.vendor.sent_at) == 2


async def test_a_429_closes_and_says_so_once() -> None:
    """Two that were under way together are one closing; who comes then is refused with the told time."""
    story = Story()
    story.vendor.says(429, (b"Retry-After", b"30"))
    story.vendor.hold = asyncio.Event()
    tasks = await story.begin(2)
    story.vendor.hold.set()
    for task in tasks:
        reply = await task
        assert reply.advice is not None
        assert reply.advice.retry_after == 30
    with pytest.raises(RateLimited, match="announced") as refused:
        await story.call()[1]
    assert refused.value.retry_after == pytest.approx(30.02)
    assert story.throttled == 2
    assert story.told == [("rate_limited_by_vendor", {"service": "crm", "status": 429, "seconds": 30.02})]


async def test_a_429_refuses_those_in_line_that_cannot_make_it_any_more() -> None:
    """At once: they could be answered from elsewhere meanwhile."""
    story = Story(limiter(("2/s", 2, 1.0), burst=1))
    story.vendor.hold = asyncio.Event()
    story.vendor.says(429, (b"Retry-After", b"30"))
    first, waiting = await story.begin(2)
    story.vendor.hold.set()
    await first
    with pytest.raises(RateLimited):
        await waiting
    assert story.clock.now() == 1000.0


async def test_a_body_is_read_for_the_statuses_that_say_something_in_it_and_stays() -> None:
    """`THROTTLED` in a 400; the app gets the body all the same."""
    story = Story()
    text = b'{"error": "THROTTLED"}'
    story.vendor.says(400, (b"Content-Type", b"application/json"), body=Body.of(text))
    (task,) = await story.begin(1)
    reply = await task
    assert reply.advice is not None
    assert reply.advice.is_throttled
    assert await reply.body.read() == text


async def test_a_body_that_does_not_come_delays_no_answer_for_long() -> None:
    """At the deadline it goes on without the hint."""
    story = Story()
    story.vendor.says(400, (b"Content-Type", b"application/json"), body=Body(100))
    _, task = story.call(deadline=2.0)
    await settle()
    assert not task.done()
    await story.clock.advance(2.0)
    assert (await task).status == 400


async def test_a_body_of_another_status_is_not_waited_for() -> None:
    """A slow download begins with its first byte."""
    story = Story()
    story.vendor.says(200, (b"X-RateLimit-Remaining", b"5"), body=Body(100))
    (task,) = await story.begin(1)
    assert task.done()


async def test_an_answer_that_tells_nothing_is_not_looked_at() -> None:
    """No advice, no cost."""
    story = Story()
    (task,) = await story.begin(1)
    assert (await task).advice is None
    assert story.limiter.announced.is_silent


async def test_absurd_hints_are_ignored_with_one_line_a_minute() -> None:
    """Counted each time."""
    story = Story()
    story.vendor.says(200, (b"X-RateLimit-Limit", b"10"), (b"X-RateLimit-Remaining", b"many"))
    for _ in range(3):
        (task,) = await story.begin(1)
        await task
    assert [msg for msg, _ in story.told] == ["hint_ignored"]
    assert story.ignored == 3
    await story.clock.advance(60.0)
    (task,) = await story.begin(1)
    await task
    assert [msg for msg, _ in story.told] == ["hint_ignored", "hint_ignored"]


async def test_a_limit_that_is_nearly_used_up_is_told_once() -> None:
    """Of an own window and of an announced one."""
    story = Story(limiter(("10/min", 10, 60.0), burst=10))
    for _ in range(9):
        (task,) = await story.begin(1)
        await task
        await story.clock.advance(1.0)
    assert [(msg, fields["window"]) for msg, fields in story.told] == [("rate_limit_near", "10/min")]
    assert story.told[0][1]["used_ratio"] == pytest.approx(0.8)


async def test_a_limit_that_is_used_up_at_once_is_told_by_the_calls_that_it_refuses() -> None:
    """Nothing is answered any more, so the refusals have to look."""
    story = Story(limiter(("10/h", 10, 3600.0), burst=10))
    tasks = await story.begin(10)
    await asyncio.gather(*tasks)
    assert not story.told
    await story.clock.advance(1.0)
    (task,) = await story.begin(1)
    with pytest.raises(RateLimited):
        await task
    assert [(msg, fields["window"]) for msg, fields in story.told] == [("rate_limit_near", "10/h")]


# A gauge.


async def test_a_place_of_a_gauge_is_held_until_the_last_byte() -> None:
    """The answer's head is not the end of a call."""
    story = Story()
    story.vendor.says(429, (b"Concurrent-Requests", b"5"))
    (task,) = await story.begin(1)
    await task
    gauge = story.limiter.announced.gauge
    assert gauge is not None
    assert gauge.in_use == 0
    story.vendor.says(200, (b"Concurrent-Requests", b"1"))
    call, task = story.call()
    await task
    assert gauge.in_use == 1
    waiting_call, waiting = story.call()
    await settle()
    assert not waiting.done()
    call.end(Outcome.SUCCESS)
    await settle()
    assert waiting.done()
    waiting_call.end(Outcome.SUCCESS)
    assert gauge.in_use == 0
