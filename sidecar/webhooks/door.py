"""Door: `listen.webhooks`, where vendors call by whatever name they know us: `POST /<name>`, and nothing else.

The answers say as little as they can. A body is bounded before it is read, in size, in time, and together with all
others that are being read.
"""

from collections.abc import Callable, Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from sidecar.core.bodies import Bodies
from sidecar.core.clock import Clock
from sidecar.core.ids import Ids
from sidecar.webhooks.incoming import Incoming
from sidecar.webhooks.receiver import Answer, Receiver
from sidecar.webhooks.webhooks import Webhooks

BODY_TIMEOUT = 10.0  # Seconds from the head of a request to the last byte of its body. Over it: 408.
IN_HAND_MAX = 64 * 2**20  # Bytes of bodies that are read or stored at once. Full: 503.
_BUSY = Answer(503, [(b"Retry-After", b"1")])


class Door:
    """Reads requests, and hands them to the receiver of their name."""

    def __init__(self, webhooks: Webhooks, clock: Clock, ids: Ids, fault: Callable[..., None]) -> None:
        self._webhooks = webhooks
        self._clock = clock
        self._ids = ids
        self._fault = fault
        self._bodies = Bodies(IN_HAND_MAX)

    def app(self, _: frozenset[str]) -> web.Application:
        """Make the application; the names that guard other doors do not matter here: vendors call by public ones."""

        # The middleware answers everything. One route fits every path, as a search in vain makes an answer of its own.
        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 - as it is called
            request_id = _request_id(request) or self._ids.take(32)
            try:
                said = await self._answer(request, request_id)
            except Exception as error:  # noqa: BLE001 - the edge: told to the log, and no 2xx for the vendor
                self._fault("internal", error, request_id=request_id)
                said = Answer(500)
            return _response(said, request_id)

        application = web.Application(middlewares=[answer], client_max_size=0)
        application.router.add_route("*", "/{tail:.*}", _nobody)
        return application

    async def _answer(self, request: web.Request, request_id: str) -> Answer:
        receiver = self._webhooks.receiver(request.raw_path.partition("?")[0].removeprefix("/"))
        if receiver is None:
            return Answer(404)
        if request.method not in receiver.methods:
            return Answer(405, [(b"Allow", ", ".join(sorted(receiver.methods)).encode())])
        if self._webhooks.is_draining:  # What is accepted now could wait for a pod that does not come back.
            receiver.count("draining")
            return _BUSY
        bound = int(receiver.config.body_max)
        size = request.content_length
        if size is not None and size > bound:
            return self._too_large(receiver)
        room = bound if size is None and request.body_exists else size or 0
        if not self._bodies.take(room):
            receiver.count("shed")
            return _BUSY
        try:
            try:
                body = await self._read(request, bound)
            except TimeoutError:
                receiver.count("too_slow")
                return Answer(408, [(b"Connection", b"close")])
            except (ConnectionError, web.RequestPayloadError):  # The vendor hung up, or what it sent is no body.
                receiver.count("broken_off")
                return Answer(400, [(b"Connection", b"close")])
            if body is None:
                return self._too_large(receiver)
            url = _url(request, receiver.config.url)
            return await receiver.receive(Incoming(request.method, url, list(request.raw_headers), body), request_id)
        finally:
            self._bodies.give_back(room)

    async def _read(self, request: web.Request, bound: int) -> bytes | None:
        """Give the body; None when it is over the bound. Raises TimeoutError, ConnectionError, RequestPayloadError."""
        if not request.body_exists:
            return b""
        if request.content.is_eof():  # It came with its head, as most do: there is nothing to wait for.
            whole = request.content.read_nowait()
            return whole if len(whole) <= bound else None
        pieces, size = [], 0
        async with self._clock.timeout_at(self._clock.now() + BODY_TIMEOUT):
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > bound:
                    return None
                pieces.append(piece)
        return b"".join(pieces)

    def _too_large(self, receiver: Receiver) -> Answer:
        receiver.count("too_large")
        return Answer(413, [(b"Connection", b"close")])


async def _nobody(_: web.Request) -> web.StreamResponse:
    raise AssertionError("the middleware answers everything")


def _url(request: web.Request, known: str | None) -> str:
    """Give the URL as the vendor called it: where it signs that, nobody else can have made a signature for another."""
    path, question, query = request.raw_path.partition("?")
    if known is not None:
        return known + question + query
    headers: Mapping[str, str] = request.headers
    scheme = headers.get("X-Forwarded-Proto", "https").partition(",")[0].strip()
    host = headers.get("X-Forwarded-Host", headers.get("Host", "")).partition(",")[0].strip()
    return f"{scheme}://{host}{path}{question}{query}"


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-ID", "")
    return given if len(given) <= 128 and all("!" <= letter <= "~" for letter in given) else ""


def _response(said: Answer, request_id: str) -> web.Response:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in said.headers]
    response = web.Response(status=said.status, body=said.body or None)
    response.headers.extend([*headers, ("X-Request-ID", request_id)])
    if response.headers.get("Connection") == "close":
        response.force_close()
    return response
