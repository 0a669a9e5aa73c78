"""Respond: heads of answers, and the one place that turns our errors into HTTP (RFC 9457, RFC 9209)."""

import math
import re
from functools import lru_cache
from http import HTTPStatus

from sidecar.core.body import Body, Headers
from sidecar.core.call import Call, Reply
from sidecar.core.errors import MethodNotAllowed, SidecarError
from sidecar.core.problem import encode

_NOT_PRINTABLE = re.compile(r"[^ -~]")


def problem(call: Call, error: SidecarError) -> Reply:
    """Make the answer for an error of ours."""
    text = encode(error, call.request_id, call.service, len(call.attempts), list(error.problems) or None)
    headers: Headers = [
        (b"Content-Type", b"application/problem+json"),
        (b"Content-Length", b"%d" % len(text)),
        (b"Sidecar-Error", error.code.encode()),
        (b"Proxy-Status", b"sidecar; error=%b; details=%b" % (error.proxy_error.encode(), _quoted(error.detail))),
    ]
    if error.retry_after is not None:
        headers.append((b"Retry-After", b"%d" % math.ceil(error.retry_after)))
    if call.idempotency_key and call.attempts:
        # Whoever does not know whether the vendor did it asks the vendor by this key, or sends it again.
        headers.append((b"Idempotency-Key", call.idempotency_key))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"Allow", error.allow))
    return Reply(error.status, _reason(error.status), headers, Body.of(text), "sidecar")


def _quoted(text: str) -> bytes:
    """Write a structured-field string (RFC 9651 section 3.3.3): printable ASCII, quote and backslash escaped."""
    plain = _NOT_PRINTABLE.sub("?", text)
    return ('"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"').encode()


REASON_MAX = 64  # Bytes of a vendor's reason phrase that are remembered with its line. Longer: made anew each time.


def status_line(status: int, reason: bytes) -> bytes:
    """Give the first line of an answer."""
    return _known_line(status, reason) if len(reason) <= REASON_MAX else b"HTTP/1.1 %d %b\r\n" % (status, reason)


@lru_cache(maxsize=1024)  # Full: the phrase not used for longest is made anew.
def _known_line(status: int, reason: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()


def head(call: Call, reply: Reply, framing: bytes) -> bytes:
    """Write an answer's head; `framing` holds the fields of this connection, and ends the head."""
    fields = b"".join([b"%b: %b\r\n" % field for field in reply.headers])
    ours = b"X-Request-ID: %b\r\nSidecar-Source: %b\r\nSidecar-Attempts: %d\r\n" % (
        call.request_id.encode(),
        reply.source.encode(),
        len(call.attempts),
    )
    return status_line(reply.status, reply.reason) + fields + ours + framing
