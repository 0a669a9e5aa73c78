"""Call: one request of the app, until its last byte; and Reply: what comes back for it."""

from collections.abc import Awaitable, Callable

from sidecar.core.advice import Advice
from sidecar.core.body import Body, Headers
from sidecar.core.outcome import Outcome
from sidecar.core.peer import Peer

Ending = Callable[[Outcome], None]


class AttemptRecord:
    """What one attempt did, for the log line of a failed call. Times are seconds; 0.0 where a step did not happen."""

    __slots__ = (
        "connect_s", "dns_s", "error", "first_byte_s", "is_reused", "request_head", "response_head",
        "response_start", "started_at", "status", "tls_s", "total_s", "waited_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started_at = 0.0  # Monotonic; after every wait for a permit or a slot.
        self.is_reused = False
        self.waited_s = 0.0  # In line for a connection, while the pool had none.
        self.dns_s = 0.0
        self.connect_s = 0.0
        self.tls_s = 0.0
        self.first_byte_s = 0.0  # Of the vendor's answer, from the attempt's start.
        self.total_s = 0.0  # To the answer's whole head, or to the failure.
        self.status = 0
        self.error = ""
        self.request_head = b""  # As it was sent; redacted when written.
        self.response_head: Headers | None = None
        self.response_start: bytes | bytearray = b""  # Grows while the body comes.


class BatchNote:
    """What became of a call with many items, or of one that was answered from a call for many; for the log line."""

    __slots__ = ("failed", "items", "sent_again", "why")

    def __init__(self) -> None:
        self.items = 0  # In the request that was sent.
        self.sent_again = 0  # Each time counts.
        self.failed = 0  # For good.
        self.why = ""  # Why no more was done.


class Call:
    """One request of the app.

    Whoever takes something for it (a connection, a slot, a probe) registers the giving back with `on_end` on the next
    line; `downstream/exchange.py` calls `end` once, and the endings run in reverse.
    """

    __slots__ = (
        "_endings", "address", "app", "app_credentials", "attempts", "attempts_max", "backoff_s", "batch", "body",
        "credential", "credential_version", "deadline_at", "error_code", "error_detail", "expects_continue",
        "has_user_agent", "headers", "idempotency_key", "is_observed", "is_read", "job", "method", "not_retried",
        "outcome", "path_template", "peer", "prefers_async", "queue_key", "request_id", "response_bytes", "route",
        "service", "source", "started_at", "status", "step", "target", "timeout_asked", "trace_flags", "trace_id",
        "upgrade", "upstream_s", "waited_rate_s", "waited_slot_s", "wants_trailers",
    )  # fmt: skip

    def __init__(self, service: str, method: str, target: bytes, headers: Headers, body: Body) -> None:
        self.service = service
        self.route = ""  # Name of the matched route; "" is the service itself.
        self.path_template = ""
        self.method = method
        self.target = target  # Path and query under the base URL, byte for byte as the app sent them.
        self.headers = headers  # Clean: nothing of the connection's, nothing of the sidecar's.
        self.body = body
        self.address = b""  # The URL prefix by which the app called this service; rewriting leads back to it.
        self.app_credentials: Headers = []  # What the app itself sent as Authorization and Cookie.
        self.request_id = ""
        self.trace_id = ""
        self.trace_flags = "00"
        self.app = ""
        self.peer: Peer | None = None  # Who it is for the kernel, where the app came by a Unix socket.
        self.idempotency_key: bytes | None = None
        self.job = ""  # The id of the job whose turn this is; "" for a call that the app waits for.
        self.prefers_async = False  # Prefer: respond-async. A job will do.
        self.queue_key = ""  # Sidecar-Queue-Key: jobs with the same one keep their order.
        self.timeout_asked: float | None = None  # Sidecar-Timeout; it can only shorten.
        self.attempts_max: int | None = None  # Sidecar-Attempts-Max; it can only lower.
        self.expects_continue = False
        self.has_user_agent = False
        self.is_read = False  # It only reads, whatever its method says, so it may be sent again.
        self.is_observed = False  # Counted and logged when it ends.
        self.wants_trailers = False
        self.upgrade: bytes | None = None  # "websocket" when the app asks to switch.
        self.started_at = 0.0  # Monotonic.
        self.deadline_at = float("inf")
        self.step = "routing"  # What the call is doing now; an exceeded deadline names it.
        self.attempts: list[AttemptRecord] = []
        self.upstream_s = 0.0
        self.waited_rate_s = 0.0  # For permits.
        self.waited_slot_s = 0.0  # For slots of the bulkhead, and for connections.
        self.backoff_s = 0.0  # Between attempts.
        self.batch: BatchNote | None = None
        self.not_retried = ""  # Why there was no further attempt after one that failed.
        self.credential = ""  # What it was sent with last, for the audit log: a name, never a value.
        self.credential_version = ""
        self.outcome: Outcome | None = None
        self.error_code = ""
        self.error_detail = ""  # The sentence for people; redacted when written.
        self.status = 0  # Of the answer that the app got; 0 if it got none.
        self.source = ""
        self.response_bytes = 0
        self._endings: list[Ending] = []

    # Attempts. Each is a call of its own below `retry`, so that what it took is given back before the next begins.

    def attempt(self) -> "Call":
        """Give the child for one attempt; the caller ends it with `keep` or `discard`.

        The list of headers is shared: whoever changes it makes a new one.
        """
        child = Call(self.service, self.method, self.target, self.headers, self.body)
        child.route = self.route
        child.path_template = self.path_template
        child.address = self.address
        child.request_id = self.request_id
        child.trace_id = self.trace_id
        child.trace_flags = self.trace_flags
        child.app = self.app
        child.peer = self.peer
        child.app_credentials = self.app_credentials
        child.idempotency_key = self.idempotency_key
        child.expects_continue = self.expects_continue
        child.has_user_agent = self.has_user_agent
        child.wants_trailers = self.wants_trailers
        child.upgrade = self.upgrade
        child.started_at = self.started_at
        child.deadline_at = self.deadline_at
        child.timeout_asked = self.timeout_asked
        child.attempts_max = self.attempts_max
        child.attempts = self.attempts
        child.is_read = self.is_read
        return child

    def keep(self, attempt: "Call") -> None:
        """Take over an attempt whose answer goes to the app: it ends with this call."""
        self._add(attempt)
        self.on_end(attempt.end)

    def discard(self, attempt: "Call", outcome: Outcome) -> None:
        """End an attempt whose answer does not go to the app."""
        self._add(attempt)
        attempt.end(outcome)

    def _add(self, attempt: "Call") -> None:
        self.step = attempt.step
        self.upstream_s += attempt.upstream_s
        self.waited_rate_s += attempt.waited_rate_s
        self.waited_slot_s += attempt.waited_slot_s
        self.backoff_s += attempt.backoff_s
        self.not_retried = attempt.not_retried or self.not_retried
        if attempt.credential:
            self.credential = attempt.credential
            self.credential_version = attempt.credential_version

    # The end.

    def on_end(self, ending: Ending) -> None:
        """Have `ending` run when the call ends; at once if it has ended, so that nothing taken late is kept."""
        if self.outcome is None:
            self._endings.append(ending)
        else:
            ending(self.outcome)

    def end(self, outcome: Outcome) -> None:
        """End the call: run the endings, last registered first. A second end is a fault of ours.

        An ending that raises does not keep the others from running; the last error is raised when all ran.
        """
        assert self.outcome is None, "a call ends once"
        self.outcome = outcome
        self._end_from(0, outcome)

    def mark(self) -> int:
        """Say how far the endings go now, for `end_since`: cheaper than a child where one attempt is the rule."""
        return len(self._endings)

    def end_since(self, mark: int, outcome: Outcome) -> None:
        """Run the endings registered since `mark`: what was begun is given up, and the call goes on with another."""
        assert self.outcome is None, "the call has not ended"
        self._end_from(mark, outcome)

    def _end_from(self, mark: int, outcome: Outcome) -> None:
        endings = self._endings
        failed: Exception | None = None
        while len(endings) > mark:
            try:
                endings.pop()(outcome)
            except Exception as error:  # noqa: BLE001 - what was taken is given back first, then it is raised
                failed = error
        if failed is not None:
            raise failed


class Reply:
    """An answer on its way to the app."""

    __slots__ = (
        "advice", "body", "has_notice", "has_urls", "headers", "notable", "reason", "source", "status", "tunnel",
    )  # fmt: skip

    def __init__(self, status: int, reason: bytes, headers: Headers, body: Body, source: str = "upstream") -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.source = source  # upstream, cache, fallback, queue or sidecar.
        self.has_urls = False  # Location, Content-Location or Link is among the headers.
        self.has_notice = False  # Sunset or Deprecation is among them.
        self.notable: Headers | None = None  # The fields that tell of limits, under lower-case names; None: no such.
        self.advice: Advice | None = None  # What they mean, once somebody read them.
        self.tunnel: Tunnel | None = None  # Set with 101: both sides now speak something else.


class Tunnel:
    """The vendor's side of an upgraded connection: raw bytes both ways until either end closes."""

    __slots__ = ("incoming", "write", "write_eof")

    def __init__(
        self, incoming: Body, write: Callable[[bytes], Awaitable[None]], write_eof: Callable[[], None]
    ) -> None:
        self.incoming = incoming
        self.write = write
        self.write_eof = write_eof


Handler = Callable[[Call], Awaitable[Reply]]
Layer = Callable[[Handler], Handler]
