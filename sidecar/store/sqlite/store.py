"""The store that is one file beside the process: the embedded one that keeps what it acknowledged."""

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

from sidecar.core.clock import Clock
from sidecar.core.tasks import Tasks
from sidecar.store.base import StoreFailed
from sidecar.store.config import StoreConfig
from sidecar.store.local_leases import LocalLeases
from sidecar.store.local_permits import LocalPermits
from sidecar.store.sqlite.backlog import SqliteBacklog
from sidecar.store.sqlite.file import SqliteFile
from sidecar.store.sqlite.records import SqliteRecords
from sidecar.store.steady import Steady

LOOK_EVERY = 5.0  # Seconds between two looks whether the disk takes something again.
SEE_EVERY = 60.0  # Seconds between two notes of the time: a process that is killed leaves one no older than that.


class SqliteStore:
    """Records and a backlog in a file; leases in memory, since the file is locked for this process."""

    is_shared = False
    is_durable = True
    records: SqliteRecords
    backlog: SqliteBacklog

    def __init__(self, config: StoreConfig, path: str, clock: Clock, tell: Callable[..., None]) -> None:
        self._clock = clock
        self._tell = tell
        self._tasks = Tasks()
        self._file = SqliteFile(path, config.bytes_max)
        self._file.on_problem = self._lost
        self._bytes_max = config.bytes_max
        self._time = Steady(clock)
        self._problem = ""
        self.leases = LocalLeases(clock)
        self.permits = LocalPermits(clock)

    @property
    def is_up(self) -> bool:
        """Whether the disk took what it was last asked to."""
        return not self._problem

    async def open(self) -> None:
        """Lock the file and read what time it had. Raises StoreFailed."""
        try:
            await self._open()
        except StoreFailed as error:
            error.key = "path"
            raise
        self._tasks.spawn(self._see_time(), "store")

    async def close(self) -> None:
        """Write down what time it is, and let the file go."""
        await self._tasks.stop()
        if self._file.is_open:
            await self.backlog.close()
            with contextlib.suppress(StoreFailed):  # What was acknowledged is there; the time is only a help.
                await self._see()
        await self._file.close()

    def snapshot(self) -> dict[str, Any]:
        """Show how it stands."""
        shown: dict[str, Any] = {
            "kind": "sqlite",
            "path": self._file.path,
            "up": self.is_up,
            "used_bytes": self._file.used_bytes + self._file.beside_bytes,
            "bytes_max": int(self._bytes_max),
        }
        return shown | ({"problem": self._problem} if self._problem else {})

    def _lost(self, problem: str) -> None:
        """Tell it once, and look until the disk takes something again; a damaged file waits for a person."""
        was_up, self._problem = self.is_up, problem
        if was_up:
            self._tell("error", "store_down", store=self._file.path, error=problem)
            self._tasks.spawn(self._look_after(), "store")

    async def _look_after(self) -> None:
        while self._problem:
            await self._clock.sleep(LOOK_EVERY)
            try:
                await self._see()
            except StoreFailed:
                continue
            self._problem = ""
        self._tell("info", "store_up", store=self._file.path)

    async def _see_time(self) -> None:
        while True:
            with contextlib.suppress(StoreFailed):  # It was told.
                await self._see()
            await self._clock.sleep(SEE_EVERY)

    async def _see(self) -> None:
        """Write down what time it is."""
        now = self._time.now()
        await self._file.run(lambda connection: _see(connection, now))

    async def _open(self) -> None:
        await self._file.open()
        self._time = Steady(self._clock, await self._file.run(_seen_at))
        self.records = SqliteRecords(self._file, self._time)
        self.backlog = SqliteBacklog(self._file, self._time)
        try:
            await self.backlog.open()
        except StoreFailed:
            await self._file.close()
            raise


def _seen_at(connection: sqlite3.Connection) -> float:
    row = connection.execute("SELECT max(seen_at) FROM clock").fetchone()
    return float(row[0] or 0.0)


def _see(connection: sqlite3.Connection, now: float) -> None:
    connection.execute("INSERT OR REPLACE INTO clock (one, seen_at) VALUES (1, ?)", (now,))
