"""Problem: an error of ours as an `application/problem+json` body (RFC 9457), the same at every door."""

import math

import msgspec

from sidecar.core.errors import SidecarError


class Problem(msgspec.Struct, omit_defaults=True):
    """The body; its members and their order are the contract."""

    type: str
    title: str
    status: int
    detail: str
    instance: str  # The request id.
    code: str
    service: str | None = None  # This and the next two at the app's doors only.
    attempts: int | None = None
    retry_after: int | None = None  # Whole seconds, rounded up: a retry is never early.
    problems: list[str] | None = None  # Where several things are wrong at once: a config, a batch.


_encode = msgspec.json.Encoder().encode


def encode(
    error: SidecarError,
    request_id: str = "",
    service: str | None = None,
    attempts: int | None = None,
    problems: list[str] | None = None,
) -> bytes:
    """Write the body for an error."""
    retry_after = None if error.retry_after is None else math.ceil(error.retry_after)
    detail = error.detail.encode("utf-8", "replace").decode()  # A lone surrogate is not JSON.
    kind = "about:blank"
    title, status, code = error.title, error.status, error.code
    body = Problem(kind, title, status, detail, request_id, code, service, attempts, retry_after, problems)
    return _encode(body)
