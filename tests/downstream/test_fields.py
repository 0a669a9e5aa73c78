import pytest

from sidecar.core.body import NO_BODY
from sidecar.core.call import Call
from sidecar.core.errors import BadRequest, NotAllowed
from sidecar.core.ids import Ids
from sidecar.downstream.fields import read_fields, read_ids
from sidecar.downstream.request import Request

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"


def read(*fields: tuple[bytes, bytes], is_http_1_0: bool = False) -> Call:
    """Read the fields of a request into a call."""
    request = Request()
    request.headers = [(b"Host", b"localhost"), *fields]
    request.is_http_1_0 = is_http_1_0
    request.sort()
    call = Call("vendor", "GET", b"/", request.headers, NO_BODY)
    read_ids(call, request, Ids())
    read_fields(call, request)
    return call


@pytest.mark.parametrize("given", [b"a", b"x" * 128, b"!~", b"a,b;c=d"])
def test_a_request_id_is_kept(given: bytes) -> None:
    """1 to 128 visible ASCII characters."""
    assert read((b"x-request-id", given)).request_id == given.decode()


@pytest.mark.parametrize("given", [[b""], [b"x" * 129], [b"a b"], [b"\xe4"], [b"a\tb"], [b"a", b"b"], []])
def test_a_request_id_that_cannot_be_kept_is_made(given: list[bytes]) -> None:
    """Never two calls by one id, never what a log or header cannot hold."""
    calls = [read(*((b"X-Request-ID", value) for value in given)) for _ in range(2)]
    assert all(len(call.request_id) == 32 for call in calls)
    assert calls[0].request_id != calls[1].request_id


def test_a_trace_is_continued_or_started() -> None:
    """W3C trace context; a broken or doubled parent starts a new trace, and its state goes nowhere."""
    parent = b"00-" + TRACE + b"-00f067aa0ba902b7-01"
    call = read((b"traceparent", parent), (b"tracestate", b"a=1"), (b"tracestate", b"b=2"))
    assert (call.trace_id.encode(), call.trace_flags) == (TRACE, "01")
    assert call.headers == [(b"tracestate", b"a=1,b=2")]
    for parents in ([b"nonsense"], [parent, parent], [parent.replace(TRACE, b"0" * 32)]):
        call = read(*((b"traceparent", value) for value in parents), (b"tracestate", b"a=1"))
        assert len(call.trace_id) == 32
        assert call.trace_id.encode() != TRACE
        assert call.headers == []


def test_an_empty_idempotency_key_is_none() -> None:
    """A library that sends the field whatever stands in it must not have its POSTs repeated."""
    assert read((b"Idempotency-Key", b"")).idempotency_key is None


def test_what_the_app_asks_of_us_is_read() -> None:
    """The contract's table of `Sidecar-*`, and the standard ones."""
    call = read(
        (b"Sidecar-Timeout", b"250ms"), (b"Sidecar-Attempts-Max", b"1"), (b"Sidecar-App", b"shop 1"),
        (b"Authorization", b"Bearer x"), (b"cookie", b"a=b"), (b"Cookie", b"c=d"), (b"Idempotency-Key", b"k"),
        (b"TE", b"trailers"), (b"Expect", b"100-Continue"), (b"User-Agent", b"app"),
    )  # fmt: skip
    assert (call.timeout_asked, call.app, call.idempotency_key) == (0.25, "shop 1", b"k")
    assert call.app_credentials == [(b"Authorization", b"Bearer x"), (b"Cookie", b"a=b"), (b"Cookie", b"c=d")]
    assert (call.wants_trailers, call.expects_continue, call.has_user_agent) == (True, True, True)


def test_a_plain_request_asks_for_nothing() -> None:
    """The defaults."""
    call = read()
    assert (call.timeout_asked, call.app, call.idempotency_key, call.app_credentials) == (None, "", None, [])
    assert (call.wants_trailers, call.expects_continue, call.has_user_agent) == (False, False, False)


@pytest.mark.parametrize("expect", [b"100-continues", b"something", b""])
def test_other_expectations_are_not_ours(expect: bytes) -> None:
    """Only 100-continue is known, and only HTTP/1.1 has it (RFC 9110 section 10.1.1)."""
    assert not read((b"Expect", expect)).expects_continue
    assert not read((b"Expect", b"100-continue"), is_http_1_0=True).expects_continue


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"Sidecar-Timeout", b"2"), (b"Sidecar-Timeout", b"0s"), (b"Sidecar-Timeout", b"-1s"),
        (b"Sidecar-Timeout", b"infs"), (b"Sidecar-Timeout", b"nans"), (b"Sidecar-Timeout", b"\xff"),
        (b"Sidecar-Timeout", b""), (b"Sidecar-Timeout", b"1e400s"), (b"Sidecar-Attempts-Max", b"0"),
        (b"Sidecar-Attempts-Max", b"1000"), (b"Sidecar-Attempts-Max", b"+1"), (b"Sidecar-Attempts-Max", b"1.5"),
        (b"Sidecar-App", b""), (b"Sidecar-App", b"\x01"), (b"Sidecar-App", b"x" * 129),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(name: bytes, value: bytes) -> None:
    """A misspelt limit is an error, not no limit."""
    with pytest.raises(BadRequest, match=name.decode()):
        read((name, value))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([b"respond-async"], []),
        ([b"Respond-Async; wait=1"], []),
        ([b"return=minimal, respond-async, wait=10"], [b"return=minimal, wait=10"]),
        ([b"respond-async", b"handling=lenient"], [b"handling=lenient"]),
    ],
)
def test_preferences_for_the_vendor_go_on(given: list[bytes], kept: list[bytes]) -> None:
    """`respond-async` is asked of us, the rest of `Prefer` (RFC 7240) is the vendor's."""
    call = read(*((b"Prefer", value) for value in given))
    assert [value for name, value in call.headers if name == b"Prefer"] == kept


@pytest.mark.parametrize(("site", "may"), [(b"cross-site", False), (b"same-origin", True), (b"none", True)])
def test_a_page_of_another_site_is_told_apart(site: bytes, *, may: bool) -> None:
    """Browsers say it in a field that pages cannot set."""
    if may:
        read((b"Sec-Fetch-Site", site))
    else:
        with pytest.raises(NotAllowed):
            read((b"Sec-Fetch-Site", site))
