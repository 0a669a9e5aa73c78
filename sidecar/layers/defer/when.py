"""When: which calls may become jobs, and after which failures. Pure."""

from sidecar.core.body import NO_BODY
from sidecar.core.call import Call, Reply
from sidecar.core.errors import (
    AddressDenied,
    BulkheadFull,
    CircuitOpen,
    CredentialUnavailable,
    DeadlineExceeded,
    RateLimited,
    SidecarError,
    UpstreamError,
)
from sidecar.layers.retry.layer import IDEMPOTENT

# The vendor is not to be had now, whoever says so: it, the way to it, or what we know of it.
_UNAVAILABLE = (CircuitOpen, RateLimited, BulkheadFull, CredentialUnavailable, UpstreamError, DeadlineExceeded)
_SECRETIVE = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"api-key", b"x-auth-token"})


def objection(call: Call, forward: frozenset[str], replaced: bytes = b"") -> str:
    """Say why this call cannot be a job; empty: it can. The field `replaced` never goes on, and is not stored."""
    if call.upgrade is not None:
        return "a connection that is switched cannot wait"
    if call.body is not NO_BODY and call.body.trailers:
        return "its body has trailers, which a job does not keep"
    if call.app_credentials and forward:
        return "it carries a credential of the app's, which is not written down"
    if any(name.lower() in _SECRETIVE and name.lower() != replaced for name, _ in call.headers):
        return "it carries a credential of the app's, which is not written down"
    return ""


def is_unavailable(error: SidecarError) -> bool:
    """Whether a call that ended with this error may go well later: not where only a change of the config helps."""
    return isinstance(error, _UNAVAILABLE) and not isinstance(error, AddressDenied) and not error.is_final


def is_refusal(reply: Reply, statuses: frozenset[int]) -> bool:
    """Whether the vendor's answer asks for another attempt, and all that were allowed are used up."""
    return reply.status in statuses


def may_repeat(call: Call, error: SidecarError | None) -> bool:
    """Whether a call that went wrong may be made once more without being done twice."""
    if call.method in IDEMPOTENT or call.idempotency_key is not None or not call.attempts:
        return True
    return error is not None and error.is_unsent and len(call.attempts) == 1
