"""Intake: the items of a batch are stored, some at a time; then the batch is accepted, or nothing of it is left."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from sidecar.core.clock import Clock
from sidecar.core.errors import QueueFull, SidecarError, StoreUnavailable
from sidecar.core.tasks import Tasks
from sidecar.layers.defer.config import QueueConfig
from sidecar.queue.batch.register import BatchRecord, Opening, Register, life_of
from sidecar.queue.batch.together import together
from sidecar.queue.job import item_name, line_of, service_of
from sidecar.queue.submit import RETRY_AFTER
from sidecar.store.backlog import APPEND_MAX, WAITING, Bounds, NewEntry
from sidecar.store.base import Store, StoreFailed, StoreFull

ITEMS_AT_ONCE = 500  # In one append, each of which is one step of the store;
BYTES_AT_ONCE = 2**20  # or as soon as they are so many bytes, and at least one. So much of a batch is held in memory.
HOLD = 1.0  # Seconds before an item is looked at whose batch is not accepted yet: mostly it is by then.
DISCARDED_AT_ONCE = 16
assert ITEMS_AT_ONCE <= APPEND_MAX


class Intake:
    """Takes one batch in."""

    def __init__(
        self, name: str, config: QueueConfig, store: Callable[[], Store], register: Register, tasks: Tasks, clock: Clock
    ) -> None:
        self._name = name
        self._line = line_of(name)
        self._config = config
        self._bounds = Bounds(config.length_max, int(config.bytes_max))
        self._store = store
        self._register = register
        self._tasks = tasks
        self._clock = clock
        self._held: list[NewEntry] = []
        self._held_bytes = 0
        self._count = 0  # Items that may be in the store.

    async def take(self, entries: AsyncIterator[NewEntry]) -> BatchRecord:
        """Store all, and have the batch accepted. Raises QueueFull, StoreUnavailable, and what `entries` raises."""
        try:
            opening = await self._register.open(self._name, service_of(self._line))
        except StoreFailed as failed:
            raise self._refused(failed) from None
        keeping = self._tasks.spawn(opening.keep(), "a batch is open")
        try:
            async for entry in entries:
                await self._add(entry)
            await self._append(0.0)
            return await opening.accept(self._count, life_of(self._config))
        except asyncio.CancelledError:  # The app hung up, or the process ends.
            self._tasks.spawn(self._undo(opening), "undoing a batch")
            raise
        except (StoreFailed, SidecarError) as error:
            await asyncio.wait([self._tasks.spawn(self._undo(opening), "undoing a batch")])
            if isinstance(error, StoreFailed):
                raise self._refused(error) from None
            raise
        finally:
            keeping.cancel()

    async def _add(self, entry: NewEntry) -> None:
        if self._held and self._held_bytes + entry.size > BYTES_AT_ONCE:
            await self._append(HOLD)
        self._held.append(entry)
        self._held_bytes += entry.size
        if len(self._held) == ITEMS_AT_ONCE:
            await self._append(HOLD)

    async def _append(self, delay: float) -> None:
        entries, self._held, self._held_bytes = self._held, [], 0
        if entries:
            self._count += len(entries)
            delayed = [entry._replace(delay=delay) for entry in entries]
            await self._store().backlog.append(self._line, delayed, self._bounds)

    async def _undo(self, opening: Opening) -> None:
        """Leave nothing behind. What cannot be taken away now is not accepted, and so it is never made."""
        backlog, line = self._store().backlog, self._line
        with suppress(StoreFailed):
            await opening.drop()
        with suppress(StoreFailed):
            for start in range(0, self._count, DISCARDED_AT_ONCE):
                some = range(start, min(start + DISCARDED_AT_ONCE, self._count))
                names = [item_name(self._name, index) for index in some]
                await together(self._tasks, [backlog.discard(line, name, (WAITING,)) for name in names])

    def _refused(self, failed: StoreFailed) -> QueueFull | StoreUnavailable:
        kind = QueueFull if isinstance(failed, StoreFull) else StoreUnavailable
        return kind(f"the batch was not accepted, and nothing of it is kept: {failed}", retry_after=RETRY_AFTER)
