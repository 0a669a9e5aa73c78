"""Call: one request of the app, until its last byte; and Reply: what comes back for it."""

from collections.abc import Awaitable, Callable

from sidecar.core.body import Body, Headers
from sidecar.core.outcome import Outcome

Ending = Callable[[Outcome], None]


class AttemptRecord:
    """What one attempt did, for the log line of a failed call. Times are seconds; 0.0 where a step did not happen."""

    __slots__ = (
        "connect_s", "dns_s", "error", "first_byte_s", "is_reused", "request_head", "response_head",
        "response_start", "status", "tls_s", "total_s", "waited_s",
    )  # fmt: skip

    def __init__(self) -> None:
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


class Call:
    """One request of the app.

    Whoever takes something for it (a connection, a slot, a probe) registers the giving back with `on_end` on the next
    line; `downstream/exchange.py` calls `end` once, and the endings run in reverse.
    """

    __slots__ = (
        "_endings", "address", "app", "app_credentials", "attempts", "body", "deadline_at", "error_code",
        "error_detail", "expects_continue", "has_user_agent", "headers", "idempotency_key", "is_observed", "method",
        "outcome", "path_template", "request_id", "response_bytes", "route", "service", "source", "started_at",
        "status", "step", "target", "timeout_asked", "trace_flags", "trace_id", "upgrade", "upstream_s",
        "waited_slot_s", "wants_trailers",
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
        self.idempotency_key: bytes | None = None
        self.timeout_asked: float | None = None  # Sidecar-Timeout; it can only shorten.
        self.expects_continue = False
        self.has_user_agent = False
        self.is_observed = False  # Counted and logged when it ends.
        self.wants_trailers = False
        self.upgrade: bytes | None = None  # "websocket" when the app asks to switch.
        self.started_at = 0.0  # Monotonic.
        self.deadline_at = float("inf")
        self.step = "routing"  # What the call is doing now; an exceeded deadline names it.
        self.attempts: list[AttemptRecord] = []
        self.upstream_s = 0.0
        self.waited_slot_s = 0.0  # The part of it in which the attempts stood in line.
        self.outcome: Outcome | None = None
        self.error_code = ""
        self.error_detail = ""  # The sentence for people; redacted when written.
        self.status = 0  # Of the answer that the app got; 0 if it got none.
        self.source = ""
        self.response_bytes = 0
        self._endings: list[Ending] = []

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
        endings = self._endings
        failed: Exception | None = None
        while endings:
            try:
                endings.pop()(outcome)
            except Exception as error:  # noqa: BLE001 - what was taken is given back first, then it is raised
                failed = error
        if failed is not None:
            raise failed


class Reply:
    """An answer on its way to the app."""

    __slots__ = ("body", "has_urls", "headers", "reason", "source", "status", "tunnel")

    def __init__(self, status: int, reason: bytes, headers: Headers, body: Body, source: str = "upstream") -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.source = source  # upstream, cache, fallback, queue or sidecar.
        self.has_urls = False  # Location, Content-Location or Link is among the headers.
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
