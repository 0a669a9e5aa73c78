"""The store that pods share, with a file of this process's for what has to wait while it is away.

Values, leases and permits are never kept in the file instead: pods would not agree on them. Whoever needs those hears
that the store is away, as without a fallback.
"""

from typing import Any

from sidecar.core.clock import Clock
from sidecar.store.base import Store
from sidecar.store.fallback_backlog import FallbackBacklog
from sidecar.store.sqlite.store import SqliteStore


class FallbackStore:
    """Records, leases and permits of `shared`; a backlog over both."""

    is_shared = True
    is_durable = True
    backlog: FallbackBacklog

    def __init__(self, shared: Store, local: SqliteStore, clock: Clock) -> None:
        self._shared = shared
        self._local = local
        self._clock = clock
        self.records = shared.records
        self.leases = shared.leases
        self.permits = shared.permits

    @property
    def is_up(self) -> bool:
        """Whether the shared one answered last; how the file is stands in the snapshot."""
        return self._shared.is_up

    async def open(self) -> None:
        """Open the file, then look for the shared one. Raises StoreFailed where one of them can never work."""
        await self._local.open()
        try:
            self.backlog = FallbackBacklog(self._shared.backlog, self._local.backlog, self._clock)
            await self.backlog.open()
            await self._shared.open()
        except BaseException:
            await self._local.close()
            raise

    async def close(self) -> None:
        """Finish what was asked of both, and let them go."""
        try:
            await self.backlog.close()
            await self._shared.close()
        finally:
            await self._local.close()

    def snapshot(self) -> dict[str, Any]:
        """Show how both stand."""
        return self._shared.snapshot() | {"fallback": self._local.snapshot()}
