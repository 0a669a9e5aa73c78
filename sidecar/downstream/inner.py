"""Inner: a call that no request of its own brought, such as an item of a batch, passed in as if one had.

What a parser refuses on a connection is refused here, since method, path and fields come out of JSON.
"""

import re

from sidecar.core.call import Call
from sidecar.core.errors import BadRequest, HeadersTooLarge, MethodNotAllowed
from sidecar.core.ids import Ids
from sidecar.downstream.fields import read_fields, read_ids
from sidecar.downstream.request import Request
from sidecar.downstream.router import Destination, checked
from sidecar.layers.running import Service

HEAD_MAX = 64 * 1024  # Bytes of path and fields. Over it: 431, as at the door.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TARGET = re.compile(r"(?:[/?][!-~]*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2.
_VALUE = re.compile(r"[\t -~\x80-\xff]*")  # Section 5.5; a line break would begin another field, or another request.


def admit(ids: Ids, call: Call, service: Service, method: str, path: str, fields: list[tuple[str, str]]) -> None:
    """Put method, path and fields on `call`, whose ids and `address` are set; those in the fields win.

    Raises BadRequest, PathEscapes, MethodNotAllowed, HeadersTooLarge, NotAllowed.
    """
    if method not in METHODS:
        raise MethodNotAllowed(f"the method is one of {', '.join(sorted(METHODS))}")
    call.method = method
    if sum(len(name) + len(value) + 4 for name, value in fields) + len(path) > HEAD_MAX:
        raise HeadersTooLarge(f"path and headers are over {HEAD_MAX // 1024} KiB")
    if _TARGET.fullmatch(path) is None:
        raise BadRequest('the path begins with "/", and all but visible ASCII in it is percent-encoded')
    request = Request()
    request.method = method
    request.headers = [_field(name, value) for name, value in fields]
    request.sort()
    request.ours.setdefault(b"x-request-id", [call.request_id.encode()])
    is_traced = b"traceparent" in request.ours
    trace_id, flags, app = call.trace_id, call.trace_flags, call.app
    call.headers = request.headers
    read_ids(call, request, ids)
    if not is_traced:
        call.trace_id, call.trace_flags = trace_id, flags
    read_fields(call, request)
    call.app = call.app or app
    call.expects_continue = call.wants_trailers = False  # The body is in hand, and nobody would see trailers.
    target = path.encode()
    if not target.startswith(b"/") and not service.base_path:
        target = b"/" + target
    call.target = checked(Destination(service, target, call.address)).target


def _field(name: str, value: str) -> tuple[bytes, bytes]:
    if _NAME.fullmatch(name) is None:
        raise BadRequest("a header's name is letters, digits and hyphens")
    if _VALUE.fullmatch(value) is None:
        raise BadRequest(f"the value of the header {name[:64]} has a line break, or a character that no header has")
    return name.encode(), value.strip(" \t").encode("latin-1")
