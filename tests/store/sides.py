"""A backlog over two sides for tests: a shared one in memory that may be away, and a real file."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sidecar.store.backlog import RUNNING, WAITING, Backlog, Bounds, Settlement
from sidecar.store.base import StoreDown
from sidecar.store.config import StoreConfig
from sidecar.store.fallback_backlog import FallbackBacklog
from sidecar.store.memory import MemoryStore
from sidecar.store.sqlite.store import SqliteStore
from tests.kit.clock import ManualClock

LINE = "crm"
WIDE = Bounds(1_000_000, 2**30)
LEASE = 30.0


class Away:
    """Passes questions on; while `how` is "down" it answers none, while it is "deaf" it does what it is asked, too."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.how = "up"
        self.asked = 0

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def ask(*said: Any) -> Any:
            self.asked += 1
            answer = None if self.how == "down" else await getattr(self._inner, name)(*said)
            if self.how != "up":
                raise StoreDown("the shared one is away")
            return answer

        return ask


class Sides:
    """Both; `backlog` stands over them."""

    backlog: FallbackBacklog
    local: Away

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.inner: Backlog = MemoryStore(StoreConfig(), clock).backlog
        self.shared = Away(self.inner)
        self._path = str(folder / "state.db")
        self.file = SqliteStore(StoreConfig(kind="sqlite"), self._path, clock, lambda *_, **__: None)

    async def open(self) -> None:
        """Open the file, and stand over both."""
        self.file = SqliteStore(StoreConfig(kind="sqlite"), self._path, self.clock, lambda *_, **__: None)
        await self.file.open()
        self.local = Away(self.file.backlog)
        self.backlog = FallbackBacklog(self.shared, self.local, self.clock)  # type: ignore[arg-type] # it passes all on
        await self.backlog.open()

    async def close(self) -> None:
        """Let go."""
        await self.backlog.close()
        await self.file.close()

    async def restart(self, holder: str) -> None:
        """Do as another process would; what the one before had claimed of the shared side has ended."""
        await self.close()
        for entry in await self.inner.find(LINE, RUNNING, "", 1000):
            await self.inner.settle(LINE, entry.id, holder, Settlement(WAITING))
        await self.open()
