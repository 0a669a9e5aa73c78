"""The store that is one file beside the process: the embedded one that keeps what it acknowledged."""

import sqlite3
from typing import Any

from sidecar.core.clock import Clock
from sidecar.store.base import StoreFailed
from sidecar.store.config import StoreConfig
from sidecar.store.local_leases import LocalLeases
from sidecar.store.sqlite.backlog import SqliteBacklog
from sidecar.store.sqlite.file import SqliteFile
from sidecar.store.sqlite.records import SqliteRecords
from sidecar.store.steady import Steady


class SqliteStore:
    """Records and a backlog in a file; leases in memory, since the file is locked for this process."""

    is_shared = False
    is_durable = True
    records: SqliteRecords
    backlog: SqliteBacklog

    def __init__(self, config: StoreConfig, path: str, clock: Clock) -> None:
        self._clock = clock
        self._file = SqliteFile(path, config.bytes_max)
        self._time = Steady(clock)
        self.leases = LocalLeases(clock)

    @property
    def is_up(self) -> bool:
        """Whether the last commit succeeded."""
        return not self._file.problem

    async def open(self) -> None:
        """Lock the file and read what time it had. Raises StoreFailed."""
        await self._file.open()
        self._time = Steady(self._clock, await self._file.run(_seen_at))
        self.records = SqliteRecords(self._file, self._time)
        self.backlog = SqliteBacklog(self._file, self._time)
        try:
            await self.backlog.open()
        except StoreFailed:
            await self._file.close()
            raise

    async def close(self) -> None:
        """Write down what time it is, and let the file go."""
        if self._file.is_open:
            await self.backlog.close()
            now = self._time.now()
            await self._file.run(lambda connection: _see(connection, now))
        await self._file.close()

    def snapshot(self) -> dict[str, Any]:
        """Show how it stands."""
        shown: dict[str, Any] = {"kind": "sqlite", "path": self._file.path, "up": self.is_up}
        return shown | ({"problem": self._file.problem} if self._file.problem else {})


def _seen_at(connection: sqlite3.Connection) -> float:
    row = connection.execute("SELECT max(seen_at) FROM clock").fetchone()
    return float(row[0] or 0.0)


def _see(connection: sqlite3.Connection, now: float) -> None:
    connection.execute("INSERT OR REPLACE INTO clock (one, seen_at) VALUES (1, ?)", (now,))
