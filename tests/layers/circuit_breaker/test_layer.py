"""What counts as the vendor's failure, and that every probe comes back."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core.advice import Advice
from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call, Handler, Reply
from sidecar.core.errors import (
    AddressDenied,
    BadRequest,
    BodyTooLarge,
    BulkheadFull,
    CircuitOpen,
    ConnectFailed,
    CredentialUnavailable,
    DeadlineExceeded,
    DnsFailed,
    RateLimited,
    Shed,
    SidecarError,
    TlsFailed,
    UpstreamProtocol,
    UpstreamReset,
)
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.core.statuses import Statuses
from sidecar.core.units import Duration
from sidecar.layers.circuit_breaker.breaker import Breaker
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig
from sidecar.layers.circuit_breaker.layer import circuit_breaker
from sidecar.layers.circuit_breaker.report import Report
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for

FAILED, PASSED, NO_VERDICT = (1, 1), (1, 0), (0, 0)


class Vendor:
    """Answers, raises or hangs, as the test says; `on_call` sees the call first."""

    def __init__(self) -> None:
        self.reply = Reply(200, b"OK", [], NO_BODY)
        self.error: BaseException | None = None
        self.takes_s = 0.0
        self.is_hung = False
        self.calls = 0
        self.on_call: Callable[[Call], None] = lambda call: None

    async def __call__(self, call: Call) -> Reply:
        """Take a call as the transport would."""
        self.calls += 1
        self.on_call(call)
        if self.is_hung:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error
        return self.reply


class Bench:
    """A vendor behind a circuit, on a clock."""

    def __init__(self, clock: ManualClock, **settings: Any) -> None:
        config = CircuitBreakerConfig(**settings)
        self.clock = clock
        self.vendor = Vendor()
        self.lines: list[tuple[str, str, dict[str, Any]]] = []
        self.changes: list[str] = []
        report = Report("crm", "", self._tell, self.changes.append)
        self.breaker = Breaker(config, clock.now(), lambda: 0.0, report)
        self.recent = Recent()
        self.handler: Handler = circuit_breaker(config, self.breaker, self.recent, clock)(self.vendor)

    def _tell(self, level: str, msg: str, **fields: object) -> None:
        self.lines.append((level, msg, fields))

    async def ask(self, call: Call | None = None) -> Reply:
        """Send a call; it is ended by the test if the test gave it."""
        if call is not None:
            return await self.handler(call)
        call = call_for()
        try:
            return await self.handler(call)
        finally:
            call.end(Outcome.SUCCESS)

    async def trip(self) -> None:
        """Let it fail ten times."""
        self.vendor.error = UpstreamReset("gone")
        for _ in range(10):
            with pytest.raises(UpstreamReset):
                await self.ask()
        self.vendor.error = None
        assert self.breaker.state == "open"

    @property
    def counts(self) -> tuple[int, int]:
        """Calls and failures in the window."""
        shown = self.breaker.snapshot(self.clock.now())
        return shown["calls"], shown["failures"]


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (DnsFailed("x"), FAILED),
        (ConnectFailed("x"), FAILED),
        (TlsFailed("x"), FAILED),
        (UpstreamReset("x"), FAILED),
        (UpstreamProtocol("x"), FAILED),
        (DeadlineExceeded("x"), FAILED),
        (DeadlineExceeded("x", is_ours=True), NO_VERDICT),
        (AddressDenied("x"), NO_VERDICT),
        (RateLimited("x"), NO_VERDICT),
        (BulkheadFull("x"), NO_VERDICT),
        (Shed("x"), NO_VERDICT),
        (CredentialUnavailable("x"), NO_VERDICT),
        (BodyTooLarge("x"), NO_VERDICT),
        (BadRequest("x"), NO_VERDICT),
        (asyncio.CancelledError(), NO_VERDICT),
        (RuntimeError("a fault of ours"), NO_VERDICT),
    ],
)
async def test_errors_count_when_they_blame_the_vendor(
    clock: ManualClock, error: BaseException, counts: tuple[int, int]
) -> None:
    """Our own rejections, and the app hanging up, say nothing about the vendor."""
    bench = Bench(clock)
    bench.vendor.error = error
    with pytest.raises(type(error)):
        await bench.ask()
    assert bench.counts == counts


@pytest.mark.parametrize(
    ("status", "counts"),
    [(200, PASSED), (304, PASSED), (404, PASSED), (408, PASSED), (429, PASSED), (500, FAILED), (503, FAILED),
     (529, FAILED), (599, FAILED)],
)  # fmt: skip
async def test_server_errors_are_failures_and_client_errors_are_not(
    clock: ManualClock, status: int, counts: tuple[int, int]
) -> None:
    """404 is the app's matter, 429 the rate limiter's."""
    bench = Bench(clock)
    bench.vendor.reply = Reply(status, b"", [], NO_BODY)
    await bench.ask()
    assert bench.counts == counts


@pytest.mark.parametrize(
    ("status", "is_throttled", "counts"),
    [(403, False, FAILED), (403, True, PASSED), (429, True, FAILED), (503, True, FAILED)],
)
async def test_a_vendor_that_says_slow_down_is_not_broken(
    clock: ManualClock, status: int, is_throttled: bool, counts: tuple[int, int]
) -> None:
    """Whatever set of statuses the operator chose; 429 and 5xx are as the set says."""
    bench = Bench(clock, statuses=Statuses({403, 429, 503}))
    bench.vendor.reply = Reply(status, b"", [], NO_BODY)
    bench.vendor.reply.advice = Advice()
    bench.vendor.reply.advice.is_throttled = is_throttled
    await bench.ask()
    assert bench.counts == counts


async def test_an_open_circuit_refuses_without_asking_and_says_until_when(clock: ManualClock) -> None:
    """503 with Retry-After, the reason, and nothing sent."""
    bench = Bench(clock)
    await bench.trip()
    await clock.advance(10)
    with pytest.raises(CircuitOpen) as refused:
        await bench.ask()
    assert bench.vendor.calls == 10
    assert refused.value.retry_after == 20.0
    assert refused.value.detail == (
        "crm is not asked now: 10 of 10 calls failed within 30 s; the next probe may go in 20.0 s"
    )
    await clock.advance(20)
    await bench.ask()
    assert bench.vendor.calls == 11


async def test_one_line_and_one_count_per_change(clock: ManualClock) -> None:
    """What the engineer at three looks for."""
    bench = Bench(clock)
    await bench.trip()
    await clock.advance(30)
    for _ in range(3):
        await bench.ask()
    assert bench.changes == ["open", "half_open", "closed"]
    assert [(level, msg) for level, msg, _ in bench.lines] == [
        ("warning", "circuit_opened"), ("info", "circuit_half_open"), ("info", "circuit_closed"),
    ]  # fmt: skip
    assert bench.lines[0][2] == {
        "service": "crm", "why": "10 of 10 calls failed within 30 s", "open_for_s": 30.0, "trips": 1, "calls": 10,
        "failures": 10, "failure_rate": 1.0, "mode": "on",
    }  # fmt: skip


async def test_a_forced_circuit_names_the_operator(clock: ManualClock) -> None:
    """Without Retry-After: nobody knows."""
    bench = Bench(clock)
    bench.breaker.force(clock.now())
    with pytest.raises(CircuitOpen) as refused:
        await bench.ask()
    assert refused.value.retry_after is None
    assert "an operator opened the circuit of crm" in refused.value.detail
    assert bench.lines[0][:2] == ("warning", "circuit_forced")


async def test_a_body_that_breaks_off_amends_the_verdict(clock: ManualClock) -> None:
    """The head was a success; the vendor did not keep what it promised."""
    bench = Bench(clock)
    body = Body()
    bench.vendor.reply = Reply(200, b"OK", [], body)
    call = call_for()
    await bench.ask(call)
    assert bench.counts == PASSED
    body.fail(UpstreamReset("gone"))
    call.end(Outcome.FAILURE)
    assert bench.counts == FAILED


@pytest.mark.parametrize("error", [None, BodyTooLarge("the app's"), DeadlineExceeded("the app was slow", is_ours=True)])
async def test_a_body_that_the_app_gave_up_leaves_the_verdict(clock: ManualClock, error: SidecarError | None) -> None:
    """The app hung up in the middle of it, or failed to send the rest of its request."""
    bench = Bench(clock)
    body = Body()
    bench.vendor.reply = Reply(200, b"OK", [], body)
    call = call_for()
    await bench.ask(call)
    if error is not None:
        body.fail(error)
    call.end(Outcome.CANCELLED)
    assert bench.counts == PASSED


async def test_a_probe_is_held_until_its_last_byte(clock: ManualClock) -> None:
    """A vendor that comes back gets three downloads to carry, not three hundred."""
    bench = Bench(clock, probes_max=1, successes=2)
    await bench.trip()
    await clock.advance(30)
    bench.vendor.reply = Reply(200, b"OK", [], Body())
    call = call_for()
    await bench.ask(call)
    with pytest.raises(CircuitOpen):
        await bench.ask()
    call.end(Outcome.SUCCESS)
    await bench.ask()
    assert bench.breaker.state == "closed"


async def test_a_probe_whose_app_hangs_up_leaves_its_place_to_the_next(clock: ManualClock) -> None:
    """It stays half-open, without a verdict."""
    bench = Bench(clock, probes_max=1)
    await bench.trip()
    await clock.advance(30)
    bench.vendor.is_hung = True
    task = asyncio.create_task(bench.ask())
    await settle()
    task.cancel()
    await asyncio.wait([task])
    bench.vendor.is_hung = False
    assert bench.breaker.state == "half_open"
    await bench.ask()


@pytest.mark.parametrize(("line", "is_slow"), [("", True), ("waited_rate_s", False), ("waited_slot_s", False)])
async def test_only_the_vendors_time_makes_an_attempt_slow(clock: ManualClock, line: str, is_slow: bool) -> None:
    """Three seconds at the vendor are slow; three in a line of ours are not the vendor's fault."""
    bench = Bench(clock, slow_after=Duration(2), slow_rate=0.5)

    def take_three_seconds(call: Call) -> None:
        clock.tick(3)
        if line:
            setattr(call, line, 3.0)

    bench.vendor.on_call = take_three_seconds
    await bench.ask()
    assert bench.breaker.snapshot(clock.now())["slow"] == is_slow


@pytest.mark.parametrize(("waited_s", "counts"), [(0.0, FAILED), (4.0, FAILED), (6.0, NO_VERDICT)])
async def test_time_that_our_own_lines_used_up_is_not_the_vendors_failure(
    clock: ManualClock, waited_s: float, counts: tuple[int, int]
) -> None:
    """A call that waits six of ten seconds for a permit leaves the vendor four: that opens no circuit."""
    bench = Bench(clock)
    bench.vendor.error = DeadlineExceeded("the call's time is used up")

    def take_ten_seconds(call: Call) -> None:
        clock.tick(10)
        call.waited_rate_s += waited_s

    bench.vendor.on_call = take_ten_seconds
    with pytest.raises(DeadlineExceeded):
        await bench.ask()
    assert bench.counts == counts


async def test_shadow_lets_everything_through(clock: ManualClock) -> None:
    """And shows what it would have done."""
    bench = Bench(clock, mode="shadow")
    await bench.trip()
    await bench.ask()
    assert bench.vendor.calls == 11
    shown = bench.breaker.snapshot(clock.now())
    assert (shown["state"], shown["refused"], shown["mode"]) == ("open", 1, "shadow")


@pytest.mark.parametrize(
    ("asked", "took_s", "counts"),
    [(0.001, 0.001, NO_VERDICT), (2.0, 2.0, FAILED), (None, 0.001, FAILED)],
    ids=["impatient", "patient", "not-asked"],
)
async def test_an_app_that_gives_the_vendor_no_time_does_not_open_the_circuit(
    clock: ManualClock, asked: float | None, took_s: float, counts: tuple[int, int]
) -> None:
    """A time that the app made shorter than an answer often takes says nothing about the vendor."""
    bench = Bench(clock)
    for _ in range(20):
        bench.recent.add(0.1)
    bench.vendor.error = DeadlineExceeded("the call's time is used up")
    bench.vendor.on_call = lambda _: clock.tick(took_s)
    call = call_for()
    call.timeout_asked = asked
    with pytest.raises(DeadlineExceeded):
        await bench.ask(call)
    assert bench.counts == counts
