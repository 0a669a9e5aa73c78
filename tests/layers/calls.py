"""Calls and vendors for layers: no sockets, no waiting."""

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import Call, Handler, Layer, Reply


class Innermost:
    """Stands where the transport stands: remembers what came, and gives the reply it was made with."""

    def __init__(self, status: int = 200, headers: Headers | None = None, body: bytes | Body = b"") -> None:
        self.calls: list[Call] = []
        self._status = status
        self._headers = headers or []
        self._body = body

    async def __call__(self, call: Call) -> Reply:
        """Take a call as the transport would."""
        self.calls.append(call)
        body = self._body if isinstance(self._body, Body) else Body.of(self._body)
        reply = Reply(self._status, b"OK", list(self._headers), body)
        reply.has_urls = True
        return reply

    @property
    def call(self) -> Call:
        """The one call that came."""
        assert len(self.calls) == 1
        return self.calls[0]


def call_for(method: str = "GET", target: bytes = b"/x", headers: Headers | None = None, body: Body = NO_BODY) -> Call:
    """Make a call as the door hands it over."""
    call = Call("crm", method, target, list(headers or []), body)
    call.started_at = 1000.0
    return call


async def through(layer: Layer, call: Call, innermost: Handler | None = None) -> Reply:
    """Send a call through one layer."""
    return await layer(innermost or Innermost())(call)


async def read_all(body: Body) -> bytes:
    """Read a body to its end."""
    pieces = []
    while piece := await body.read():
        pieces.append(piece)
    return b"".join(pieces)
