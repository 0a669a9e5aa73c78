"""Records in SQLite."""

import sqlite3

from sidecar.store.base import Record
from sidecar.store.sqlite.file import SqliteFile
from sidecar.store.steady import Steady

ENDED_TAKEN = 4  # Records that have ended, taken away with each write: more than it adds, so none pile up.

_ENDED = "DELETE FROM records WHERE rowid IN (SELECT rowid FROM records WHERE ends_at <= ? LIMIT ?)"
_PUT = (
    "INSERT INTO records (key, value, version, ends_at) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version, ends_at = excluded.ends_at"
)


class SqliteRecords:
    """Values under keys, in the table `records`."""

    def __init__(self, file: SqliteFile, time: Steady) -> None:
        self._file = file
        self._time = time
        self._version = 0  # The last that was given: microseconds of Unix time, or one more than the one before.

    async def get(self, key: str) -> Record | None:
        """Give what is there and has not ended."""

        def work(connection: sqlite3.Connection) -> Record | None:
            return _read(connection, key, self._time.now())

        return await self._file.run(work)

    async def put(self, key: str, value: bytes, life: float, *, over: int | None = None) -> int | None:
        """Write, where `over` is what is there."""

        def work(connection: sqlite3.Connection) -> int | None:
            now = self._time.now()
            there = _read(connection, key, now)
            last = there.version if there is not None else 0
            if over is not None and over != last:
                return None
            connection.execute(_ENDED, (now, ENDED_TAKEN))
            self._version = version = max(self._version + 1, last + 1, int(now * 1e6))
            connection.execute(_PUT, (key, value, version, now + life))
            return version

        return await self._file.run(work)

    async def delete(self, key: str, *, version: int | None = None) -> bool:
        """Take away what is there."""

        def work(connection: sqlite3.Connection) -> bool:
            there = _read(connection, key, self._time.now())
            if there is None or version not in {None, there.version}:
                return False
            connection.execute("DELETE FROM records WHERE key = ?", (key,))
            return True

        return await self._file.run(work)


def _read(connection: sqlite3.Connection, key: str, now: float) -> Record | None:
    row = connection.execute("SELECT value, version, ends_at FROM records WHERE key = ?", (key,)).fetchone()
    if row is None or row[2] <= now:
        return None
    return Record(bytes(row[0]), row[1], row[2] - now)
