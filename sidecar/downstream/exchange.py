"""Exchange: one request of the app from its head to the last byte of its answer.

The one place that ends a call, and the one place where exceptions become HTTP.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial

from sidecar.auth.app_token import AppToken
from sidecar.core.body import Body
from sidecar.core.call import Call, Handler, Reply, Tunnel
from sidecar.core.clock import Clock
from sidecar.core.errors import Draining, InternalError, SidecarError, UnknownService
from sidecar.core.ids import Ids
from sidecar.core.outcome import Outcome
from sidecar.core.tasks import Tasks
from sidecar.downstream import respond
from sidecar.downstream.connection import AppConnection
from sidecar.downstream.fields import read_fields, read_ids
from sidecar.downstream.request import Request
from sidecar.downstream.router import Door, Router
from sidecar.layers.observe import Observer

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TUNNEL_LINGER = 10.0  # Seconds that one side of a tunnel may go on after the other has ended; then it is cut off.
_NO_BODY_STATUSES = frozenset({204, 304})
_FAILURE_FROM = 500
_CLOSE = b"Connection: close\r\n"
_KEEP = b"Connection: keep-alive\r\n"


class Exchange:
    """Answers requests with the services of the current generation, which `router` and `app_token` are swapped for."""

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        tasks: Tasks,
        door_observer: Observer,
        fault: Callable[..., None],
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._tasks = tasks
        self._door_observer = door_observer  # For what is of no service.
        self._fault = fault  # Writes a line about a fault of ours.
        self.router = Router({}, frozenset())
        self.app_token: AppToken | None = None
        self.own: Mapping[bytes, Handler] = {}  # The sidecar's own resources, by the start of their paths.
        self.is_draining = False

    async def run(self, door: Door, connection: AppConnection, request: Request) -> None:
        """Answer one request."""
        call = Call(door.service or "", request.method, b"", request.headers, request.body)
        call.started_at = self._clock.now()
        call.peer = connection.peer
        outcome = Outcome.CANCELLED
        try:
            reply, outcome = await self._reply(door, connection, request, call)
            outcome = await self._send(connection, request, call, reply, outcome)
        except asyncio.CancelledError:
            outcome = Outcome.CANCELLED
            if not connection.is_closed:
                call.error_code = Draining.code  # The app is still there: it is our time that is over.
                call.error_detail = "cut off at the end of the drain"
            raise
        finally:
            if not call.is_observed:
                service = self.router.named(call.service)
                (self._door_observer if service is None else service.observer).watch(call)
            call.end(outcome)

    async def _reply(
        self, door: Door, connection: AppConnection, request: Request, call: Call
    ) -> tuple[Reply, Outcome]:
        try:
            read_ids(call, request, self._ids)
            handle = self._admit(door, connection, request, call)
            reply = await handle(call)
        except SidecarError as error:
            return self._refuse(call, error), error.outcome
        except Exception as error:  # noqa: BLE001 - a fault of ours is told in the log, and the app gets an answer
            self._fault("internal", error, request_id=call.request_id)
            broken = InternalError("the sidecar failed at this call; its log tells where, by the request id")
            return self._refuse(call, broken), Outcome.FAILURE
        return reply, Outcome.FAILURE if reply.status >= _FAILURE_FROM else Outcome.SUCCESS

    def _refuse(self, call: Call, error: SidecarError) -> Reply:
        call.error_code = error.code
        call.error_detail = error.detail
        call.service = call.service or error.service
        return respond.problem(call, error)

    def _admit(self, door: Door, connection: AppConnection, request: Request, call: Call) -> Handler:
        """Pass the door: the request is well formed, may come in, and has a service; or is for one of our own."""
        if request.refusal is not None:
            raise request.refusal
        if self.app_token is not None:
            self.app_token.check(request.first(b"sidecar-token"))
        service, call.target, call.address = self.router.find(request, door)
        if service is None:
            handle = self._find_own(call.target)
        else:
            call.service = service.name
            handle = service.handle
        if self.is_draining:
            raise Draining("this pod is shutting down", retry_after=1.0)
        read_fields(call, request)
        if call.expects_continue and not call.body.is_complete:
            call.body.on_first_read = partial(connection.write, _CONTINUE)
        return handle

    def _find_own(self, target: bytes) -> Handler:
        for start, handle in self.own.items():
            if target.startswith(start):
                return handle
        raise UnknownService("there is nothing at this path; everything under /_sidecar/ is the sidecar's own")

    async def _send(
        self, connection: AppConnection, request: Request, call: Call, reply: Reply, outcome: Outcome
    ) -> Outcome:
        call.status = reply.status
        call.source = reply.source
        if reply.tunnel is not None:
            await self._tunnel(connection, call, reply, reply.tunnel)
            return Outcome.SUCCESS
        if request.method == "HEAD" or reply.status in _NO_BODY_STATUSES:
            connection.write(respond.head(call, reply, self._persistence(connection, request) + b"\r\n"))
            if connection.is_write_paused:
                await connection.drain()
            return outcome
        body = reply.body
        content = body.take_all()
        if content is not None and not body.trailers:
            length = b"Content-Length: %d\r\n" % len(content) if body.length is None else b""
            head = respond.head(call, reply, length + self._persistence(connection, request) + b"\r\n")
            connection.write(head + content)
            call.response_bytes = len(content)
            if connection.is_write_paused:
                await connection.drain()
            return outcome
        return await self._stream(connection, request, call, reply, content, outcome)

    async def _stream(
        self,
        connection: AppConnection,
        request: Request,
        call: Call,
        reply: Reply,
        content: bytes | None,
        outcome: Outcome,
    ) -> Outcome:
        body = reply.body
        is_chunked = body.length is None and not request.is_http_1_0
        if body.length is None and request.is_http_1_0:
            request.may_keep_alive = False  # Only the end of the connection delimits it.
        framing = b"Transfer-Encoding: chunked\r\n" if is_chunked else b""
        connection.write(respond.head(call, reply, framing + self._persistence(connection, request) + b"\r\n"))
        call.step = "streaming the answer"
        try:
            piece = content or await body.read()
            while piece:
                connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                call.response_bytes += len(piece)
                if connection.is_write_paused:
                    await connection.drain()
                piece = await body.read()
        except SidecarError as error:
            # The head is out, so the only honest answer is one that visibly breaks off.
            call.error_code = error.code
            call.error_detail = error.detail
            request.may_keep_alive = False
            if not is_chunked and body.length is None:
                connection.abort()
            return error.outcome
        if is_chunked:
            connection.write(b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in body.trailers]))
        return outcome

    def _persistence(self, connection: AppConnection, request: Request) -> bytes:
        """Decide whether the connection stays, and give the field that says so."""
        if not request.may_keep_alive or connection.is_draining or not request.body.is_complete:
            request.may_keep_alive = False
            return _CLOSE
        return _KEEP if request.is_http_1_0 else b""

    async def _tunnel(self, connection: AppConnection, call: Call, reply: Reply, tunnel: Tunnel) -> None:
        """Carry raw bytes both ways until both directions ended."""
        connection.write(respond.head(call, reply, b"\r\n"))
        call.step = "the tunnel"
        incoming = connection.tunnel_in
        assert incoming is not None
        upwards = self._tasks.spawn(_carry_up(incoming, tunnel), "tunnel")
        upwards.add_done_callback(
            lambda _: self._clock.call_at(self._clock.now() + TUNNEL_LINGER, tunnel.incoming.finish)
        )
        try:
            try:
                while piece := await tunnel.incoming.read():
                    connection.write(piece)
                    call.response_bytes += len(piece)
                    if connection.is_write_paused:
                        await connection.drain()
            finally:
                connection.write_eof()
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout_at(self._clock.now() + TUNNEL_LINGER):
                    await upwards
        finally:
            upwards.cancel()


async def _carry_up(incoming: Body, tunnel: Tunnel) -> None:
    try:
        while piece := await incoming.read():
            await tunnel.write(piece)
    except SidecarError:
        return  # The vendor is gone: its own direction ends, and with it the tunnel.
    finally:
        tunnel.write_eof()
