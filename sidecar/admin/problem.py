"""Problem: an error of the admin doors as an HTTP answer."""

from aiohttp import web

from sidecar.core.errors import BadRequest, SidecarError
from sidecar.core.problem import encode


class NotFound(BadRequest):
    """No such page."""

    status, title = 404, "Not found"


class NoCircuit(BadRequest):
    """The service has nothing that could be opened."""

    status, title = 409, "There is no circuit"


class ReloadRefused(BadRequest):
    """The new configuration has problems; the old one stays."""

    status, title = 422, "The configuration was not loaded"


def problem(error: SidecarError, problems: list[str] | None = None) -> web.Response:
    """Answer with an error."""
    return web.Response(
        status=error.status,
        body=encode(error, problems=problems),
        content_type="application/problem+json",
        headers={"Sidecar-Error": error.code},
    )
