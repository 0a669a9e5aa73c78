"""Door: a listener for people and probes, and the bounds that it puts on whoever knocks.

aiohttp reads and answers. What it has no bounds for stands in front of it: the time that a peer may take to send a
head or to read an answer, and how many peers there are. The telemetry door is open to the network.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from sidecar.core.alarm import Alarm
from sidecar.core.clock import Clock

BODY_MAX = 64 * 1024  # Bytes. More: 413.
LINE_MAX = 4096  # Bytes of a request line. More: 400.
FIELD_MAX = 8190  # Bytes of one header field. More: 400.
FIELDS_MAX = 64  # Header fields. More: 400.
CONNECTIONS_MAX = 256  # Full: the oldest without a request under way makes room; if all have one, 503 and closed.
HEAD_TIMEOUT = 10.0  # Seconds from the connection, or from a later head's first byte, to its last. Over it: closed.
WRITE_TIMEOUT = 30.0  # Seconds in which an answer moves on, when the peer does not read. Over it: cut off.
KEEPALIVE_S = 75.0  # Longer than Prometheus and the kubelet take between two requests.
LINGER_S = 2.0  # For the rest of a body that nobody read.
SHUTDOWN_S = 2.0  # For the requests under way when the door closes; then they are cancelled.

_SERVING: dict[str, Any] = {
    "access_log": None, "max_line_size": LINE_MAX, "max_field_size": FIELD_MAX, "max_headers": FIELDS_MAX,
    "keepalive_timeout": KEEPALIVE_S, "lingering_time": LINGER_S,
    "auto_decompress": False,  # A webhook is verified, bounded and delivered as it came; nobody else compresses.
}  # fmt: skip
_MALFORMED = "the request is malformed HTTP\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"


class _Full(asyncio.Protocol):
    """Says that there is no room, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer at once, whatever the request is."""
        assert hasattr(transport, "write")
        transport.write(_FULL)
        transport.close()


class _Server(web.RequestHandler):
    """aiohttp's protocol, which answers a malformed head without quoting it: what came may hold a credential."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer for what went wrong in reading, or in a handler; for the latter aiohttp's words are constant."""
        return super().handle_error(request, status, exc, message if message is None else _MALFORMED)


class _Watched(asyncio.Protocol):
    """Stands between a transport and aiohttp's protocol, and keeps the time that the peer takes."""

    def __init__(
        self, inner: web.RequestHandler, clock: Clock, on_closed: Callable[[web.RequestHandler], None]
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._on_closed = on_closed
        self._read_alarm = Alarm(clock, self.abort)
        self._write_alarm = Alarm(clock, self.abort)
        self._has_begun = True  # The time of the head that is being read runs already.
        self._transport: asyncio.Transport | None = None
        self._request: asyncio.Task[Any] | None = None  # What answers, while a request is with the application.

    @property
    def is_busy(self) -> bool:
        """Whether a request is with the application."""
        return self._request is not None

    def begin(self) -> None:
        """Note that a whole head came: what takes time now is ours."""
        self._request = asyncio.current_task()
        self._read_alarm.clear()

    def end(self) -> None:
        """Note that the application has answered."""
        self._request, self._has_begun = None, False
        self._read_alarm.set(self._clock.now() + KEEPALIVE_S)

    def cancel(self) -> None:
        """End the request that is with the application, if any."""
        if self._request is not None:
            self._request.cancel()

    def abort(self) -> None:
        """Cut the peer off."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock."""
        self._transport = transport  # type: ignore[assignment]
        self._read_alarm.set(self._clock.now() + HEAD_TIMEOUT)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hand the bytes on; the first of a further head start the clock anew."""
        if not self._has_begun and not self.is_busy:
            self._has_begun = True
            self._read_alarm.set(self._clock.now() + HEAD_TIMEOUT)
        self._inner.data_received(data)

    def eof_received(self) -> None:
        """Hand the end on."""
        self._inner.eof_received()

    def pause_writing(self) -> None:
        """Note that the peer does not read."""
        self._write_alarm.set(self._clock.now() + WRITE_TIMEOUT)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Note that the peer reads again."""
        self._write_alarm.clear()
        self._inner.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go."""
        self._read_alarm.stop()
        self._write_alarm.stop()
        self._transport = None
        self._on_closed(self._inner)
        self._inner.connection_lost(exc)


class PeopleDoor:
    """One address, and the application that answers there; `open` and `close` once, `use` as often as it changes."""

    def __init__(self, clock: Clock, connections_max: int = CONNECTIONS_MAX) -> None:
        self._clock = clock
        self._connections_max = connections_max
        self._watched: dict[web.RequestHandler, _Watched] = {}  # In the order in which they came.
        self._ended = asyncio.Event()  # A request, or a connection, since somebody looked.
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._watched)

    @property
    def bound(self) -> str:
        """Where it really listens, when the port was 0."""
        assert self._server is not None
        where = self._server.sockets[0].getsockname()
        return f"{where[0]}:{where[1]}" if isinstance(where, tuple) else f"unix:{where}"

    async def open(
        self, app: web.Application, place: tuple[str, int] | socket.socket, tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen at host and port, with TLS or without, or on a bound Unix socket.

        A connection counts from its handshake on, which has the time of a head. Raises OSError, with nothing left open.
        """
        loop = asyncio.get_running_loop()
        serving: dict[str, Any] = {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": HEAD_TIMEOUT}
        await self.use(app)
        try:
            if isinstance(place, socket.socket):
                self._server = await loop.create_unix_server(self._accept, sock=place)
            else:
                self._server = await loop.create_server(self._accept, *place, reuse_address=True, **serving)
        except BaseException:
            if isinstance(place, socket.socket):
                place.close()
            await self.close()
            raise

    async def use(self, app: web.Application) -> web.AppRunner | None:
        """Have `app` answer from now on. Gives what ran before, if anything, for the caller to clean up."""
        app.middlewares.insert(0, self._watch)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=SHUTDOWN_S, **_SERVING)
        await runner.setup()
        before, self._runner = self._runner, runner
        return before

    async def close(self) -> None:
        """Stop listening, give what is under way `SHUTDOWN_S` seconds, and cut off the rest."""
        if self._server is not None:
            self._server.close()
        await self._finish()
        if self._runner is not None:
            await self._runner.cleanup()
        for watched in list(self._watched.values()):
            watched.abort()

    async def _finish(self) -> None:
        """Wait for the requests under way: once aiohttp closes, it reads no further byte of a body."""
        with suppress(TimeoutError):
            async with self._clock.timeout_at(self._clock.now() + SHUTDOWN_S):
                while any(watched.is_busy for watched in self._watched.values()):
                    self._ended.clear()
                    await self._ended.wait()
        for watched in self._watched.values():
            watched.cancel()

    def _accept(self) -> asyncio.BaseProtocol:
        if len(self._watched) >= self._connections_max and not self._make_room():
            return _Full()
        assert self._runner is not None
        assert self._runner.server is not None
        inner = _Server(self._runner.server, loop=asyncio.get_running_loop(), **_SERVING)
        self._watched[inner] = _Watched(inner, self._clock, self._closed)
        return self._watched[inner]

    def _make_room(self) -> bool:
        """Close the oldest connection that has no request under way: a probe gets in, whoever keeps the door full."""
        for inner, watched in self._watched.items():
            if not watched.is_busy:
                del self._watched[inner]
                watched.abort()
                return True
        return False

    def _closed(self, inner: web.RequestHandler) -> None:
        self._watched.pop(inner, None)
        self._ended.set()

    @web.middleware
    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        watched = self._watched.get(request.protocol)
        if watched is None:  # Closed to make room, a moment ago.
            return await handler(request)
        watched.begin()
        try:
            return await handler(request)
        finally:
            watched.end()
            self._ended.set()
