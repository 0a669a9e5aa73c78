"""Fetching: an app that cannot listen asks for its events, and says what it did with them before their lease ends.

A lease is a claim in the store under a name of its own, so that whichever pod is told of its end can end it. What the
store does not end by itself, this pod ends: an event of which nothing was heard is tried again by the schedule.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from sidecar.core.clock import Clock
from sidecar.core.errors import EventState, Shed, StoreUnavailable, UnknownEvent
from sidecar.core.ids import Ids
from sidecar.store.backlog import RUNNING, Entry
from sidecar.store.base import StoreFailed
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.delivery import ended_of
from sidecar.webhooks.event import given, head_of, line_of
from sidecar.webhooks.taker import Said
from sidecar.webhooks.webhooks import Webhooks

LEASES_MAX = 1000  # Of this pod's, at once. Full: 503.
FETCHED_BYTES_MAX = 64 * 2**20  # Of the longest bodies that one answer may have; fewer events are given, then.
LOOK_EVERY = 1.0  # Seconds between two looks for what other pods left; what this pod accepts is seen at once.
END_EVERY = 1.0  # Seconds between two looks for leases that ended.
_DONE = Said(200)
_BACK = Said(500, error="the app gave it back")
_SILENT = Said(500, error="its lease ended, and the app had said nothing")


class Lease(NamedTuple):
    """What an app fetched."""

    webhook: str
    names: frozenset[str]
    ends_at: float  # Monotonic.


class Fetching:
    """Gives events to the app, and takes its word for them."""

    def __init__(self, webhooks: Webhooks, clock: Clock, jitter: Callable[[], float], ids: Ids) -> None:
        self._webhooks = webhooks
        self._clock = clock
        self._jitter = jitter
        self._ids = ids
        self._leases: dict[str, Lease] = {}
        self._fetching = 0
        self._is_begun = False

    async def fetch(self, name: str, count: int, wait: float, seconds: float) -> dict[str, Any]:
        """Give up to `count` events under a lease, or none after `wait`. Raises UnknownEvent, EventState, Shed."""
        config = self._config(name)
        if len(self._leases) + self._fetching >= LEASES_MAX:
            raise Shed("too many leases and fetches are open; say what became of the events", retry_after=1.0)
        if not self._is_begun:  # Until the webhooks end; what is leased then waits again in the next process.
            self._is_begun = True
            self._webhooks.tasks.spawn(self._end_leases(), "leases of events")
        count = min(count, max(1, FETCHED_BYTES_MAX // int(config.body_max)))
        lease, woken = self._ids.take(32), asyncio.Event()
        self._fetching += 1
        self._webhooks.hooks[name].waiting.add(woken)
        try:
            entries = await self._claim(name, lease, count, self._clock.now() + wait, seconds, woken)
        except StoreFailed as failed:
            raise StoreUnavailable(str(failed), retry_after=1.0) from None
        finally:
            self._fetching -= 1
            hook = self._webhooks.hooks.get(name)
            if hook is not None:
                hook.waiting.discard(woken)
        if not entries:
            return {"lease": None, "events": []}
        ends_at = self._clock.now() + seconds
        self._leases[lease] = Lease(name, frozenset(entry.id for entry in entries), ends_at)
        return {"lease": lease, "seconds": seconds, "events": [given(entry) for entry in entries]}

    async def tell(
        self, name: str, lease: str, done: Collection[str], again: Collection[str], keep: float | None
    ) -> dict[str, Any]:
        """Take the app's word; `keep`: what is left of the lease goes on for so many seconds.

        Gives what was settled so, and what was not the lease's any more. Raises UnknownEvent, EventState.
        """
        config = self._config(name)
        found: dict[str, Any] = {"done": [], "again": [], "lost": []}
        try:
            for word, names, said in (("done", done, _DONE), ("again", again, _BACK)):
                for event in names:
                    is_settled = await self._settle(name, config, lease, event, said)
                    found[word if is_settled else "lost"].append(event)
            self._forget(lease, {*done, *again})
            if keep is not None and lease in self._leases:
                names = self._leases[lease].names
                kept = await self._webhooks.backlog().keep(line_of(name), names, lease, keep)
                self._leases[lease] = Lease(name, frozenset(kept), self._clock.now() + keep)
                found["kept"] = sorted(kept)
        except StoreFailed as failed:
            raise StoreUnavailable(str(failed), retry_after=1.0) from None
        return found

    def _config(self, name: str) -> WebhookConfig:
        hook = self._webhooks.hooks.get(name)
        if hook is None:
            known = ", ".join(sorted(self._webhooks.hooks)) or "none"
            raise UnknownEvent(f"there is no webhook {name[:64]!r}; known are: {known}")
        if hook.spec.config.deliver_to is not None:
            raise EventState(f"events of {name} are delivered; to fetch them take deliver_to away")
        return hook.spec.config

    async def _claim(
        self, name: str, lease: str, count: int, until: float, seconds: float, woken: asyncio.Event
    ) -> list[Entry]:
        while True:
            woken.clear()  # Before the look: what is appended while we look wakes us after it.
            backlog, line = self._webhooks.backlog(), line_of(name)
            entries = await backlog.claim(line, lease, count, seconds)
            left = until - self._clock.now()
            if entries or left <= 0 or self._webhooks.is_draining:
                return entries
            due = await backlog.next_due(line)
            try:
                async with self._clock.timeout_at(
                    self._clock.now() + min(left, LOOK_EVERY, max(0.001, LOOK_EVERY if due is None else due))
                ):
                    await woken.wait()
            except TimeoutError:
                continue

    async def _settle(self, name: str, config: WebhookConfig, lease: str, event: str, said: Said) -> bool:
        """End the claim of one event; False when it is not this lease's."""
        backlog, line = self._webhooks.backlog(), line_of(name)
        entry = await backlog.get(line, event)
        if entry is None or entry.state != RUNNING:
            return False
        age = max(0.0, self._clock.wall() - entry.created_at)
        ended = ended_of(config, entry, head_of(entry), said, age, self._jitter())
        if not await backlog.settle(line, event, lease, ended.settlement):
            return False
        self._webhooks.count_delivery(
            name, "delivered" if said is _DONE else "given_back" if said is _BACK else "no_answer"
        )
        await self._webhooks.ended(name, entry, ended)
        return True

    def _forget(self, lease: str, names: set[str]) -> None:
        held = self._leases.get(lease)
        if held is not None:
            left = held.names - names
            if left:
                self._leases[lease] = held._replace(names=left)
            else:
                del self._leases[lease]

    async def _end_leases(self) -> None:
        """End what is over; the store may have done so already, and given the events to somebody else."""
        while True:
            await self._clock.sleep(END_EVERY)
            for lease, held in list(self._leases.items()):
                hook = self._webhooks.hooks.get(held.webhook)
                if held.ends_at > self._clock.now() or hook is None:
                    continue
                try:
                    for event in sorted(held.names):
                        await self._settle(held.webhook, hook.spec.config, lease, event, _SILENT)
                except StoreFailed:  # The store's own line tells it; what is left is looked at again.
                    continue
                if self._leases.get(lease) == held:
                    del self._leases[lease]
                self._webhooks.wake(held.webhook)
