"""The rate limit under any sequence: never over, first come first served, and nothing taken is lost."""

import asyncio
from itertools import pairwise

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.advice import Advice, Told
from sidecar.core.errors import RateLimited
from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.bucket import Bucket
from sidecar.layers.rate_limit.limiter import Limiter
from sidecar.layers.rate_limit.line import Line, Waiter
from sidecar.layers.rate_limit.quota import Quota
from sidecar.layers.rate_limit.window import Window
from tests.kit.clock import ManualClock, settle

GAPS = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.2), st.floats(0, 5)), min_size=1, max_size=120)
SLACK = 1e-6


def announced(now: float = 1000.0) -> Announced:
    """What a vendor that told nothing yet told."""
    return Announced(now, hint_max=900, pace_below=0.2, settle=0.02, resource_segments=1)


def most_within(taken: list[tuple[float, float]], seconds: float) -> float:
    """Give the most permits that went in any half-open stretch of so many seconds."""
    most = 0.0
    for i, (start, _) in enumerate(taken):
        most = max(most, sum(cost for at, cost in taken[i:] if at < start + seconds - SLACK))
    return most


@settings(max_examples=200)
@given(GAPS, st.integers(1, 200), st.sampled_from([0.5, 1.0, 60.0]), st.integers(1, 20), st.lists(st.integers(1, 3)))
def test_a_bucket_never_gives_more_than_rate_times_time_and_the_burst(
    gaps: list[float], count: int, seconds: float, burst: int, costs: list[int]
) -> None:
    """In any stretch between two permits, whoever asks whenever."""
    now = 1000.0
    bucket = Bucket(count, seconds, burst, now)
    taken: list[tuple[float, float]] = []
    for i, gap in enumerate(gaps):
        now += gap
        cost = min(float(burst), float(costs[i % len(costs)]) if costs else 1.0)
        if bucket.may_take(now, cost):
            taken.append((now, cost))
    for i, (start, _) in enumerate(taken):
        total = 0.0
        for at, cost in taken[i:]:
            total += cost
            assert total <= burst + (at - start) * count / seconds + SLACK


@settings(max_examples=200)
@given(GAPS, st.integers(1, 30), st.sampled_from([0.5, 1.0, 7.0]), st.booleans())
def test_a_quota_never_gives_more_than_its_count_in_any_window(
    gaps: list[float], count: int, seconds: float, is_patient: bool
) -> None:
    """Also for one who comes exactly when told to, and one who asks again and again."""
    now = 1000.0
    quota = Quota(count, seconds, now)
    taken: list[tuple[float, float]] = []
    for gap in gaps:
        now += quota.wait(now, 1.0, 0.0) if is_patient else gap
        if quota.may_take(now, 1.0):
            taken.append((now, 1.0))
        else:
            assert not is_patient, "it said that it would be free now"
    assert most_within(taken, seconds) <= count


@settings(max_examples=200)
@given(GAPS, st.integers(1, 12), st.integers(1, 3), st.integers(0, 40))
def test_a_quota_waits_no_longer_than_a_slice_more_than_it_must(
    gaps: list[float], count: int, cost: int, ahead: int
) -> None:
    """Against a log of each permit, with those ahead going as soon as they may."""
    now = 1000.0
    quota = Quota(count, 1.0, now)
    log: list[float] = []
    for gap in gaps:
        now += gap
        if quota.may_take(now, 1.0):
            log.append(now)
    cost = min(cost, count)
    known = log[-count:]
    for _ in range(ahead + cost):  # Each goes a window after the one that is `count` before it.
        known.append(max(now, known[-count] + 1.0) if len(known) >= count else now)
    exact = known[-1] - now
    windows = 1 + (ahead + cost) // count
    wait = quota.wait(now, float(cost), float(ahead))
    assert exact - SLACK <= wait <= exact + windows * (1.0 / 64) + SLACK


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["take", "give_back", "age"]), st.floats(0, 2)), max_size=60))
def test_what_is_given_back_is_as_if_it_had_not_been_taken(steps: list[tuple[str, float]]) -> None:
    """A bucket and a quota that were given all back are full; and never fuller."""
    now = 1000.0
    bucket, quota = Bucket(5, 1.0, 5, now), Quota(5, 10.0, now)
    lent: list[float] = []
    for word, number in steps:
        if word == "age":
            now += number
        elif word == "take" and bucket.wait(now, 1.0, 0.0) == 0 and quota.wait(now, 1.0, 0.0) == 0:
            assert bucket.may_take(now, 1.0)
            assert quota.may_take(now, 1.0)
            lent.append(now)
        elif word == "give_back" and lent:
            bucket.give_back(1.0)
            quota.give_back(lent.pop(), 1.0)
        assert bucket.level(now) <= 5
        assert -SLACK <= quota.taken(now) <= 5
    for at in lent:
        bucket.give_back(1.0)
        quota.give_back(at, 1.0)
    assert quota.taken(now) < SLACK or all(now - at > 10 for at in lent)
    assert bucket.level(now) <= 5


# The line.

STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "come", "come", "cancel", "age", "settle", "close", "back"]), st.integers(0, 9)),
    max_size=50,
)


class Run:
    """One sequence over a line, and what came of it."""

    def __init__(self, waiting_max: int) -> None:
        self.clock = ManualClock()
        self.limiter = Limiter(announced(self.clock.now()))
        self.limiter.hold("5/s", 5, 1.0, self.clock.now(), burst=2, replicas=1)
        self.limiter.hold("20/10s", 20, 10.0, self.clock.now(), burst=None, replicas=1)
        self.line = Line(self.limiter, self.clock, 3.0, waiting_max)
        self.waiting_max = waiting_max
        self.asks: list[asyncio.Task[Waiter]] = []
        self.order: list[tuple[int, float]] = []  # (arrival, sent at), as they went.
        self.lent: list[Waiter] = []
        self.arrived = 0

    async def come(self) -> Waiter:
        """Ask for a permit as the layer does."""
        arrival, asked_at = self.arrived, self.clock.now()
        self.arrived += 1
        waiter = await self.line.enter(1.0, "", asked_at + 2.0)
        assert waiter.sent_at <= asked_at + 2.0, "it went after its deadline"
        self.order.append((arrival, waiter.sent_at))
        self.lent.append(waiter)
        return waiter

    async def step(self, word: str, number: int) -> None:
        """Do one thing."""
        now = self.clock.now()
        match word:
            case "come":
                self.asks.append(asyncio.get_running_loop().create_task(self.come()))
                await settle(2)
            case "cancel" if self.asks:
                self.asks[number % len(self.asks)].cancel()
            case "age":
                await self.clock.advance(number * 0.1)
            case "settle":
                await settle()
            case "close":
                advice = Advice()
                advice.is_throttled = True
                advice.retry_after = number * 0.3
                self.limiter.announced.hear(advice, sent_at=now, number=1, cost=1, route="", target=b"/", now=now)
                self.line.review(now)
            case "back" if self.lent:
                waiter = self.lent.pop(number % len(self.lent))
                self.limiter.announced.done(waiter.number, waiter.sent_at, 1.0, "", now)
                self.limiter.give_back(waiter.number, waiter.sent_at, 1.0, "", now)
                self.line.drain(now)
        assert 0 <= self.line.count <= self.waiting_max

    async def wind_up(self) -> None:
        """Let everybody go or be refused."""
        await self.clock.advance(30.0)
        assert self.line.count == 0, "somebody is left in line"
        for ask in self.asks:
            assert ask.done()
            if not ask.cancelled() and (error := ask.exception()) is not None:
                assert isinstance(error, RateLimited), error
                assert error.retry_after is not None
                assert error.retry_after >= 0
        announced = self.limiter.announced
        for waiter in self.lent:
            announced.done(waiter.number, waiter.sent_at, 1.0, "", self.clock.now())
        # What was given back counts as not sent, so all that is in flight is accounted for.
        assert announced.in_flight == 0


async def play(steps: list[tuple[str, int]], waiting_max: int) -> None:
    """Play a sequence to its end."""
    run = Run(waiting_max)
    for word, number in steps:
        await run.step(word, number)
    await run.wind_up()
    assert all(one[0] < two[0] for one, two in pairwise(run.order)), "somebody overtook"


@settings(max_examples=300)
@given(steps=STEPS, waiting_max=st.integers(0, 6))
def test_the_line_is_in_order_bounded_and_loses_nothing(steps: list[tuple[str, int]], waiting_max: int) -> None:
    """Any order of arrivals, hang-ups, time, closings by the vendor, and permits that come back."""
    uvloop.run(play(steps, waiting_max))


# What the vendor announces.


@settings(max_examples=200)
@given(st.lists(st.tuples(st.floats(0, 0.02), st.floats(0.01, 0.08)), min_size=1, max_size=150), st.integers(1, 60))
def test_alone_with_the_vendor_a_window_is_never_passed(calls: list[tuple[float, float]], limit: int) -> None:
    """With any number of calls under way and answers in any order: the count is exact when nobody else calls."""
    now, used, sent = 1000.0, 0, 0
    window: Window | None = None
    answers: list[tuple[float, float, float, float]] = []  # (answered at, number, sent at, remaining)
    for gap, latency in calls:
        now += gap
        for answer in sorted(answer for answer in answers if answer[0] <= now):
            answers.remove(answer)
            at, number, sent_at, remaining = answer
            told = Told("x", limit=limit, remaining=remaining, reset_in=1e5 - at)
            if window is None:
                window = Window(told, len(answers), -1.0, at, cost=1.0, pace_below=0.2, settle=0.02)
            else:
                window.done(number, 1.0, at)
            window.hear(told, sent_at, 1.0, at, since=0.0, is_throttled=False)
        if window is None and sent >= min(limit, 5):
            continue  # Nothing is known yet, so it is not the window's fault.
        if window is not None:
            if window.wait(now, 1.0, 0.0) > 0:
                continue
            window.take(now, 1.0)
        sent += 1
        used += 1
        answers.append((now + latency, float(sent), now, float(limit - used)))
        assert used <= limit
