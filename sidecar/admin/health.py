"""Health: the door for probes and Prometheus. Three exact paths, GET and HEAD, nothing else.

Exact means the bytes of the request line: a path that merely contains `/livez` once opened a gateway to everybody
(GHSA-59m6-82qm-vqgj).
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from sidecar.admin.door import BODY_MAX

Readiness = Callable[[], str | None]
Exposition = Callable[[], tuple[bytes, str]]
Page = Callable[[], Awaitable[web.Response]]

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def health_app(readiness: Readiness, exposition: Exposition) -> web.Application:
    """Make the application of `listen.telemetry`.

    `readiness` gives None, or in words why not; `exposition` gives body and content type, and runs in a thread.
    """

    async def livez() -> web.Response:
        return _line(200, "alive")

    async def readyz() -> web.Response:
        reason = readiness()
        return _line(200, "ready") if reason is None else _line(503, f"not ready: {reason}")

    async def metrics() -> web.Response:
        # The text of some thousand series takes milliseconds, in which calls shall go on.
        body, content_type = await asyncio.to_thread(exposition)
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": content_type})

    pages: dict[str, Page] = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}

    @web.middleware
    async def door(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 - as aiohttp calls it.
        page = pages.get(request.raw_path.partition("?")[0])
        if page is None:
            return _line(404, "here are /livez, /readyz and /metrics")
        if request.method not in {"GET", "HEAD"}:
            response = _line(405, "only GET and HEAD")
            response.headers["Allow"] = "GET, HEAD"
            return response
        return await page()

    # The middleware answers everything, so that aiohttp's router, which decodes paths, is never asked.
    return web.Application(middlewares=[door], client_max_size=BODY_MAX)


def _line(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers=_HEADERS)
