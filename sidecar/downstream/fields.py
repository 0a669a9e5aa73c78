"""Fields: what the app says to the sidecar in headers, read into the call; the contract's table of them."""

import re

from sidecar.core.call import Call
from sidecar.core.errors import BadRequest, NotAllowed
from sidecar.core.ids import Ids
from sidecar.core.units import Duration
from sidecar.downstream.request import Request
from sidecar.telemetry import trace

_ID = re.compile(rb"[!-~]{1,128}")
_APP = re.compile(rb"[ -~]{1,128}")
_QUEUE_KEY = re.compile(rb"[!-~]{1,128}")
_COUNT = re.compile(rb"[1-9][0-9]{0,2}")


def read_ids(call: Call, request: Request, ids: Ids) -> None:
    """Keep the request id if it is 1 to 128 visible ASCII characters, else make one; the same for the trace."""
    ours = request.ours
    given = ours.get(b"x-request-id")
    if given is not None and len(given) == 1 and _ID.fullmatch(given[0]):
        call.request_id = given[0].decode()
    else:
        call.request_id = ids.take(32)
    parents = ours.get(b"traceparent")
    parent = trace.parse(parents[0]) if parents is not None and len(parents) == 1 else None
    if parent is None:
        call.trace_id = ids.take(32)
        return
    call.trace_id, _, call.trace_flags = parent
    state = trace.tracestate(ours.get(b"tracestate", []))
    if state:
        call.headers.append((b"tracestate", state))


def read_fields(call: Call, request: Request) -> None:
    """Read what the app asks of the sidecar. Raises BadRequest for what cannot be read, NotAllowed for a browser."""
    ours = request.ours
    call.has_user_agent = b"user-agent" in ours
    if len(ours) == 1 and b"host" in ours:
        return
    if request.first(b"sec-fetch-site") == b"cross-site":
        raise NotAllowed("a web page of another site made a browser send this; the sidecar serves the app in its pod")
    timeout = request.first(b"sidecar-timeout")
    if timeout is not None:
        call.timeout_asked = _duration(timeout)
    attempts = request.first(b"sidecar-attempts-max")
    if attempts is not None:
        if not _COUNT.fullmatch(attempts):
            raise BadRequest("Sidecar-Attempts-Max is a number from 1 to 999")
        call.attempts_max = int(attempts)
    app = request.first(b"sidecar-app")
    if app is not None:
        if not _APP.fullmatch(app):
            raise BadRequest("Sidecar-App is 1 to 128 printable ASCII characters")
        call.app = app.decode()
    key = request.first(b"sidecar-queue-key")
    if key is not None:
        if not _QUEUE_KEY.fullmatch(key):
            raise BadRequest("Sidecar-Queue-Key is 1 to 128 visible ASCII characters")
        call.queue_key = key.decode()
    for name in (b"authorization", b"cookie"):
        call.app_credentials += [(name.title(), value) for value in ours.get(name, ())]
    # An empty one tells no two calls apart, so it makes none repeatable.
    call.idempotency_key = request.first(b"idempotency-key") or None
    call.wants_trailers = b"trailers" in (request.first(b"te") or b"").lower()
    call.upgrade = request.upgrades_to
    call.expects_continue = (request.first(b"expect") or b"").lower() == b"100-continue" and not request.is_http_1_0
    for prefer in ours.get(b"prefer", ()):
        _read_prefer(call, prefer)


def _duration(text: bytes) -> float:
    try:
        duration = Duration.parse(text.decode("latin-1"))
    except ValueError:
        duration = Duration(0)
    if duration <= 0:
        raise BadRequest('Sidecar-Timeout is a number with a unit, such as "500ms" or "2s"')
    return duration


def _read_prefer(call: Call, prefer: bytes) -> None:
    """Pass on the preferences (RFC 7240) that are the vendor's; `respond-async` is asked of us."""
    parts = prefer.split(b",")
    kept = [part for part in parts if part.partition(b";")[0].strip().lower() != b"respond-async"]
    if len(kept) < len(parts):
        call.prefers_async = True
    if kept:
        call.headers.append((b"Prefer", b",".join(kept).strip()))
