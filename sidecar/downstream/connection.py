"""Connection: HTTP/1.1 from the app, as a server.

A protocol of our own on httptools rather than aiohttp's `web.Server`: bench/RESULTS.md says what that saves, and
`web.Server` gives neither trailers nor time limits for a slow head. `reader.py` reads; this file answers in order,
keeps the time, and decides when the connection is over. What is malformed is answered, and the connection closed.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable

from sidecar.core.alarm import Alarm
from sidecar.core.body import BUFFER_MAX, Body
from sidecar.core.clock import Clock
from sidecar.core.errors import RequestTimeout, SidecarError
from sidecar.core.peer import Peer
from sidecar.core.tasks import Tasks
from sidecar.downstream.limits import DoorLimits
from sidecar.downstream.peer import peer_of
from sidecar.downstream.reader import RequestReader
from sidecar.downstream.request import Request

# Requests waiting behind another; BUFFER_MAX bytes of their bodies fill it, too. Full: nothing is read until one is
# answered.
PIPELINED_MAX = 32
READ_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero: closing sends RST, socket(7).
LINGER = 2.0  # Seconds in which the rest of what was refused is read and dropped, so that our answer arrives.

_BUFFER = memoryview(bytearray(READ_BYTES))  # One for all: each read is consumed before the next can start.


class AppConnection(asyncio.BufferedProtocol):
    """One connection of the app; its requests are answered one after the other, by one task."""

    __slots__ = (
        "_arrived", "_clock", "_current", "_drained", "_handle", "_is_held", "_is_refused", "_limits", "_loop",
        "_on_closed", "_read_alarm", "_reader", "_refusal", "_task", "_tasks", "_waiting", "_write_alarm", "is_closed",
        "is_draining", "peer", "transport", "tunnel_in",
    )  # fmt: skip

    def __init__(
        self,
        handle: Callable[["AppConnection", Request], Awaitable[None]],
        limits: DoorLimits,
        clock: Clock,
        tasks: Tasks,
        on_closed: Callable[["AppConnection"], None],
        refusal: SidecarError | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()  # Kept: asking for it costs a system call on Python 3.11.
        self._handle = handle
        self._limits = limits
        self._clock = clock
        self._tasks = tasks
        self._on_closed = on_closed
        self._refusal = refusal  # There is no room: this is the answer, whatever the request is.
        self._read_alarm = Alarm(clock, self._read_overdue)
        self._write_alarm = Alarm(clock, self.abort)
        self._reader = RequestReader(limits.head_max, self._hand_over, self._pause, self._resume_body)
        self._waiting: deque[Request] = deque()  # Read, not begun.
        self._current: Request | None = None  # Being answered.
        self._is_held = False  # Not reading, since enough requests wait.
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_refused = False  # What came was refused; nothing behind it is read.
        self.tunnel_in: Body | None = None  # After an upgrade: raw bytes from the app.
        self.is_closed = False
        self.is_draining = False  # Answer what has begun, take nothing new.
        self.transport: asyncio.Transport | None = None
        self.peer: Peer | None = None

    # The task: one request after the other.

    async def _serve(self) -> None:
        try:
            while not self.is_closed:
                if not self._waiting:
                    if self.is_draining and self._reader.request is None:
                        return
                    self._arrived = self._loop.create_future()
                    await self._arrived
                    continue
                self._current = request = self._waiting.popleft()
                await self._handle(self, request)
                self._current = None
                if not await self._may_go_on(request):
                    return
        finally:
            self._finish()

    async def _may_go_on(self, request: Request) -> bool:
        """Whether a further request may come on this connection; if so, go on reading."""
        if not request.body.is_complete or request.refusal is not None:
            await self._linger()
            return False
        if not request.may_keep_alive or self.tunnel_in is not None:
            return False
        if self._is_held or request.body.is_paused:  # The latter came whole, and nobody read it.
            self._is_held = False
            self._resume()
        if not self._waiting and self._reader.request is None and not self._is_refused:
            self._read_alarm.set(self._clock.now() + self._limits.keepalive_timeout)
        return True

    async def _linger(self) -> None:
        """Half-close, and drop what still comes for a moment: closing at once would reset our answer away."""
        self._is_refused = True
        self._reader.give_up()
        self._read_alarm.clear()
        if self.transport is not None and not self.transport.is_closing():
            self.write_eof()
            self.transport.resume_reading()
        await self._clock.sleep(LINGER)  # The app's own end cancels this.

    def _finish(self) -> None:
        """Close; an app that does not take the rest of its answer has `write_timeout` seconds for it."""
        if self.transport is not None and not self.is_closed:
            if self.transport.get_write_buffer_size():
                self._write_alarm.set(self._clock.now() + self._limits.write_timeout)
            self.transport.close()

    # What the exchange and the listener use.

    def write(self, data: bytes) -> None:
        """Write without waiting."""
        if self.transport is not None and not self.is_closed:
            self.transport.write(data)

    @property
    def is_write_paused(self) -> bool:
        """Whether the app does not read as fast as we write."""
        return self._drained is not None

    async def drain(self) -> None:
        """Wait while the app does not read; it has `write_timeout` seconds for that, then it is cut off."""
        if self._drained is not None:
            self._write_alarm.set(self._clock.now() + self._limits.write_timeout)
            await self._drained
            self._write_alarm.clear()

    def write_eof(self) -> None:
        """Say that nothing more will be written: the end of a tunnel's one direction."""
        if self.transport is not None and not self.is_closed and self.transport.can_write_eof():
            self.transport.write_eof()

    def abort(self) -> None:
        """Cut the app off: the only honest end for an answer that is broken off after its head.

        With a reset, since to an app which waits for the end of the connection any other end would look whole.
        """
        if self.transport is not None and not self.is_closed:
            sock = self.transport.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def go_away(self) -> None:
        """Answer what has begun, then close; an idle connection closes now."""
        self.is_draining = True
        if not self.is_busy:
            self._finish()

    def cancel(self) -> None:
        """Cancel the call under way: the drain's time is over."""
        if self._task is not None:
            self._task.cancel()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being read or answered."""
        return self._current is not None or self._reader.request is not None or bool(self._waiting)

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection's task."""
        self.transport = transport  # type: ignore[assignment]
        self.peer = peer_of(transport)
        self._read_alarm.set(self._clock.now() + self._limits.keepalive_timeout)
        self._task = self._tasks.spawn(self._serve(), "app connection")
        if self._refusal is not None:
            self._refuse(self._refusal)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Lend the shared buffer for the next read."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Read on."""
        if self.tunnel_in is not None:
            self.tunnel_in.feed(bytes(_BUFFER[:nbytes]))
            return
        if self._is_refused:
            return  # Nothing is read behind what was refused.
        try:
            rest = self._reader.feed(_BUFFER[:nbytes])
        except SidecarError as error:
            self._refuse(error)
            return
        if rest is not None:
            self.tunnel_in = Body(None, self._pause, self._resume)
            if rest:
                self.tunnel_in.feed(rest)
        self._watch()
        if len(self._waiting) > 1 and not self._is_held and self._has_enough():
            self._is_held = True
            self._pause()

    def eof_received(self) -> bool:
        """Take the app's end of stream as hanging up, as nginx and Envoy do: nobody would read the answer."""
        if self.tunnel_in is not None:
            self.tunnel_in.finish()
            return True
        return False

    def pause_writing(self) -> None:
        """Note that the loop's write buffer is full."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """Note that the loop's write buffer has room again."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Cancel the call under way: the app hung up."""
        self.is_closed = True
        self._read_alarm.stop()
        self._write_alarm.stop()
        self.resume_writing()
        if self.tunnel_in is not None:
            self.tunnel_in.finish()
        if self._task is not None:
            self._task.cancel()
        self._on_closed(self)

    def _read_overdue(self) -> None:
        state, limits = self._reader.state, self._limits
        if state == "head":
            self._refuse(RequestTimeout(f"the request's head took longer than head_timeout = {limits.head_timeout:g}s"))
        elif state == "body":
            self._refuse(RequestTimeout(f"the request's body stood still for body_timeout = {limits.body_timeout:g}s"))
        elif not self.is_busy:
            self._finish()

    # What they share.

    def _hand_over(self, request: Request) -> None:
        self._waiting.append(request)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _refuse(self, error: SidecarError) -> None:
        """Answer `error` in its turn, and read nothing more."""
        self._is_refused = True
        self._read_alarm.clear()
        is_handed_over = self._reader.state == "body"
        request = self._reader.give_up()
        request.may_keep_alive = False
        if is_handed_over:
            request.body.fail(error)  # Whoever reads it hears of it, and the connection ends after the answer.
        else:
            request.refusal = error
            self._hand_over(request)

    def _watch(self) -> None:
        """Set the time limit of what is being read now."""
        reader = self._reader
        if reader.state == "head":
            if reader.head_begun:
                self._read_alarm.set(self._clock.now() + self._limits.head_timeout)
        elif reader.state == "body" and reader.request is not None and not reader.request.body.is_paused:
            self._read_alarm.set(self._clock.now() + self._limits.body_timeout)
        else:
            self._read_alarm.clear()
        reader.head_begun = False

    def _has_enough(self) -> bool:
        """Whether as much waits behind another as may: a request by its number, and a body by its bytes."""
        waiting = self._waiting
        return len(waiting) >= PIPELINED_MAX or sum([one.body.received_bytes for one in waiting]) > BUFFER_MAX

    def _pause(self) -> None:
        if self.transport is not None and not self.is_closed:
            self.transport.pause_reading()

    def _resume(self) -> None:
        incoming = self._reader.request
        is_full = self._is_held or (incoming is not None and incoming.body.is_paused)
        if self.transport is not None and not self.is_closed and not is_full:
            self.transport.resume_reading()

    def _resume_body(self) -> None:
        self._resume()
        self._watch()
