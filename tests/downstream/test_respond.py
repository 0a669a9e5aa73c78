import pytest

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.errors import BadRequest, MethodNotAllowed, Shed, UnknownService
from sidecar.downstream import respond
from tests.kit.app import Reply as Answer
from tests.kit.message import parse_fields
from tests.kit.refusal import assert_refusal


def call() -> Call:
    """Make a call that has its ids."""
    made = Call("vendor", "GET", b"/x", [], NO_BODY)
    made.request_id = "the-id"
    return made


def written(made: Call, reply: Reply) -> Answer:
    """Write an answer as the app gets it, and read it strictly."""
    raw = respond.head(made, reply, b"\r\n")
    lines = raw[:-4].split(b"\r\n")
    answer = Answer(reply.status, b"", b"HTTP/1.1", parse_fields(lines[1:]), raw)
    answer.content.body += reply.body.take_all() or b""
    return answer


@pytest.mark.parametrize(
    "detail", ['a "quoted" word', "a \\ backslash", '\\"', "snow\u2603man", "\ud800", "tab\tand\nline", "\x7f", ""]
)
def test_every_sentence_is_a_structured_field(detail: str) -> None:
    """Proxy-Status (RFC 9209) holds printable ASCII only, quote and backslash escaped (RFC 9651 section 3.3.3)."""
    reply = respond.problem(call(), UnknownService(detail))
    value = dict(reply.headers)[b"Proxy-Status"]
    start = b'sidecar; error=destination_not_found; details="'
    assert value.startswith(start)
    inner = value[len(start) : -1]
    assert all(0x20 <= byte < 0x7F for byte in inner)
    assert b'"' not in inner.replace(b"\\\\", b"").replace(b'\\"', b"")
    assert value.endswith(b'"')


@pytest.mark.parametrize(("after", "seconds"), [(None, None), (0.0, 0), (0.001, 1), (1.0, 1), (1.2, 2), (90.0, 90)])
def test_retry_after_is_rounded_up(after: float | None, seconds: int | None) -> None:
    """A client that comes a little too early is refused once more."""
    made = call()
    made.attempts.append(AttemptRecord())
    answer = written(made, respond.problem(made, Shed("full", retry_after=after)))
    assert_refusal(
        answer, 503, "shed", "connection_limit_reached", service="vendor", attempts=1, retry_after=seconds
    )  # fmt: skip


def test_a_method_that_is_refused_comes_with_those_that_are_not() -> None:
    """RFC 9110 section 15.5.6 asks for Allow."""
    answer = written(call(), respond.problem(call(), MethodNotAllowed("no tunnels")))
    assert "GET" in answer.value("Allow")
    assert written(call(), respond.problem(call(), BadRequest("no"))).values("Allow") == []


def test_a_head_is_the_vendors_and_three_fields_of_ours() -> None:
    """Order, duplicates and spelling of the vendor's fields survive."""
    reply = Reply(299, b"Odd \xe4 Reason", [(b"x-A", b"1"), (b"X-a", b"2")], Body.of(b""))
    assert respond.head(call(), reply, b"Connection: close\r\n\r\n") == (
        b"HTTP/1.1 299 Odd \xe4 Reason\r\nx-A: 1\r\nX-a: 2\r\nX-Request-ID: the-id\r\nSidecar-Source: upstream\r\n"
        b"Sidecar-Attempts: 0\r\nConnection: close\r\n\r\n"
    )
