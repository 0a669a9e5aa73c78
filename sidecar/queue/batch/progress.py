"""Progress: how a batch that was not waited for stands, and the end of those of its items that wait."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from sidecar.core.errors import StoreUnavailable, UnknownJob
from sidecar.core.tasks import Tasks
from sidecar.queue.batch.register import BatchRecord, Register
from sidecar.queue.batch.together import together
from sidecar.queue.job import CANCELLED, SUCCEEDED, instant, item_name, line_of
from sidecar.store.backlog import APPEND_MAX, RUNNING, WAITING
from sidecar.store.base import Store, StoreFailed

DISCARDED = "discarded"  # People took the item away.
CANCELLED_AT_ONCE = 16


class Progress:
    """Shows and cancels batches. All raise StoreUnavailable, and UnknownJob for a batch that was not accepted."""

    def __init__(self, store: Callable[[], Store], register: Register, tasks: Tasks) -> None:
        self._store = store
        self._register = register
        self._tasks = tasks

    async def record(self, name: str) -> BatchRecord:
        """Give what is on record of a batch."""
        try:
            record = await self._register.find(name)
        except StoreFailed as failed:
            raise unavailable(failed) from None
        if record is None:
            raise UnknownJob(f"there is no batch {name[:128]!r}; it is kept for queue.age_max and queue.keep_for")
        return record

    async def show(self, name: str) -> dict[str, Any]:
        """Show a batch."""
        record = await self.record(name)
        counts: Counter[str] = Counter()
        for start in range(0, record.count, APPEND_MAX):
            counts.update(await self._states(name, start, record.count))
        return {
            "id": name,
            "state": state_of(counts),
            "service": record.service,
            "created_at": instant(record.created_at),
            "items": record.count,
            "counts": counts,
            "results": f"/_sidecar/jobs/{name}/items",
        }

    async def cancel(self, name: str) -> None:
        """Cancel the items that wait."""
        record, line = await self.record(name), line_of(name)
        backlog = self._store().backlog
        for start in range(0, record.count, APPEND_MAX):
            states = await self._states(name, start, record.count)
            waiting = [item_name(name, start + n) for n, state in enumerate(states) if state == WAITING]
            for at in range(0, len(waiting), CANCELLED_AT_ONCE):
                some = waiting[at : at + CANCELLED_AT_ONCE]
                try:
                    await together(self._tasks, [backlog.move(line, item, (WAITING,), CANCELLED) for item in some])
                except StoreFailed as failed:
                    raise unavailable(failed) from None

    async def _states(self, name: str, start: int, count: int) -> list[str]:
        """Give the states of one page of items."""
        names = [item_name(name, index) for index in range(start, min(start + APPEND_MAX, count))]
        try:
            states = await self._store().backlog.states(line_of(name), names)
        except StoreFailed as failed:
            raise unavailable(failed) from None
        return [state or DISCARDED for state in states]


def state_of(counts: Mapping[str, int]) -> str:
    """Say how a batch stands by the states of its items."""
    there = {state for state, count in counts.items() if count}
    if there == {WAITING}:
        return WAITING
    if there & {WAITING, RUNNING}:
        return RUNNING
    if there <= {SUCCEEDED}:
        return SUCCEEDED
    return CANCELLED if there <= {SUCCEEDED, CANCELLED} else "failed"


def unavailable(failed: StoreFailed) -> StoreUnavailable:
    """Say it to the app."""
    return StoreUnavailable(str(failed), retry_after=1.0)
