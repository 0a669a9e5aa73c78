import pytest

from sidecar.core.body import Headers
from sidecar.downstream.request import Request


def sort(*fields: tuple[bytes, bytes]) -> Request:
    """Make a request with these fields, and sort it."""
    made = Request()
    made.headers = list(fields)
    made.sort()
    return made


@pytest.mark.parametrize(
    "name",
    [
        "Connection", "Keep-Alive", "Proxy-Authorization", "Proxy-Authenticate", "Proxy-Connection", "TE",
        "Transfer-Encoding", "Upgrade", "HTTP2-Settings", "Host", "Content-Length", "Expect", "Authorization", "Cookie",
        "X-Request-ID", "traceparent", "tracestate", "Prefer", "Sidecar-Timeout", "Sidecar-Token", "Sidecar-Anything",
        "Sec-Fetch-Site", "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Anything",
        "X-Envoy-Attempt-Count", "X-B3-TraceId", "L5d-Dst-Override", "X-Istio-Attributes",
    ],
)  # fmt: skip
def test_what_is_not_the_vendors_is_held_back(name: str) -> None:
    """In every spelling: the connection's own, ours, the pod's, the mesh's."""
    for spelling in (name, name.lower(), name.upper()):
        assert sort((spelling.encode(), b"x")).headers == []


def test_the_rest_goes_on_as_it_came() -> None:
    """Order, duplicates, spelling and odd bytes survive; so do the two fields that both sides read."""
    fields: Headers = [
        (b"aCCept", b"*/*"), (b"X-A", b"1"), (b"x-a", b"2"), (b"X-A", b""), (b"User-Agent", b"app"),
        (b"X-\xe4", b"\xff"), (b"Idempotency-Key", b"k"), (b"Trailer", b"X-Sum"), (b"Content-Type", b"a/b"),
        (b"X-Forwarded", b"not ours"), (b"Sidecars", b"neither"),
    ]  # fmt: skip
    made = sort(*fields)
    assert made.headers == fields
    assert made.first(b"user-agent") == b"app"
    assert made.first(b"idempotency-key") == b"k"


def test_what_connection_names_is_held_back_too() -> None:
    """RFC 9110 section 7.6.1; but nobody may name away what frames or addresses the message."""
    made = sort(
        (b"Connection", b"close, X-Hop ,,x-other"),
        (b"connection", b"X-Third, Content-Length, Host"),
        (b"X-Hop", b"1"), (b"X-HOP", b"2"), (b"X-Other", b"3"), (b"X-Third", b"4"), (b"X-Kept", b"5"),
        (b"Host", b"localhost"), (b"Content-Length", b"3"),
    )  # fmt: skip
    assert made.headers == [(b"X-Kept", b"5")]
    assert made.first(b"host") == b"localhost"
    assert made.first(b"content-length") == b"3"


def test_blanks_around_a_value_for_us_do_not_count() -> None:
    """RFC 9110 section 5.5: they are no part of the value, and the parser leaves those at the end."""
    made = sort((b"Host", b"localhost \t"), (b"X-Request-ID", b" a "))
    assert made.first(b"host") == b"localhost"
    assert made.first(b"x-request-id") == b"a"


def test_every_value_of_ours_is_kept_in_order() -> None:
    """Two Hosts must be seen as two."""
    made = sort((b"Host", b"a"), (b"HOST", b"b"))
    assert made.ours[b"host"] == [b"a", b"b"]
    assert made.first(b"x-request-id") is None
