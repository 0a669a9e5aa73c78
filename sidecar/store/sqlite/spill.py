"""Spill: what is too large for the database lies in files of a folder beside it, one each, bounded together with it.

A file is written and forced to the disk before the row that names it is committed, and deleted after the row is gone.
So a killed process leaves files that no row names, never a row without its file; the next one deletes them.
"""

import asyncio
import errno
import os
import secrets
import sqlite3
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from sidecar.core.tasks import Tasks
from sidecar.store.base import StoreDown, StoreFull
from sidecar.store.sqlite.file import PAGE_BYTES, SqliteFile, failure

SPILL_BYTES = 256 * 1024  # What is longer lies in a file.
CLOSE_SECONDS = 5.0  # For deleting what is not needed any more; the rest is deleted by the next process.

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Spill:
    """The folder `<path>.d`. Full, by bytes_max or by the disk: StoreFull, and nothing is left of it."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._folder = Path(f"{file.path}.d")
        self._sizes: dict[str, int] = {}  # Of each file that is there, or is being written.
        self._tasks = Tasks()

    async def open(self, named: Collection[str]) -> None:
        """Delete the files that no row names. Raises StoreDown."""
        try:
            self._sizes = await asyncio.to_thread(self._look, set(named))
        except OSError as error:
            raise failure(str(self._folder), error) from None
        self._file.beside_bytes = sum(self._sizes.values())

    async def write(self, values: Sequence[bytes]) -> list[str]:
        """Write each into a file that is there for good, and give their names. Raises StoreFull, StoreDown."""
        await self._make_room(sum(map(len, values)))
        names = [secrets.token_hex(16) for _ in values]
        self._reserve(dict(zip(names, map(len, values), strict=True)))
        writing = asyncio.get_running_loop().run_in_executor(None, self._write, names, list(values))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The thread goes on all the same; what it wrote is named by nobody.
            writing.add_done_callback(partial(self._abandoned, names))
            raise
        except OSError as error:
            self.remove(names)
            if error.errno in _NO_ROOM:
                raise StoreFull(f"the disk of the store {self._file.path} is full; nothing was written") from None
            raise StoreDown(f"the folder {self._folder} cannot be written to: {error.strerror}") from None
        return names

    async def read(self, name: str) -> bytes:
        """Give what is in a file. Raises OSError."""
        return await asyncio.to_thread(self._read, name)

    def remove(self, names: Collection[str]) -> None:
        """Delete files that no row names any more, in the background."""
        if names:
            self._tasks.spawn(self._remove(list(names)), "store")

    async def close(self) -> None:
        """Finish what is under way."""
        await self._tasks.wait(CLOSE_SECONDS)
        await self._tasks.stop()

    async def _make_room(self, count: int) -> None:
        """See that `count` bytes fit; pages of the database that are empty are given up for them."""
        missing = self._missing(count)
        if missing > 0:
            await self._file.run(partial(_give_up, -(-missing // PAGE_BYTES)))
            missing = self._missing(count)
        if missing > 0:
            raise StoreFull(f"the store {self._file.path} is full: bytes_max is reached; nothing was written")

    def _missing(self, count: int) -> int:
        return self._file.bytes + self._file.beside_bytes + count - self._file.bytes_max

    def _reserve(self, sizes: dict[str, int]) -> None:
        self._sizes |= sizes
        self._file.beside_bytes += sum(sizes.values())

    def _abandoned(self, names: list[str], writing: "asyncio.Future[None]") -> None:
        writing.exception()  # It is nobody's any more.
        self.remove(names)

    async def _remove(self, names: list[str]) -> None:
        await asyncio.to_thread(self._delete, names)
        self._file.beside_bytes -= sum(self._sizes.pop(name, 0) for name in names)

    # In a thread.

    def _look(self, named: set[str]) -> dict[str, int]:
        try:
            there = list(os.scandir(self._folder))
        except FileNotFoundError:
            return {}
        for entry in there:
            if entry.name not in named:
                Path(entry.path).unlink()
        return {entry.name: entry.stat().st_size for entry in there if entry.name in named}

    def _write(self, names: list[str], values: list[bytes]) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for name, value in zip(names, values, strict=True):
            number = os.open(self._folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
            with os.fdopen(number, "wb", buffering=0) as file:
                rest = memoryview(value)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
        _sync(self._folder)
        _sync(self._folder.parent)

    def _read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def _delete(self, names: list[str]) -> None:
        for name in names:
            try:
                (self._folder / name).unlink()
            except OSError:  # It is not there, or the next process will try again.
                continue


def _sync(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _give_up(pages: int, connection: sqlite3.Connection) -> None:
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    for _ in range(min(pages, free)):
        connection.execute("PRAGMA incremental_vacuum(1)")  # One page for each time that Python steps it.
