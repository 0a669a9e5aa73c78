"""Events: the webhooks that were accepted, for people: listed, shown, delivered again, cancelled, replayed."""

import math
from datetime import datetime
from typing import Any, Protocol

import msgspec
from aiohttp import web

from sidecar.admin.jobs import limit_of
from sidecar.core.errors import BadRequest, EventState

STATES = ("waiting", "running", "delivered", "dead", "cancelled")


class Events(Protocol):
    """All raise StoreUnavailable; those that name an event UnknownEvent."""

    async def event(self, name: str) -> dict[str, Any]:
        """Show one, with its headers and body."""

    async def events(self, webhook: str | None, state: str | None, after: str, count: int) -> list[dict[str, Any]]:
        """List them, the newest first."""

    async def cancel(self, name: str) -> None:
        """Cancel one that waits. Raises EventState."""

    async def retry(self, name: str) -> None:
        """Have one delivered now. Raises EventState."""

    async def discard(self, name: str) -> None:
        """Take one away that has ended. Raises EventState."""

    async def replay(self, webhook: str, since: float, after: str) -> dict[str, Any]:
        """Have what was accepted since then delivered once more; `after` in the answer says where to go on."""


class _Replay(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be delivered once more."""

    webhook: str
    since: str  # RFC 3339, with an offset.
    after: str = ""


def add_events(app: web.Application, events: Events) -> None:
    """Add `/api/events` to the application of `listen.admin`."""

    async def listed(request: web.Request) -> web.Response:
        query = request.query
        state = query.get("state")
        if state is not None and state not in STATES:
            raise BadRequest(f"state is one of {', '.join(STATES)}")
        limit = limit_of(query.get("limit"))
        return _json({"events": await events.events(query.get("webhook"), state, query.get("after", ""), limit)})

    async def shown(request: web.Request) -> web.Response:
        return _json(await events.event(request.match_info["id"]))

    async def retried(request: web.Request) -> web.Response:
        await events.retry(request.match_info["id"])
        return _json(await events.event(request.match_info["id"]))

    async def deleted(request: web.Request) -> web.Response:
        """Cancel what waits; discard what has ended."""
        name = request.match_info["id"]
        try:
            await events.cancel(name)
        except EventState:
            await events.discard(name)
            return _json({"id": name, "state": "discarded"})
        return _json({"id": name, "state": "cancelled"})

    async def replayed(request: web.Request) -> web.Response:
        try:
            wish = msgspec.json.decode(await request.read(), type=_Replay)
        except msgspec.DecodeError:
            raise BadRequest('write {"webhook": "stripe", "since": "2026-04-01T00:00:00Z"}') from None
        return _json(await events.replay(wish.webhook, _instant(wish.since), wish.after))

    app.router.add_get("/api/events", listed)
    app.router.add_post("/api/events/replay", replayed)
    app.router.add_get("/api/events/{id}", shown)
    app.router.add_delete("/api/events/{id}", deleted)
    app.router.add_post("/api/events/{id}/retry", retried)


def _instant(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
        seconds = at.timestamp() if at.tzinfo is not None else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if math.isnan(seconds):
        raise BadRequest('since is an instant with its offset, such as "2026-04-01T00:00:00Z"')
    return seconds


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")
