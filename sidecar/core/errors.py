"""Errors: every way in which the sidecar itself says no or gives up, as a code, a status, and a sentence.

The contract's table of error codes is this file. `downstream/respond.py` is the one place that turns these into HTTP.
"""

from sidecar.core.outcome import Outcome


class SidecarError(Exception):
    """An answer that the sidecar makes itself.

    `detail` says what is true and what helps, `retry_after` is in seconds, `proxy_error` is the RFC 9209 error type
    (section 2.3) for the `Proxy-Status` header.
    """

    code = "internal"
    status = 500
    title = "The sidecar failed"
    proxy_error = "proxy_internal_error"
    outcome = Outcome.REJECTED  # What the call counts as when it ends with this error.
    service = ""  # Set where the service is known, though the call does not get there.
    blames_vendor = False  # The vendor or the way to it went wrong: the circuit counts it, and it may be tried again.
    is_unsent = False  # The vendor cannot have seen the request, so even what is not idempotent may be tried again.
    is_final = False  # Another attempt would end the same way, until somebody repairs something.
    problems: tuple[str, ...] = ()  # One sentence each, where several things are wrong at once.

    def __init__(self, detail: str, *, retry_after: float | None = None, proxy_error: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        if proxy_error is not None:
            self.proxy_error = proxy_error


class InternalError(SidecarError):
    """A fault of ours; the traceback is in the log, the request id leads there."""


# What the app got wrong, or may not do.


class BadRequest(SidecarError):
    """The request is malformed."""

    code, status, title, proxy_error = "bad_request", 400, "Bad request", "http_request_error"


class PathEscapes(SidecarError):
    """Dot segments lead out of the service's base path."""

    code, status, title, proxy_error = "path_escapes", 400, "The path leaves the base path", "http_request_error"


class AppTokenMissing(SidecarError):
    """`listen.app_token` is set and the request does not carry it."""

    code, status, title, proxy_error = "app_token_missing", 401, "The app's token is missing", "http_request_denied"


class HostNotAllowed(SidecarError):
    """The Host header is none of ours: DNS rebinding."""

    code, status, title, proxy_error = "host_not_allowed", 403, "Host not allowed", "http_request_denied"


class NotAllowed(SidecarError):
    """The access rules of the service do not contain this call."""

    code, status, title, proxy_error = "not_allowed", 403, "Not allowed", "http_request_denied"


class UnknownService(SidecarError):
    """No such service."""

    code, status, title, proxy_error = "unknown_service", 404, "Unknown service", "destination_not_found"


class UnknownJob(SidecarError):
    """No such job; or it ended long ago."""

    code, status, title, proxy_error = "unknown_job", 404, "Unknown job", "destination_not_found"


class JobState(SidecarError):
    """The job is in a state in which that cannot be done."""

    code, status, title, proxy_error = "job_state", 409, "Not in this state", "http_request_denied"


class UnknownEvent(SidecarError):
    """No such event, or no such webhook; or it was delivered long ago."""

    code, status, title, proxy_error = "unknown_event", 404, "Unknown event", "destination_not_found"


class EventState(SidecarError):
    """The event is in a state in which that cannot be done."""

    code, status, title, proxy_error = "event_state", 409, "Not in this state", "http_request_denied"


class NotInAnswer(SidecarError):
    """The vendor was asked for several things at once, and its answer does not have this one."""

    code, status, title = "not_in_answer", 404, "Not in the vendor's answer"
    proxy_error, outcome = "proxy_internal_response", Outcome.SUCCESS  # As a 404 of the vendor's own is one.


class MethodNotAllowed(BadRequest):
    """CONNECT and the like: refused with the reason."""

    status, title, proxy_error = 405, "Method not allowed", "http_request_denied"

    def __init__(self, detail: str, *, allow: bytes = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS") -> None:
        super().__init__(detail)
        self.allow = allow  # For the field of this name (RFC 9110 section 10.2.1).


class UnsupportedMediaType(BadRequest):
    """A resource of the sidecar's own does not read this Content-Type."""

    status, title = 415, "Unsupported media type"


class RequestTimeout(BadRequest):
    """The app was too slow in sending its request."""

    status, title = 408, "The request came too slowly"


class BodyTooLarge(SidecarError):
    """The request body is over the bound."""

    code, status, title, proxy_error = "body_too_large", 413, "Body too large", "http_request_denied"


class HeadersTooLarge(SidecarError):
    """The request head is over the bound."""

    code, status, title, proxy_error = "headers_too_large", 431, "Headers too large", "http_request_denied"


# What a key of the app's stands for already (draft-ietf-httpapi-idempotency-key-header, section 2.7).


class IdempotencyInFlight(SidecarError):
    """The first call with this key has not ended."""

    code, status, title, proxy_error = (
        "idempotency_in_flight",
        409,
        "The first call is in flight",
        "http_request_denied",
    )


class IdempotencyNotKept(SidecarError):
    """The call was done, and its answer is not there to be repeated."""

    code, status, title, proxy_error = "idempotency_not_kept", 409, "The answer was not kept", "http_request_denied"


class IdempotencyMismatch(SidecarError):
    """The key was used for another body."""

    code, status, title, proxy_error = "idempotency_mismatch", 422, "The key is taken", "http_request_denied"


# What we cannot take now.


class Shed(SidecarError):
    """We are full, and say so at once."""

    code, status, title, proxy_error = "shed", 503, "The sidecar is full", "connection_limit_reached"


class RateLimited(SidecarError):
    """The service's own rate limit, or the one that the vendor announced, is reached; the vendor was not asked."""

    code, status, title, proxy_error = "rate_limited", 429, "Rate limited", "http_request_denied"


class BulkheadFull(SidecarError):
    """All slots of the service are in use, and the line for them is full."""

    code, status, title, proxy_error = "bulkhead_full", 503, "The bulkhead is full", "connection_limit_reached"


class QueueFull(SidecarError):
    """The line of jobs is at its bound, or the store is; the call was not accepted."""

    code, status, title, proxy_error = "queue_full", 503, "The queue is full", "connection_limit_reached"


class StoreUnavailable(SidecarError):
    """What has to be stored before it is acknowledged cannot be stored now; nothing was accepted."""

    code, status, title, proxy_error = "store_unavailable", 503, "The store is away", "destination_unavailable"


class CircuitOpen(SidecarError):
    """The vendor failed too often; it is not asked until the next probe."""

    code, status, title, proxy_error = "circuit_open", 503, "The circuit is open", "destination_unavailable"


class Draining(SidecarError):
    """We are shutting down."""

    code, status, title, proxy_error = "draining", 503, "The sidecar is shutting down", "destination_unavailable"


class CredentialUnavailable(SidecarError):
    """A credential could not be had; the detail says at which step."""

    code, status, title = "credential_unavailable", 502, "Credential unavailable"
    outcome = Outcome.FAILURE


# What went wrong on the way to the vendor.


class UpstreamError(SidecarError):
    """An attempt went wrong on the wire."""

    status, outcome, blames_vendor = 502, Outcome.FAILURE, True


class DnsFailed(UpstreamError):
    """The vendor's name could not be resolved."""

    code, title, proxy_error = "dns_failed", "Name resolution failed", "dns_error"
    is_unsent = True


class AddressDenied(UpstreamError):
    """The egress guard refused every address behind the name."""

    code, title, proxy_error = "address_denied", "Address denied", "destination_ip_prohibited"
    blames_vendor = False


class AddressRefused(OSError):
    """The egress guard refused an address, where aiohttp connects; `strerror` is the sentence."""


class ConnectFailed(UpstreamError):
    """No TCP connection."""

    code, title, proxy_error = "connect_failed", "Connecting failed", "connection_refused"
    is_unsent = True


class TlsFailed(UpstreamError):
    """No TLS session, or a certificate that does not verify."""

    code, title, proxy_error = "tls_failed", "TLS failed", "tls_protocol_error"
    is_unsent = True


class UpstreamReset(UpstreamError):
    """The vendor broke off."""

    code, title, proxy_error = "upstream_reset", "The vendor broke off", "connection_terminated"


class UpstreamProtocol(UpstreamError):
    """What the vendor sent is not HTTP, or over its bounds."""

    code, title, proxy_error = "upstream_protocol", "The vendor's answer is not valid HTTP", "http_protocol_error"


class AnswerTooLarge(SidecarError):
    """The body of an answer is over the bound of what the sidecar keeps of it; only where it must be kept whole."""

    code, status, title, proxy_error = "answer_too_large", 502, "Answer too large", "http_response_body_size"
    outcome = Outcome.FAILURE


class DeadlineExceeded(SidecarError):
    """The time for the call, or for this attempt, is used up; the detail names the step that used it."""

    code, status, title, proxy_error = "deadline_exceeded", 504, "Deadline exceeded", "http_response_timeout"
    outcome = Outcome.FAILURE
    blames_vendor = True  # Not when the time was spent in a line of ours, or by the app; the raiser says so.

    def __init__(
        self, detail: str, *, retry_after: float | None = None, proxy_error: str | None = None, is_ours: bool = False
    ) -> None:
        super().__init__(detail, retry_after=retry_after, proxy_error=proxy_error)
        if is_ours:
            self.blames_vendor = False
