"""Events: what was accepted, for people: listed, shown, delivered again, cancelled, discarded, replayed.

All raise StoreUnavailable.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

from sidecar.core.errors import EventState, StoreUnavailable, UnknownEvent
from sidecar.store.backlog import WAITING, Backlog, Entry
from sidecar.store.base import StoreFailed
from sidecar.webhooks.event import CANCELLED, DEAD, DELIVERED, ENDED, RETRIED, head_of, line_of, shown, webhook_of
from sidecar.webhooks.webhooks import Webhooks

PAGE_MAX = 200  # Events in one list.
REPLAYED_MAX = 1000  # Events that one replay looks at; it says where the next one goes on.


class Events:
    """Asks for events, and leads them."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def event(self, name: str) -> dict[str, Any]:
        """Show one with its headers and body. Raises UnknownEvent."""
        return shown(await self._get(name), is_whole=True)

    async def events(self, webhook: str | None, state: str | None, after: str, count: int) -> list[dict[str, Any]]:
        """List them, the newest first of each webhook; `after` is the last one of the page before."""
        names = [webhook_of(after)] if after else [
            name for name in sorted(self._webhooks.hooks) if webhook in (None, name)
        ]  # fmt: skip
        found: list[dict[str, Any]] = []
        for name in names:
            left = min(count, PAGE_MAX) - len(found)
            if left > 0:
                found += [shown(entry) for entry in await self._ask(partial(_find, line_of(name), state, after, left))]
        return found

    async def cancel(self, name: str) -> None:
        """Have one that waits delivered never. Raises UnknownEvent, EventState."""
        await self._move(name, (WAITING,), CANCELLED, "only an event that waits can be cancelled")

    async def retry(self, name: str) -> None:
        """Have one delivered now that waits, or ended. Raises UnknownEvent, EventState."""
        entry = await self._get(name)
        if _is_without_body(entry):
            raise EventState("the event was delivered and its body is not kept; keep_bodies = true keeps those to come")
        await self._move(name, (WAITING, *RETRIED), WAITING, "it is being delivered")
        self._webhooks.wake(webhook_of(name))

    async def discard(self, name: str) -> None:
        """Take one away that has ended; should the vendor send it again, it is new. Raises UnknownEvent, EventState."""
        line = line_of(webhook_of(name))
        if not await self._ask(lambda backlog: backlog.discard(line, name, ENDED)):
            entry = await self._get(name)
            raise EventState(f"the event is {entry.state}; only one that has ended can be discarded; cancel it first")

    async def replay(self, webhook: str, since: float, after: str) -> dict[str, Any]:
        """Have what was accepted since then, and was delivered or is dead, delivered once more.

        Looks at so many, the newest first, and gives in `after` where to go on; "" when that was all. Raises
        UnknownEvent for a webhook that is not there.
        """
        if webhook not in self._webhooks.hooks:
            raise UnknownEvent(f"there is no webhook {webhook[:64]!r}")
        without = looked = 0
        names: list[str] = []
        line = line_of(webhook)
        while looked < REPLAYED_MAX:
            page = await self._ask(partial(_find, line, None, after, PAGE_MAX))
            for entry in page:
                if entry.created_at < since:
                    return await self._replayed(webhook, names, without, "")
                if entry.state == DELIVERED and await self._is_gone(entry):
                    without += 1
                elif entry.state in {DELIVERED, DEAD}:
                    names.append(entry.id)
            looked += len(page)
            if len(page) < PAGE_MAX:
                return await self._replayed(webhook, names, without, "")
            after = page[-1].id
        return await self._replayed(webhook, names, without, after)

    async def _replayed(self, webhook: str, names: list[str], without: int, after: str) -> dict[str, Any]:
        """Move them, the oldest first."""
        line, replayed = line_of(webhook), 0
        for name in reversed(names):
            replayed += await self._ask(partial(_move, line, name))
        if replayed:
            self._webhooks.tell("info", "events_replayed", webhook=webhook, events=replayed)
            self._webhooks.wake(webhook)
        return {"webhook": webhook, "replayed": replayed, "without_body": without, "after": after}

    async def _is_gone(self, entry: Entry) -> bool:
        """Whether the body is not kept: lists hold heads alone, and those that are kept have the vendor's headers."""
        return not head_of(entry).headers and _is_without_body(await self._get(entry.id))

    async def _get(self, name: str) -> Entry:
        entry: Entry | None = await self._ask(lambda backlog: backlog.get(line_of(webhook_of(name)), name))
        if entry is None:
            raise UnknownEvent(f"there is no event {name[:160]!r}; what was delivered is known for dedupe_for")
        return entry

    async def _move(self, name: str, states: tuple[str, ...], to: str, rule: str) -> None:
        line = line_of(webhook_of(name))
        if not await self._ask(lambda backlog: backlog.move(line, name, states, to)):
            entry = await self._get(name)
            raise EventState(f"the event is {entry.state}; {rule}")
        self._webhooks.tell("info", "event_moved", event=name, to=to)

    async def _ask(self, question: Callable[[Backlog], Any]) -> Any:
        try:
            return await question(self._webhooks.backlog())
        except StoreFailed as failed:
            raise StoreUnavailable(str(failed), retry_after=1.0) from None


def _is_without_body(entry: Entry) -> bool:
    """Whether a body was there and is not any more."""
    return not entry.body and head_of(entry).body_hash != hashlib.sha256(b"").digest()


async def _find(line: str, state: str | None, after: str, count: int, backlog: Backlog) -> list[Entry]:
    return await backlog.find(line, state, after, count)


async def _move(line: str, name: str, backlog: Backlog) -> bool:
    return await backlog.move(line, name, (DELIVERED, DEAD), WAITING)
