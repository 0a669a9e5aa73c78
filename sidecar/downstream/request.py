"""Request: what the app sent; and which of its fields are for us, for the connection, or for the vendor."""

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.errors import SidecarError
from sidecar.core.headers import HOP_BY_HOP, tokens

# Read by us; what of them goes on to the vendor is decided in exchange.py.
OURS = HOP_BY_HOP | {
    b"host", b"content-length", b"expect", b"authorization", b"cookie", b"x-request-id", b"traceparent", b"tracestate",
    b"prefer", b"idempotency-key", b"user-agent", b"sidecar-timeout", b"sidecar-attempts-max", b"sidecar-app",
    b"sidecar-token", b"sidecar-queue-key", b"sec-fetch-site", b"forwarded", b"via",
}  # fmt: skip
# Never for a vendor: who called us through what is this pod's business (istio 17635, 35283, 44249).
DROPPED = (b"sidecar-", b"x-forwarded-", b"x-envoy-", b"x-b3-", b"l5d-", b"x-istio-")
KEPT_TOO = frozenset({b"user-agent", b"idempotency-key"})
_NOT_NAMED = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings", b"content-length", b"host"})


class Request:
    """One HTTP message of the app. With `refusal` it could not be read further, and the connection ends with it."""

    __slots__ = (
        "body", "headers", "is_http_1_0", "may_keep_alive", "method", "ours", "refusal",
        "upgrades_to", "url",
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = ""
        self.url = b""
        self.headers: Headers = []  # As sent; after `sort`, only what may go on to the vendor.
        self.ours: dict[bytes, list[bytes]] = {}  # The fields in OURS, by lower-case name.
        self.body: Body = NO_BODY
        self.is_http_1_0 = False
        self.may_keep_alive = False
        self.upgrades_to: bytes | None = None  # b"websocket", or None: other offers are ignored.
        self.refusal: SidecarError | None = None

    def sort(self) -> None:
        """Sort the fields in one pass: ours, the vendor's, and what goes nowhere."""
        kept: Headers = []
        ours = self.ours
        for field in self.headers:
            key = field[0].lower()
            if key in OURS:
                # The parser leaves blanks at the end, which are no part of a value (RFC 9110 section 5.5).
                ours.setdefault(key, []).append(field[1].strip(b" \t"))
                if key in KEPT_TOO:
                    kept.append(field)
            elif not key.startswith(DROPPED):
                kept.append(field)
        named = ours.get(b"connection")
        if named is not None:
            drop = frozenset(tokens(named)) - _NOT_NAMED
            if drop:
                kept = [field for field in kept if field[0].lower() not in drop]
        self.headers = kept

    def first(self, name: bytes) -> bytes | None:
        """Give the first value of one of our fields."""
        values = self.ours.get(name)
        return values[0] if values else None
