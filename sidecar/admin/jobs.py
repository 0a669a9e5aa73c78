"""Jobs: the deferred calls, for people: listed, shown, cancelled, tried again, discarded."""

from typing import Any, Protocol

import msgspec
from aiohttp import web

from sidecar.core.errors import BadRequest, JobState

PAGE = 50  # Jobs in one list, unless `limit` says another number.
PAGE_MAX = 200
STATES = ("waiting", "running", "succeeded", "failed", "dead", "cancelled")


class Jobs(Protocol):
    """The queue. All raise StoreUnavailable; those that name a job UnknownJob."""

    async def job(self, name: str) -> dict[str, Any]:
        """Show one, with its answer."""

    async def jobs(self, service: str | None, state: str | None, after: str, count: int) -> list[dict[str, Any]]:
        """List them, the newest first."""

    async def cancel(self, name: str) -> None:
        """Cancel one that waits. Raises JobState."""

    async def retry(self, name: str) -> None:
        """Try one again that ended badly. Raises JobState."""

    async def discard(self, name: str) -> None:
        """Take one away that has ended. Raises JobState."""


def add_jobs(app: web.Application, jobs: Jobs) -> None:
    """Add `/api/jobs` to the application of `listen.admin`."""

    async def listed(request: web.Request) -> web.Response:
        query = request.query
        state = query.get("state")
        if state is not None and state not in STATES:
            raise BadRequest(f"state is one of {', '.join(STATES)}")
        found = await jobs.jobs(query.get("service"), state, query.get("after", ""), limit_of(query.get("limit")))
        return _json({"jobs": found})

    async def shown(request: web.Request) -> web.Response:
        return _json(await jobs.job(request.match_info["id"]))

    async def retried(request: web.Request) -> web.Response:
        await jobs.retry(request.match_info["id"])
        return _json(await jobs.job(request.match_info["id"]))

    async def deleted(request: web.Request) -> web.Response:
        """Cancel what waits; discard what has ended."""
        name = request.match_info["id"]
        try:
            await jobs.cancel(name)
        except JobState:
            await jobs.discard(name)
            return _json({"id": name, "state": "discarded"})
        return _json({"id": name, "state": "cancelled"})

    app.router.add_get("/api/jobs", listed)
    app.router.add_get("/api/jobs/{id}", shown)
    app.router.add_delete("/api/jobs/{id}", deleted)
    app.router.add_post("/api/jobs/{id}/retry", retried)


def limit_of(text: str | None) -> int:
    """Read how many are wanted. Raises BadRequest."""
    if text is None:
        return PAGE
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= PAGE_MAX:
        raise BadRequest(f"limit is a number from 1 to {PAGE_MAX}")
    return int(text)


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")
