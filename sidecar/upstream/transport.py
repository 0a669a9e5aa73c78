"""Transport: the innermost handler; sends one attempt to the vendor, and gives its answer."""

from collections.abc import Awaitable, Callable
from functools import partial

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import DeadlineExceeded, UpstreamReset
from sidecar.core.headers import find
from sidecar.core.ids import Ids
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.upstream.connection import Connection
from sidecar.upstream.limits import SENDING, Limits
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.pool import Pool

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1; TRACE does not get here.
START_MAX = 2048  # Bytes of a failed answer's body that are kept for the log. More: not kept.
_FAILURE_FROM = 500
_BODY_EXPECTED = frozenset({"POST", "PUT", "PATCH"})  # A length is sent even for no body (RFC 9110 section 8.6).


class Timeouts:
    """The time limits of one route, in seconds; None means what is left of the next larger one."""

    __slots__ = ("attempt", "first_byte", "idle")

    def __init__(self, attempt: float | None, first_byte: float | None, idle: float) -> None:
        self.attempt = attempt
        self.first_byte = first_byte
        self.idle = idle


class Lease:
    """What a call holds of the pool; given back when the call ends, and once only."""

    __slots__ = ("_pool", "connection")

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool = pool
        self.connection: Connection | None = connection

    def end(self, outcome: Outcome) -> None:  # noqa: ARG002 - the signature of an ending
        """Give the connection back."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self._pool.give_back(connection)


class Transport:
    """Sends calls to one vendor; one per route, over the service's pool."""

    def __init__(
        self,
        origin: BaseUrl,
        pool: Pool,
        timeouts: Timeouts,
        clock: Clock,
        ids: Ids,
        count_attempt: Callable[[str, float], None],
        recent: Recent | None = None,
        hear: Callable[[Call, Reply], None] | None = None,
    ) -> None:
        self._pool = pool
        self._timeouts = timeouts
        self._clock = clock
        self._ids = ids
        self._count_attempt = count_attempt
        self._recent = recent  # Of the answered attempts; None when no policy asks.
        self._hear = hear  # Takes answers that say that something of the API ends; None: nobody listens.
        self._base_path = origin.base_path
        self._after_target = b" HTTP/1.1\r\nHost: " + origin.authority + b"\r\n"

    async def __call__(self, call: Call) -> Reply:
        """Send one attempt. Raises the errors of the contract's table for everything that goes wrong."""
        record = AttemptRecord()
        call.attempts.append(record)
        record.started_at = started_at = self._clock.now()
        timeouts = self._timeouts
        attempt_at = call.deadline_at
        if timeouts.attempt is not None:
            attempt_at = min(attempt_at, started_at + timeouts.attempt)
        limits = Limits(attempt_at, timeouts.first_byte, timeouts.idle, partial(self._say, call, record, attempt_at))
        result = "failure"
        connection: Connection | None = None
        try:
            call.step = "connecting"
            connection = self._pool.take_idle()
            if connection is not None:
                record.is_reused = True
            else:
                connection = await self._pool.take(record, attempt_at)
            lease = Lease(self._pool, connection)
            call.on_end(lease.end)
            try:
                reply = await self._send(call, record, connection, limits)
            except UpstreamReset:
                if not self._may_replace(call, record, connection):
                    raise
                # The vendor closed an idle connection while we wrote to it. It did not see the request.
                lease.end(Outcome.FAILURE)
                record.is_reused = False
                lease.connection = connection = await self._pool.take(record, attempt_at)
                reply = await self._send(call, record, connection, limits)
            result = f"{reply.status // 100}xx"
            record.status = reply.status
            record.response_head = reply.headers
            if reply.has_notice and self._hear is not None:
                self._hear(call, reply)
            if reply.status >= _FAILURE_FROM:
                self._keep_start(record, reply)
        except BaseException as error:
            result = getattr(error, "code", "cancelled")
            record.error = str(error)
            if not record.request_head and isinstance(error, DeadlineExceeded):
                error.is_unsent = True
            raise
        else:
            return reply
        finally:
            now = self._clock.now()
            record.total_s = now - started_at
            if connection is not None and connection.received_bytes:
                # As a rule the first read brings the whole head, and nobody had to look at the clock for it.
                record.first_byte_s = (limits.first_byte_at or now) - started_at
            if record.status and self._recent is not None:
                self._recent.add(record.total_s)
            call.upstream_s += record.total_s
            call.waited_slot_s += record.waited_s
            self._count_attempt(result, record.total_s)

    @staticmethod
    def _keep_start(record: AttemptRecord, reply: Reply) -> None:
        """Keep the start of a failed answer's body for the log; not of a compressed one, which nobody could redact."""
        if reply.body.length != 0 and find(reply.headers, b"content-encoding") is None:
            record.response_start = reply.body.keep_start(START_MAX)

    def _may_replace(self, call: Call, record: AttemptRecord, connection: Connection) -> bool:
        """Whether a dead connection may be replaced by a fresh one, once, without asking the retry policy."""
        if not record.is_reused or connection.received_bytes:
            return False
        return call.method in SAFE_METHODS and (call.body is NO_BODY or call.body.is_untouched)

    def _send(self, call: Call, record: AttemptRecord, connection: Connection, limits: Limits) -> Awaitable[Reply]:
        call.step = SENDING
        framing, content, streamed = self._frame(call)
        has_go_ahead = streamed is not None and call.expects_continue
        parts = [call.method.encode(), b" ", self._base_path, call.target, self._after_target]
        parts += [b"%b: %b\r\n" % field for field in call.headers]
        parts.append(
            b"X-Request-ID: %b\r\ntraceparent: 00-%b-%b-%b\r\n"
            % (
                call.request_id.encode(),
                call.trace_id.encode(),
                self._ids.take(16).encode(),
                call.trace_flags.encode(),
            )
        )
        if call.upgrade is not None:
            parts.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % call.upgrade)
        elif call.wants_trailers:
            parts.append(b"Connection: TE\r\nTE: trailers\r\n")
        if has_go_ahead:
            parts.append(b"Expect: 100-continue\r\n")
        parts.append(framing)
        record.request_head = head = b"".join(parts)
        return connection.begin(
            head + content if content else head,
            streamed,
            limits,
            is_head_request=call.method == "HEAD",
            is_chunked=streamed is not None and streamed.length is None,
            waits_for_go_ahead=has_go_ahead,
            is_upgrade_asked=call.upgrade is not None,
        )

    def _frame(self, call: Call) -> tuple[bytes, bytes, Body | None]:
        """Give the framing fields and the head's end, the body if all of it is in hand, or the body to stream."""
        body = call.body
        if body is NO_BODY:
            return (b"Content-Length: 0\r\n\r\n" if call.method in _BODY_EXPECTED else b"\r\n"), b"", None
        content = None if body.trailers else body.take_all()
        if content is not None:
            return b"Content-Length: %d\r\n\r\n" % len(content), content, None
        if body.length is None:
            return b"Transfer-Encoding: chunked\r\n\r\n", b"", body
        return b"Content-Length: %d\r\n\r\n" % body.length, b"", body

    def _say(self, call: Call, record: AttemptRecord, attempt_at: float, step: str) -> DeadlineExceeded:
        """Turn an overdue step into the error that names it and the limit that ended it."""
        now = self._clock.now()
        timeouts = self._timeouts
        call.step = step
        if record.status:  # A body may outlast the call's deadline, so that is not what ended it.
            return DeadlineExceeded(
                f"the vendor sent nothing for idle_timeout = {timeouts.idle:g} s; the step was: {step}",
                proxy_error="connection_read_timeout",
            )
        is_ours = step == SENDING and call.body.is_awaited  # It is the app that is slow.
        if now >= call.deadline_at:
            return DeadlineExceeded(f"the call's time is used up; the step was: {step}", is_ours=is_ours)
        if now >= attempt_at:
            sentence = f"attempt_timeout = {timeouts.attempt:g} s passed; the step was: {step}"
            return DeadlineExceeded(sentence, is_ours=is_ours)
        return DeadlineExceeded(f"first_byte_timeout = {timeouts.first_byte:g} s passed; the step was: {step}")
