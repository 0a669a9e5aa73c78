"""All policies of a service at once, under any sequence of calls and hang-ups: everything that was taken comes back."""

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.body import Body, Headers
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import ConnectFailed, SidecarError, UpstreamReset
from sidecar.core.outcome import Outcome
from sidecar.core.tasks import Tasks
from sidecar.core.units import Duration, Rates
from sidecar.layers.admission import Gate
from sidecar.layers.bulkhead.bulkhead import Bulkhead
from sidecar.layers.bulkhead.config import BulkheadConfig
from sidecar.layers.circuit_breaker.breaker import Breaker
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig
from sidecar.layers.entitling import NONE
from sidecar.layers.observe import Observer
from sidecar.layers.policies import Policies
from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.config import RateLimitConfig
from sidecar.layers.rate_limit.line import Line
from sidecar.layers.retry.budget import Budget
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.service import ServiceConfig
from sidecar.layers.stack import build
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Counter, Metrics
from sidecar.telemetry.redact import Redactor
from sidecar.telemetry.writer import Writer
from sidecar.upstream.origin import BaseUrl
from tests.kit.clock import ManualClock, settle
from tests.kit.grounds import shared_by

SLOTS = 2
CONFIG = ServiceConfig(
    base_url=BaseUrl.parse("https://api.crm.example"),
    timeout=Duration(10),
    rate_limit=RateLimitConfig(rate=Rates.parse(["6/s", "60/min"]), burst=6, wait_max=Duration(3), waiting_max=4),
    bulkhead=BulkheadConfig(slots=SLOTS, waiting_max=3),
    circuit_breaker=CircuitBreakerConfig(calls_min=3, open_for=Duration(2), probes_max=1, successes=1),
    retry=RetryConfig(backoff=Duration(1)),
)
ANSWERS: dict[str, tuple[int, Headers]] = {
    "good": (200, []),
    "down": (503, []),
    "told": (503, [(b"retry-after", b"2")]),
    "throttled": (429, [(b"retry-after", b"1")]),
    "used up": (200, [(b"x-ratelimit-limit", b"9"), (b"x-ratelimit-remaining", b"0"), (b"x-ratelimit-reset", b"2")]),
    "plenty": (200, [(b"x-ratelimit-limit", b"9"), (b"x-ratelimit-remaining", b"8"), (b"x-ratelimit-reset", b"9")]),
}
ERRORS: dict[str, type[SidecarError]] = {"reset": UpstreamReset, "refused": ConnectFailed}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("calls"), st.integers(1, 6)),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 50, 250, 1000, 3000])),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("turn"), st.integers(1, 4)),
    ),
    min_size=5,
    max_size=40,
)
VENDOR = st.lists(
    st.tuples(st.sampled_from([*ANSWERS, *ERRORS, "good", "good"]), st.sampled_from([0.0, 0.1, 1.0, 20.0])),
    min_size=2, max_size=12,
)  # fmt: skip


class Service:
    """One service with all its policies, in front of a vendor that plays its turns over and over."""

    def __init__(self, clock: Clock, turns: list[tuple[str, float]]) -> None:
        self.tasks = Tasks()
        self.under_way = self.under_way_max = 0
        self._clock = clock
        self._turns = itertools.cycle(turns)
        metrics = Metrics()
        log = Log(LogConfig(level="error"), Writer(Counter()), Redactor(), clock.wall, lambda: 0.5)
        shared = shared_by(clock, metrics, log, Gate(100), lambda: 0.5, self.tasks)
        self.observer = Observer(metrics.for_service("crm", ""), log, clock)
        self.policies = Policies("crm", shared, None)
        self.handler = build(CONFIG, self.policies.parts("", CONFIG, self.observer, NONE), self._send)

    async def _send(self, call: Call) -> Reply:
        """Take one attempt, as the transport does; it has its connection until it ends."""
        call.attempts.append(AttemptRecord())
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        call.on_end(self._end)
        word, seconds = next(self._turns)
        await self._clock.sleep(min(seconds, max(0.0, call.deadline_at - self._clock.now())))
        if word in ERRORS:
            raise ERRORS[word](word)
        status, fields = ANSWERS[word]
        reply = Reply(status, b"", fields, Body.of(b"ok"))
        reply.notable = fields or None
        return reply

    def _end(self, outcome: Outcome) -> None:  # noqa: ARG002 - the signature of an ending
        self.under_way -= 1

    async def call(self) -> None:
        """Make a call as the exchange does, and read its answer for a moment."""
        call = Call("crm", "GET", b"/x", [], Body.of(b"hello"))
        call.started_at = self._clock.now()
        outcome = Outcome.CANCELLED
        try:
            reply = await self.handler(call)
            await self._clock.sleep(0.05)
            outcome = Outcome.FAILURE if reply.status >= 500 else Outcome.SUCCESS
        except SidecarError as error:
            outcome = error.outcome
        finally:
            call.end(outcome)
            assert self._clock.now() <= call.started_at + 10.05 + 1e-6, "past its deadline"

    def assert_bounds(self, calls: int) -> None:
        """Assert what holds whenever all that can run has run, with so many calls there."""
        [budget] = [machine for _, machine in self.policies.machines.all(Budget)]
        assert budget.left(self._clock.now()) >= 0
        [bulkhead] = [machine for _, machine in self.policies.machines.all(Bulkhead)]
        [line] = [machine for _, machine in self.policies.machines.all(Line)]
        [breaker] = [machine for _, machine in self.policies.machines.all(Breaker)]
        slots = bulkhead.slots
        assert self.under_way == slots.taken <= SLOTS
        assert 0 <= slots.waiting <= 3
        assert not slots.waiting or slots.taken == SLOTS, "somebody waits beside a free slot"
        assert 0 <= line.count <= 4
        assert slots.taken + slots.waiting + line.count <= calls, "somebody who is gone still stands there"
        assert breaker._probes <= min(1, calls)

    def assert_nothing_is_held(self) -> None:
        """Assert what holds when no call is there."""
        assert (self.under_way, self.observer.in_flight) == (0, 0)
        [bulkhead] = [machine for _, machine in self.policies.machines.all(Bulkhead)]
        assert (bulkhead.slots.taken, bulkhead.slots.waiting) == (0, 0)
        [line] = [machine for _, machine in self.policies.machines.all(Line)]
        assert line.count == 0
        [breaker] = [machine for _, machine in self.policies.machines.all(Breaker)]
        assert breaker._probes == 0
        [announced] = [machine for _, machine in self.policies.machines.all(Announced)]
        assert announced.in_flight == 0


@given(steps=STEPS, turns=VENDOR)
@settings(max_examples=300)
async def test_slots_permits_probes_and_places_come_back_whatever_happens(
    steps: list[tuple[str, int]], turns: list[tuple[str, float]]
) -> None:
    """Whoever hangs up wherever, whatever the vendor says; and no bound is passed on the way."""
    clock = ManualClock()
    service = Service(clock, turns)
    calls: list[asyncio.Task[None]] = []
    for word, number in steps:
        if word == "calls":
            calls += [asyncio.create_task(service.call()) for _ in range(number)]
        elif word == "wait":
            await clock.advance(number / 1000)
        elif word == "turn":
            await settle(number)
        elif calls:
            calls[number % len(calls)].cancel()
        if word == "wait":  # It lets all that can run come to rest.
            service.assert_bounds(sum(not call.done() for call in calls))
    await clock.advance(30)
    assert all(call.done() for call in calls)
    for call in calls:
        assert call.cancelled() or call.exception() is None
    service.assert_nothing_is_held()
    assert len(service.tasks) == 0
