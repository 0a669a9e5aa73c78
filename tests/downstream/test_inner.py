from typing import cast

import pytest

from sidecar.core.body import NO_BODY
from sidecar.core.call import Call
from sidecar.core.errors import BadRequest, HeadersTooLarge, MethodNotAllowed, NotAllowed, PathEscapes, SidecarError
from sidecar.core.ids import Ids
from sidecar.downstream.inner import HEAD_MAX, admit
from sidecar.layers.running import Service

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Named:
    """What `admit` asks of a service."""

    def __init__(self, base_path: bytes = b"/v2") -> None:
        self.name = "crm"
        self.base_path = base_path


def admitted(
    method: str = "GET", path: str = "/x", *fields: tuple[str, str], base_path: bytes = b"/v2", call: Call | None = None
) -> Call:
    """Pass a call in, with ids of its own."""
    call = call or Call("crm", "", b"", [], NO_BODY)
    call.request_id, call.trace_id, call.app = "batch-7", TRACE, "checkout"
    admit(Ids(), call, cast("Service", Named(base_path)), method, path, list(fields))
    return call


def test_fields_are_sorted_as_on_a_connection() -> None:
    """Order, spelling and duplicates survive; what is the connection's or the sidecar's stays behind."""
    call = admitted(
        "POST", "/x?a=%2F", ("X-One", " 1\t"), ("Host", "evil.example"), ("x-one", "\xe4"), ("Connection", "X-Gone"),
        ("X-Gone", "1"), ("Transfer-Encoding", "chunked"), ("Content-Length", "5"), ("TE", "trailers"),
        ("Expect", "100-continue"), ("Upgrade", "websocket"), ("X-Forwarded-For", "1.2.3.4"), ("Sidecar-Else", "1"),
        ("Authorization", "Bearer x"), ("Sidecar-Timeout", "2s"), ("Sidecar-Attempts-Max", "2"), ("Via", "1.1 a"),
        ("Idempotency-Key", "k"), ("Prefer", "respond-async"),
    )  # fmt: skip
    assert call.headers == [(b"X-One", b"1"), (b"x-one", b"\xe4"), (b"Idempotency-Key", b"k")]
    assert (call.method, call.target, call.timeout_asked, call.attempts_max) == ("POST", b"/x?a=%2F", 2.0, 2)
    assert (call.idempotency_key, call.app_credentials) == (b"k", [(b"Authorization", b"Bearer x")])
    assert (call.upgrade, call.expects_continue, call.wants_trailers) == (None, False, False)


def test_ids_are_the_call_s_unless_the_fields_say_otherwise() -> None:
    """So each item of a batch can be found in the log by a name of the app's."""
    call = admitted()
    assert (call.request_id, call.trace_id, call.app) == ("batch-7", TRACE, "checkout")
    other = "0af7651916cd43dd8448eb211c80319c"
    call = admitted(
        "GET", "/", ("X-Request-ID", "mine"), ("traceparent", f"00-{other}-b7ad6b7169203331-01"), ("Sidecar-App", "b")
    )
    assert (call.request_id, call.trace_id, call.trace_flags, call.app) == ("mine", other, "01", "b")
    assert admitted("GET", "/", ("X-Request-ID", "a b")).request_id != "a b"


@pytest.mark.parametrize(
    ("path", "base_path", "target"),
    [("", b"/v2", b""), ("?a=1", b"/v2", b"?a=1"), ("", b"", b"/"), ("?a=1", b"", b"/?a=1"), ("/x/", b"", b"/x/")],
)
def test_a_path_may_be_the_base_url_itself(path: str, base_path: bytes, target: bytes) -> None:
    """As `/crm` is, called from outside."""
    assert admitted("GET", path, base_path=base_path).target == target


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("CONNECT", MethodNotAllowed), ("TRACE", MethodNotAllowed), ("get", MethodNotAllowed), ("", MethodNotAllowed),
        ("GET /evil HTTP/1.1\r\nX: ", MethodNotAllowed), ("GET\r\n\r\n", MethodNotAllowed),
        ("G\xcbT", MethodNotAllowed),
    ],
)  # fmt: skip
def test_a_method_is_one_of_seven(method: str, kind: type[SidecarError]) -> None:
    """It stands in a metric's label and in the request's first line, so it is not the app's to make up."""
    call = Call("crm", "", b"", [], NO_BODY)
    with pytest.raises(kind):
        admitted(method, call=call)
    assert call.method == ""


@pytest.mark.parametrize(
    "path",
    [
        "x", "http://evil.example/", "/a b", "/a\r\nX: y", "/a HTTP/1.1\r\nHost: evil\r\n\r\nGET /b", "/a\n", "/\x00",
        "/\xe4", "/\u2028", "/\ud7ff", "/a#b", "*", "\\x",
    ],
)  # fmt: skip
def test_a_path_cannot_begin_another_request(path: str) -> None:
    """What a parser would refuse on a connection is refused here."""
    with pytest.raises(BadRequest):
        admitted("GET", path)


@pytest.mark.parametrize("path", ["/..", "/../x", "/a/../../x", "/%2e%2e/x", "/..%2fx", "/..;/x", "/%252e%252e/x"])
def test_a_path_cannot_leave_the_base_path(path: str) -> None:
    """By the same rule as from outside."""
    with pytest.raises(PathEscapes):
        admitted("GET", path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nEvil: 1"), ("X", "a\nEvil: 1"), ("X", "a\rb"), ("X", "a\x00"), ("X", "\x7f"), ("X", "\u0100"),
        ("X\r\nEvil", "1"), ("X: Evil", "1"), ("X ", "1"), ("", "1"), ("\xdc", "1"), ("X:", "1"),
    ],
)  # fmt: skip
def test_a_field_cannot_begin_another(name: str, value: str) -> None:
    """Name and value are held to RFC 9110."""
    with pytest.raises(BadRequest):
        admitted("GET", "/", (name, value))


def test_a_head_has_the_bound_of_the_door() -> None:
    """A line of a batch may be longer than any vendor would take."""
    assert admitted("GET", "/", ("X", "a" * (HEAD_MAX - 6))).headers
    with pytest.raises(HeadersTooLarge):
        admitted("GET", "/", ("X", "a" * (HEAD_MAX - 5)))
    with pytest.raises(HeadersTooLarge):
        admitted("GET", "/" + "a" * HEAD_MAX)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [("Sidecar-Timeout", "2", BadRequest), ("Sec-Fetch-Site", "cross-site", NotAllowed)],
)
def test_what_is_asked_of_the_sidecar_is_read_as_at_the_door(name: str, value: str, kind: type[SidecarError]) -> None:
    """And refused as there."""
    with pytest.raises(kind):
        admitted("GET", "/", (name, value))
