"""Which calls become jobs, before the vendor is asked or after it could not be had; and which must not."""

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.errors import (
    AddressDenied,
    BadRequest,
    BodyTooLarge,
    BulkheadFull,
    CircuitOpen,
    ConnectFailed,
    CredentialUnavailable,
    NotAllowed,
    QueueFull,
    RateLimited,
    SidecarError,
    UpstreamReset,
)
from sidecar.core.outcome import Outcome
from sidecar.core.units import Size
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.defer.layer import Replaced, defer
from sidecar.layers.idempotency.field import FieldPlace
from sidecar.layers.idempotency.layer import idempotency, key_for
from sidecar.layers.idempotency.places import HeaderPlace, Place, QueryPlace
from tests.kit.clock import ManualClock
from tests.layers.calls import call_for

NOTHING = Replaced()
MADE = b"made" + 32 * b"0"
STATUSES = frozenset({429, 500, 503})


class Line:
    """Takes jobs, or refuses them."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, bytes, str, bytes | None]] = []
        self.waits: list[float | None] = []
        self.calls: list[tuple[Headers, bytes]] = []
        self.refusal: SidecarError | None = None

    async def submit(
        self, line: str, config: QueueConfig, call: Call, body: bytes, why: str, wait: float | None
    ) -> Reply:
        """Take one."""
        assert isinstance(config, QueueConfig)
        if self.refusal is not None:
            raise self.refusal
        self.waits.append(wait)
        self.calls.append((call.headers, call.target))
        self.jobs.append((line, body, why, call.idempotency_key))
        return Reply(202, b"Accepted", [], Body.of(b"{}"), "queue")


class Vendor:
    """What is below: reads the body, sends attempts, and ends as it is told."""

    def __init__(self, ends: Reply | SidecarError | None = None, attempts: int = 1) -> None:
        self.ends = ends or Reply(200, b"OK", [], Body.of(b"fine"))
        self.attempts = attempts
        self.bodies: list[bytes] = []
        self.freed: list[Outcome] = []

    async def __call__(self, call: Call) -> Reply:
        """Take a call."""
        pieces = []
        while piece := await call.body.read():
            pieces.append(piece)
        self.bodies.append(b"".join(pieces))
        call.attempts += [AttemptRecord() for _ in range(self.attempts)]
        call.on_end(self.freed.append)
        call.headers = [*call.headers, (b"X-Shaped", b"1")]
        if isinstance(self.ends, SidecarError):
            raise self.ends
        return self.ends


Send = Callable[..., Any]


@pytest.fixture
def line() -> Line:
    """Nothing waits in it."""
    return Line()


def layer(
    line: Line,
    vendor: Vendor,
    when: Any = "unavailable",
    body_max: int = 100,
    methods: tuple[str, ...] = ("POST",),
    place: Place | None = None,
    replaced: Replaced = NOTHING,
) -> Callable[[Call], Any]:
    """Make the layer around a vendor."""
    clock = ManualClock()
    config = QueueConfig(when=when, body_max=Size(body_max))
    keys = key_for(place or HeaderPlace("Idempotency-Key"), frozenset(methods), 36, lambda: "made" + 32 * "0")
    return defer(config, "crm", STATUSES, frozenset(), replaced, keys, line.submit, clock)(vendor)


def status(code: int) -> Reply:
    """An answer of the vendor's."""
    return Reply(code, b"X", [], Body.of(b"said"))


def streamed(*pieces: bytes, is_whole: bool = True) -> Body:
    """A body that comes in pieces."""
    body = Body()
    for piece in pieces:
        body.feed(piece)
    if is_whole:
        body.finish()
    return body


async def test_a_call_whose_app_would_rather_not_wait_is_a_job_at_once(line: Line) -> None:
    """The vendor is not asked, and the whole body is in the job."""
    vendor = Vendor()
    call = call_for("POST", b"/x", [], streamed(b"one ", b"two"))
    call.prefers_async = True
    reply = await layer(line, vendor, "asked")(call)
    assert reply.status == 202
    assert line.jobs == [("crm", b"one two", "asked", MADE)]
    assert vendor.bodies == []


async def test_without_the_wish_a_call_is_a_call(line: Line) -> None:
    """`asked` does nothing by itself, even where the vendor cannot be had."""
    vendor = Vendor(CircuitOpen("open"))
    with pytest.raises(CircuitOpen):
        await layer(line, vendor, "asked")(call_for("GET", b"/x"))
    assert line.jobs == []


async def test_always_means_always(line: Line) -> None:
    """Nobody has to ask."""
    reply = await layer(line, Vendor(), "always")(call_for("GET", b"/x"))
    assert reply.status == 202
    assert line.jobs == [("crm", b"", "asked", None)]


async def test_a_jobs_own_turn_passes(line: Line) -> None:
    """Else it would be a job for ever."""
    call = call_for("POST", b"/x")
    call.job = "crm.1"
    vendor = Vendor(CircuitOpen("open"))
    with pytest.raises(CircuitOpen):
        await layer(line, vendor, "always")(call)
    assert line.jobs == []


async def test_what_went_well_is_passed_on(line: Line) -> None:
    """A queue costs nothing while the vendor serves; also a no of the vendor's is an answer."""
    for code in (200, 404, 409):
        vendor = Vendor(status(code))
        reply = await layer(line, vendor)(call_for("POST", b"/x", [], Body.of(b"body")))
        assert (reply.status, vendor.bodies) == (code, [b"body"])
    assert line.jobs == []


@pytest.mark.parametrize(
    "error",
    [CircuitOpen("x"), RateLimited("x"), BulkheadFull("x"), CredentialUnavailable("x"), ConnectFailed("x")],
    ids=lambda error: error.code,
)
async def test_a_vendor_that_cannot_be_had_makes_a_job(line: Line, error: SidecarError) -> None:
    """With the body that was read once already, and the call as the app made it."""
    vendor = Vendor(error, attempts=0)
    call = call_for("POST", b"/x", [(b"A", b"b")], streamed(b"one ", b"two"))
    reply = await layer(line, vendor)(call)
    assert reply.status == 202
    assert line.jobs == [("crm", b"one two", error.code, MADE)]
    assert call.headers == [(b"A", b"b")]
    assert vendor.freed == [Outcome.FAILURE]


@pytest.mark.parametrize("code", sorted(STATUSES))
async def test_attempts_that_are_used_up_make_a_job(line: Line, code: int) -> None:
    """The answer is given up before the app sees a byte of it, and what it held is given back."""
    vendor = Vendor(status(code), attempts=3)
    reply = await layer(line, vendor)(call_for("PUT", b"/x", [], Body.of(b"body")))
    assert reply.status == 202
    assert line.jobs == [("crm", b"body", str(code), None)]
    assert vendor.freed == [Outcome.FAILURE]


async def test_what_might_be_done_twice_is_not_made_again(line: Line) -> None:
    """A POST without a key that broke off: the app gets what happened, since only it can know what to do."""
    for ends, attempts in ((UpstreamReset("x"), 1), (status(503), 1), (ConnectFailed("x"), 2)):
        vendor = Vendor(ends, attempts=attempts)
        call = call_for("POST", b"/x", [], Body.of(b"body"))
        if isinstance(ends, SidecarError):
            with pytest.raises(type(ends)):
                await layer(line, vendor, methods=())(call)
        else:
            assert (await layer(line, vendor, methods=())(call)).status == 503
    assert line.jobs == []


async def test_what_was_never_sent_may_be_made_later_whatever_it_is(line: Line) -> None:
    """No connection came about, so nobody saw the POST."""
    vendor = Vendor(ConnectFailed("x"), attempts=1)
    assert (await layer(line, vendor, methods=())(call_for("POST", b"/x", [], Body.of(b"body")))).status == 202
    assert line.jobs == [("crm", b"body", "connect_failed", None)]


@pytest.mark.parametrize("error", [NotAllowed("x"), BadRequest("x"), AddressDenied("x")], ids=lambda e: e.code)
async def test_a_no_of_ours_that_stays_one_makes_no_job(line: Line, error: SidecarError) -> None:
    """Later it would be the same."""
    with pytest.raises(type(error)):
        await layer(line, Vendor(error))(call_for("GET", b"/x"))
    assert line.jobs == []


async def test_a_body_over_the_bound_is_refused_where_a_job_was_asked_for(line: Line) -> None:
    """413, whether its length is said or not."""
    for body in (Body.of(b"x" * 101), streamed(b"x" * 60, b"x" * 60)):
        call = call_for("POST", b"/x", [], body)
        call.prefers_async = True
        with pytest.raises(BodyTooLarge, match="100 bytes"):
            await layer(line, Vendor())(call)
    assert line.jobs == []


async def test_a_body_over_the_bound_is_sent_and_keeps_its_failure(line: Line) -> None:
    """Where nobody asked for a job, a long body is no mistake."""
    vendor = Vendor(CircuitOpen("open"))
    for body in (Body.of(b"x" * 101), streamed(b"x" * 60, b"x" * 60)):
        with pytest.raises(CircuitOpen):
            await layer(line, vendor)(call_for("PUT", b"/x", [], body))
    assert [len(body) for body in vendor.bodies] == [101, 120]
    assert line.jobs == []


async def test_a_full_queue_gives_the_app_what_happened(line: Line) -> None:
    """Where the app asked for a job it hears that there is no room; else the vendor's failure is the answer."""
    line.refusal = QueueFull("full")
    with pytest.raises(CircuitOpen):
        await layer(line, Vendor(CircuitOpen("open")))(call_for("GET", b"/x"))
    vendor = Vendor(status(503))
    reply = await layer(line, vendor)(call_for("GET", b"/x"))
    assert (reply.status, vendor.freed) == (503, [])
    call = call_for("GET", b"/x")
    call.prefers_async = True
    with pytest.raises(QueueFull):
        await layer(line, vendor)(call)


@pytest.mark.parametrize("name", [b"X-Api-Key", b"authorization", b"Cookie"])
async def test_a_call_with_a_credential_of_the_apps_own_is_never_written_down(line: Line, name: bytes) -> None:
    """It is made now, or refused where calls are always made later."""
    call = call_for("GET", b"/x", [(name, b"secret")])
    call.prefers_async = True
    assert (await layer(line, Vendor())(call)).status == 200
    with pytest.raises(BadRequest, match="credential"):
        await layer(line, Vendor(), "always")(call_for("GET", b"/x", [(name, b"secret")]))
    assert line.jobs == []


async def test_a_connection_that_is_switched_is_no_job(line: Line) -> None:
    """There is nobody to talk to later."""
    call = call_for("GET", b"/x")
    call.prefers_async, call.upgrade = True, b"websocket"
    assert (await layer(line, Vendor())(call)).status == 200
    assert line.jobs == []


async def test_a_job_made_of_a_failure_waits_for_what_was_told(line: Line) -> None:
    """The vendor could not be had just now; where the app asked for a job it may begin at once."""
    await layer(line, Vendor(CircuitOpen("open", retry_after=12.0)))(call_for("GET", b"/x"))
    await layer(line, Vendor(ConnectFailed("x")))(call_for("GET", b"/x"))
    await layer(line, Vendor(), "always")(call_for("GET", b"/x"))
    assert line.waits == [12.0, 0.0, None]


async def test_a_call_without_a_body_has_none_as_a_job(line: Line) -> None:
    """NO_BODY is shared by all, and is not read up."""
    vendor = Vendor(CircuitOpen("open"), attempts=0)
    call = call_for("DELETE", b"/x")
    assert call.body is NO_BODY
    assert (await layer(line, vendor)(call)).status == 202
    assert line.jobs == [("crm", b"", "circuit_open", None)]


PLACES: dict[str, tuple[Place, bytes, Headers, bytes]] = {
    "header": (HeaderPlace("PayPal-Request-Id"), b"/x", [(b"PayPal-Request-Id", b"own")], b"{}"),
    "query": (QueryPlace("requestid"), b"/x?requestid=own", [], b"{}"),
    "field": (FieldPlace("idempotency_key", 1000, ManualClock()), b"/x", [], b'{"idempotency_key": "own"}'),
}


@pytest.mark.parametrize("when", ["always", "unavailable"])
@pytest.mark.parametrize("kind", PLACES)
async def test_the_apps_key_is_the_jobs_wherever_it_stands(line: Line, kind: str, when: str) -> None:
    """A made one beside it would be a second key for one operation, for which the call and its turns were refused."""
    place, target, headers, body = PLACES[kind]
    vendor = Vendor(CircuitOpen("open"), attempts=0)
    keyed = idempotency(place, frozenset({"POST"}), 36, lambda: "another", print)(vendor)
    call = call_for("POST", target, headers, Body.of(body))
    reply = await layer(line, keyed, when, place=place)(call)  # type: ignore[arg-type]
    assert reply.status == 202
    assert [job[3] for job in line.jobs] == [b"own"]
    assert line.jobs[0][1] == body


async def test_a_key_that_no_vendor_takes_makes_no_job(line: Line) -> None:
    """Nor does it come into a header of the answer."""
    body = b'{"idempotency_key": "a\\r\\nSet-Cookie: b"}'
    call = call_for("POST", b"/x", [], Body.of(body))
    with pytest.raises(BadRequest):
        await layer(line, Vendor(), "always", place=PLACES["field"][0])(call)
    assert line.jobs == []


@pytest.mark.parametrize("when", ["always", "unavailable"])
@pytest.mark.parametrize("header", [b"X-Shop-Access-Token", b"X-Api-Key"])
async def test_what_the_app_has_where_the_credential_goes_is_not_stored(line: Line, header: bytes, when: str) -> None:
    """Libraries want a key before they send anything; some are given a real one."""
    vendor = Vendor(CircuitOpen("open"), attempts=0)
    replaced = Replaced(header.lower(), b"api%5Fkey")
    call = call_for("GET", b"/x?a=1&api%5Fkey=own&api%5Fkey=own&b=2", [(header.lower(), b"own"), (b"X-Kept", b"1")])
    reply = await layer(line, vendor, when, replaced=replaced)(call)
    assert reply.status == 202
    assert line.calls == [([(b"X-Kept", b"1")], b"/x?a=1&b=2")]
