"""Problem: an error of the admin doors as the contract's `application/problem+json` (RFC 9457)."""

import msgspec
from aiohttp import web

from sidecar.core.errors import BadRequest, SidecarError


class NotFound(BadRequest):
    """No such page."""

    status, title = 404, "Not found"


class ReloadRefused(BadRequest):
    """The new configuration has problems; the old one stays."""

    status, title = 422, "The configuration was not loaded"


class Problem(msgspec.Struct, omit_defaults=True):
    """The body; members and their order are the contract. `problems` only after a refused reload."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    service: str | None = None
    problems: list[object] | None = None


def problem(error: SidecarError, request_id: str = "", problems: list[object] | None = None) -> web.Response:
    """Answer with an error."""
    body = Problem("about:blank", error.title, error.status, error.detail, request_id, error.code, None, problems)
    return web.Response(
        status=error.status,
        body=msgspec.json.encode(body),
        content_type="application/problem+json",
        headers={"Sidecar-Error": error.code},
    )
