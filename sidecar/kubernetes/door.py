"""Door: `POST /inject`, where the API server asks. Everything else goes to the door for probes, behind it.

A body is bounded before it is read, in size, in time, and together with all others that are being read.
"""

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from sidecar.core.bodies import Bodies
from sidecar.core.clock import Clock
from sidecar.kubernetes.injector import Injector
from sidecar.kubernetes.review import MalformedReview

PATH = "/inject"
# The API server takes objects of 3 MiB at most, and asks with what it made of them: defaults filled in, and as JSON.
BODY_MAX = 8 * 2**20  # Bytes. More: 413.
BODY_TIMEOUT = 5.0  # Seconds from the head to the last byte. Over it: 408; the API server waits for 10 at most.
IN_HAND_MAX = 16 * 2**20  # Bytes of bodies that are read at once. Full: 503.
_TYPE = "application/json"


class Door:
    """Reads requests, and hands them to the injector. While it leaves, each answer is its connection's last."""

    def __init__(self, injector: Injector, clock: Clock) -> None:
        self._injector = injector
        self._clock = clock
        self._bodies = Bodies(IN_HAND_MAX)
        self.is_leaving = False  # Whoever is connected is to connect anew, and meet another pod.

    def middleware(self) -> Middleware:
        """Make what stands in front of an application that answers all other paths."""

        @web.middleware
        async def inject(request: web.Request, handler: Handler) -> web.StreamResponse:
            is_ours = request.raw_path.partition("?")[0] == PATH
            response = await self._answer(request) if is_ours else await handler(request)
            if self.is_leaving:
                response.force_close()
            return response

        return inject

    async def _answer(self, request: web.Request) -> web.Response:
        if request.method != hdrs.METH_POST:
            return _line(405, "only POST", Allow="POST")
        if request.content_type != _TYPE or hdrs.CONTENT_ENCODING in request.headers:
            return _line(415, f"send the AdmissionReview as {_TYPE}, not compressed")
        size = request.content_length
        if size is not None and size > BODY_MAX:
            return _too_large()
        room = BODY_MAX if size is None else size
        if not self._bodies.take(room):
            return _line(503, "too much is being read already", **{"Retry-After": "1"})
        try:
            body = await self._read(request)
            if body is None:
                return _too_large()
            return web.Response(body=self._injector.review(body), content_type=_TYPE)
        except MalformedReview as malformed:
            return _line(400, str(malformed))
        except ConnectionError:
            return _closing(400, "the body was cut off")  # Nobody reads it.
        except TimeoutError:
            return _closing(408, f"the body took longer than {BODY_TIMEOUT:g} s")
        finally:
            self._bodies.give_back(room)

    async def _read(self, request: web.Request) -> bytearray | None:
        """Give the body; None when it is over the bound. Raises TimeoutError."""
        body = bytearray()
        async with self._clock.timeout_at(self._clock.now() + BODY_TIMEOUT):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > BODY_MAX:
                    return None
        return body


def _line(status: int, text: str, **headers: str) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers=headers)


def _closing(status: int, text: str) -> web.Response:
    response = _line(status, text)
    response.force_close()
    return response


def _too_large() -> web.Response:
    return _closing(413, f"an AdmissionReview has at most {BODY_MAX} bytes here")
