"""Connection: HTTP/1.1 towards the vendor, as a client, one exchange at a time.

`answer.py` reads what comes; this file sends, keeps the time, and decides when the connection is over. Nothing of an
answer whose head is malformed reaches the app; after any irregularity the connection is closed, never reused.
"""

import asyncio
from collections.abc import Callable

from sidecar.core.alarm import Alarm
from sidecar.core.body import Body
from sidecar.core.call import Reply, Tunnel
from sidecar.core.clock import Clock
from sidecar.core.errors import SidecarError, UpstreamReset
from sidecar.core.tasks import Tasks
from sidecar.upstream.answer import AnswerReader
from sidecar.upstream.limits import SENDING, Limits

CONTINUE_WAIT = 1.0  # Seconds to wait for 100 Continue before sending the body anyway (RFC 9110 section 10.1.1).
READ_BYTES = 64 * 1024

# All connections read into one buffer, since each read is consumed before the next can start. With a buffer per read
# uvloop's TLS allocates 256 KiB each time, an mmap and a munmap per answer.
_BUFFER = memoryview(bytearray(READ_BYTES))


class Connection(asyncio.BufferedProtocol):
    """One connection to a vendor. The pool lends it out; `begin` starts an exchange, `end` finishes it."""

    __slots__ = (
        "_alarm", "_answer", "_clock", "_drained", "_exchanges", "_is_sent", "_limits", "_on_closed", "_on_first_use",
        "_pump", "_tasks", "idle_until", "is_closed", "transport", "turn",
    )  # fmt: skip

    def __init__(
        self,
        clock: Clock,
        tasks: Tasks,
        on_closed: Callable[["Connection"], None],
        on_first_use: Callable[["Connection"], None],
        notable: frozenset[bytes] = frozenset(),
    ) -> None:
        self._clock = clock
        self._tasks = tasks
        self._on_closed = on_closed
        self._on_first_use = on_first_use  # Called after the first answer: TLS session tickets are here by then.
        self._alarm = Alarm(clock, self._overdue)
        self._answer = AnswerReader(self._pause_reading, self._resume_reading, notable)
        self._limits: Limits | None = None  # None between exchanges.
        self._drained: asyncio.Future[None] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._is_sent = False  # The whole request is written.
        self._exchanges = 0
        self.transport: asyncio.Transport | None = None
        self.is_closed = False
        self.idle_until, self.turn = 0.0, 0  # Set by the pool: monotonic; its turn when this was dialled.

    @property
    def received_bytes(self) -> int:
        """What the vendor has sent in this exchange."""
        return self._answer.received_bytes

    @property
    def keepalive_hint(self) -> float | None:
        """How many seconds the vendor says it keeps an idle connection."""
        return self._answer.keepalive_hint

    # One exchange.

    def begin(
        self,
        head: bytes,
        body: Body | None,
        limits: Limits,
        *,
        is_head_request: bool = False,
        is_chunked: bool = False,
        waits_for_go_ahead: bool = False,
        is_upgrade_asked: bool = False,
    ) -> "asyncio.Future[Reply]":
        """Send a request, and give the future of its answer's head.

        `head` is written at once and may hold the body, too; `body` is what still has to be streamed. The future
        raises UpstreamReset, UpstreamProtocol, what `limits.say` gives when the time is used up, and what the body
        fails with.
        """
        assert self.transport is not None
        future = self._answer.begin(is_head_request=is_head_request, is_upgrade_asked=is_upgrade_asked)
        self._limits = limits
        self._exchanges += 1
        if self.is_closed:
            # It went before it was used: without this the answer would be waited for until the deadline.
            self._answer.fail(_broken_off(None, has_begun=False))
            return future
        self.transport.write(head)
        if body is None:
            self._sent()
        else:
            if waits_for_go_ahead:
                self._answer.go_ahead = asyncio.get_running_loop().create_future()
            self._alarm.set(limits.due_at)
            self._pump = self._tasks.spawn(self._send_body(body, is_chunked=is_chunked), "request body")
        return future

    def end(self) -> bool:
        """Finish the exchange, and say whether the connection may carry another; if not it is closed."""
        answer = self._answer
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        self._alarm.clear()
        may_go_on = answer.is_done and answer.is_keepable and self._is_sent and not self.is_closed
        if answer.body is not None and answer.body.is_paused:
            may_go_on = False  # Nobody read the body to its end, so nobody would resume the reading.
        if self._exchanges == 1 and answer.is_done:
            self._on_first_use(self)
        answer.end()
        self._limits = None
        self._is_sent = False
        if not may_go_on:
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close without ceremony: nothing more is wanted from this vendor here."""
        self._alarm.stop()
        if self.transport is not None and not self.is_closed:
            self.is_closed = True  # Now, not when the loop tells of it: nobody may borrow it in between.
            self.transport.abort()

    # Sending.

    def _sent(self) -> None:
        self._is_sent = True
        limits = self._limits
        if limits is None or self._answer.body is not None:
            return
        due_at = limits.due_at
        if limits.first_byte_timeout is not None:
            due_at = min(due_at, self._clock.now() + limits.first_byte_timeout)
        self._alarm.set(due_at)

    async def _send_body(self, body: Body, *, is_chunked: bool) -> None:
        try:
            if self._answer.go_ahead is not None and not await self._may_go_ahead(self._answer.go_ahead):
                return
            while piece := await body.read():
                await self.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            if is_chunked:
                trailers = b"".join([b"%b: %b\r\n" % field for field in body.trailers])
                await self.write(b"0\r\n%b\r\n" % trailers)
        except SidecarError as error:  # The app's side failed (too slow, malformed, too large), or the vendor's.
            self._fail(error)
        else:
            self._pump = None
            self._sent()

    async def _may_go_ahead(self, go_ahead: "asyncio.Future[None]") -> bool:
        """Wait for 100 Continue; a final answer instead means that the body is not wanted."""
        try:
            async with self._clock.timeout_at(self._clock.now() + CONTINUE_WAIT):
                await go_ahead
        except TimeoutError:
            return True
        return self._answer.body is None

    async def write(self, data: bytes) -> None:
        """Write, and wait while the vendor does not read. Raises UpstreamReset when the connection is gone."""
        if self.is_closed or self.transport is None:
            raise UpstreamReset("the vendor closed the connection while the request was being sent")
        self.transport.write(data)
        drained = self._drained
        if drained is not None:
            await drained

    def pause_writing(self) -> None:
        """Note that the loop's write buffer is full."""
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Note that the loop's write buffer has room again."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # Receiving.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; TLS is done by now."""
        self.transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Lend the shared buffer for the next read."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Read on."""
        answer = self._answer
        limits = self._limits
        if limits is None:
            # Between exchanges a vendor has nothing to say: a late byte of the last answer, or a 408 on closing.
            self.close()
            return
        if answer.is_switched:
            assert answer.body is not None
            answer.body.feed(bytes(_BUFFER[:nbytes]))
            return
        try:
            rest = answer.feed(_BUFFER[:nbytes])
        except SidecarError as error:
            self._fail(error)
            return
        if answer.is_done:
            self._alarm.clear()
            if rest is not None:
                self._switch(rest)
        elif answer.body is None:
            if not limits.first_byte_at:
                limits.first_byte_at = self._clock.now()
            if self._is_sent:
                self._alarm.set(limits.due_at)  # The first byte is here, so its limit is over.
        elif not answer.body.is_paused:
            self._alarm.set(self._clock.now() + limits.idle_timeout)

    def eof_received(self) -> bool:
        """Note the end of the stream, and let the connection close."""
        if self._answer.is_switched and self._answer.body is not None:
            self._answer.body.finish()
        self._answer.end_of_stream()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange, if there is one, and the pool."""
        self.is_closed = True
        self._alarm.stop()
        self.resume_writing()
        answer = self._answer
        if answer.is_switched and answer.body is not None:
            answer.body.finish()
        elif self._limits is not None and not answer.is_done:
            answer.fail(_broken_off(exc, has_begun=answer.received_bytes > 0))
        self._on_closed(self)

    # What they share.

    def _fail(self, error: SidecarError) -> None:
        """End the exchange with `error`, and the connection with it."""
        self._answer.fail(error)
        self.close()

    def _overdue(self) -> None:
        limits = self._limits
        if limits is None:
            return
        if self._answer.body is not None:
            step = "the next byte of the answer"
        elif not self._is_sent:
            step = SENDING
        elif self._answer.received_bytes:
            step = "receiving the answer's head"
        else:
            step = "waiting for the answer's first byte"
        self._fail(limits.say(step))

    def _switch(self, rest: bytes) -> None:
        """Hand the tunnel over: after 101 the bytes are not HTTP any more."""
        answer = self._answer
        assert answer.body is not None
        assert answer.head is not None
        if rest:
            answer.body.feed(rest)
        reply = answer.switching_reply()
        reply.tunnel = Tunnel(answer.body, self.write, self._write_eof)
        if not answer.head.done():
            answer.head.set_result(reply)

    def _write_eof(self) -> None:
        if self.transport is not None and not self.is_closed and self.transport.can_write_eof():
            self.transport.write_eof()

    def _pause_reading(self) -> None:
        if self.transport is not None and not self.is_closed:
            self.transport.pause_reading()
            self._alarm.clear()  # It is the app that is slow now.

    def _resume_reading(self) -> None:
        if self.transport is not None and not self.is_closed:
            self.transport.resume_reading()
            if self._limits is not None and not self._answer.is_done:
                self._alarm.set(self._clock.now() + self._limits.idle_timeout)


def _broken_off(exc: Exception | None, *, has_begun: bool) -> UpstreamReset:
    where = "in the middle of its answer" if has_begun else "before it answered"
    why = f": {exc.strerror or exc}" if isinstance(exc, OSError) else ""
    return UpstreamReset(
        f"the vendor closed the connection {where}{why}",
        proxy_error="http_response_incomplete" if has_begun else None,
    )
