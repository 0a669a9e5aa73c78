"""The backlog in SQLite: entries in rows, large bodies and results in files beside it.

One process owns the file, so a claim does not end while it lives; what it had claimed waits again when the file is
opened by the next.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

from sidecar.core.tasks import Tasks
from sidecar.store.backlog import Bounds, Entry, NewEntry, Settlement, Tally, distinct
from sidecar.store.base import StoreDown, StoreFailed
from sidecar.store.sqlite.entries import Lines
from sidecar.store.sqlite.file import SqliteFile
from sidecar.store.sqlite.rows import Done, Whole
from sidecar.store.sqlite.spill import SPILL_BYTES, Spill
from sidecar.store.steady import Steady

T = TypeVar("T")

UNREADABLE_SECONDS = 60.0  # What cannot be read is claimed again after this, so that the others come first.
CLOSE_SECONDS = 5.0  # For claims that nobody waits for any more.


class SqliteBacklog:
    """Lines by name, in the tables `lines`, `tally`, `entries`, `bodies` and `results`."""

    def __init__(self, file: SqliteFile, time: Steady) -> None:
        self._file = file
        self._time = time
        self._spill = Spill(file)
        self._tasks = Tasks()

    async def open(self) -> None:
        """Have what was claimed wait again, and see which files are ours. Raises StoreFailed."""
        await self._spill.open(await self._file.run(self._reopen))

    async def close(self) -> None:
        """Finish what is under way; the file is let go after that."""
        await self._tasks.wait(CLOSE_SECONDS)
        await self._tasks.stop()
        await self._spill.close()

    async def lines(self) -> set[str]:
        """Give the names of lines that hold anything."""
        return await self._file.run(_names)

    async def there(self, line: str, ids: Collection[str]) -> set[str]:
        """Give those of these ids that are there, in whatever state."""
        return await self._ask(line, lambda lines: {name for name in ids if lines.find_one(name) is not None})

    async def known(self, line: str, entries: Sequence[NewEntry]) -> set[str]:
        """Give the ids of those that an append would find there."""
        return await self._ask(line, lambda lines: {entry.id for entry in entries if lines.knows(entry)})

    async def append(self, line: str, entries: Sequence[NewEntry], bounds: Bounds) -> set[str]:
        """Append all of them, or none."""
        new = distinct(entries)
        large = [entry for entry in new if len(entry.body) > SPILL_BYTES]
        written = await self._spill.write([entry.body for entry in large]) if large else []
        files = dict(zip((entry.id for entry in large), written, strict=True))
        there: set[str] = await self._change(line, lambda lines: lines.append(new, files, bounds), written)
        return there

    async def claim(self, line: str, holder: str, count: int, seconds: float) -> list[Entry]:  # noqa: ARG002 - for good
        """Claim what is due, until it is settled. Whoever goes away before the answer has claimed nothing."""
        claiming = self._tasks.spawn(self._claim(line, holder, count), "store")
        try:
            claimed = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            claiming.add_done_callback(partial(self._unclaim, line))
            raise
        if isinstance(claimed, StoreFailed):
            raise claimed
        return [one.entry for one in claimed]

    async def keep(self, line: str, ids: Collection[str], holder: str, seconds: float) -> set[str]:  # noqa: ARG002
        """Say which of them are this holder's."""
        return await self._ask(line, lambda lines: lines.held(ids, holder))

    async def settle(self, line: str, name: str, holder: str, settlement: Settlement) -> bool:
        """End a claim. Raises StoreFull where the store has no room for what it leaves."""
        result = settlement.result or b""
        written = await self._spill.write([result]) if len(result) > SPILL_BYTES else []
        file = written[0] if written else None
        is_settled: bool = await self._change(line, lambda lines: lines.settle(name, holder, settlement, file), written)
        return is_settled

    async def get(self, line: str, name: str) -> Entry | None:
        """Give one, whole."""
        while (found := await self._ask(line, lambda lines: lines.get(name))) is not None:
            try:
                return (await self._read(found)).entry
            except OSError as error:
                again = await self._ask(line, lambda lines: lines.get(name))
                if again is not None and again[1:] == found[1:]:  # Its files have not changed since.
                    raise self._unreadable(error) from None
        return None

    async def states(self, line: str, ids: Sequence[str]) -> list[str]:
        """Give the state of each."""
        return await self._ask(line, lambda lines: lines.states(ids))

    async def find(self, line: str, state: str | None, after: str, count: int) -> list[Entry]:
        """Give heads, the newest first."""
        return await self._ask(line, lambda lines: lines.find(state, after, count))

    async def move(self, line: str, name: str, states: Collection[str], to: str) -> bool:
        """Bring one to another state."""
        return await self._ask(line, lambda lines: lines.move(name, states, to))

    async def discard(self, line: str, name: str, states: Collection[str]) -> bool:
        """Take one away."""
        is_gone: bool = await self._change(line, lambda lines: lines.discard(name, states))
        return is_gone

    async def next_due(self, line: str) -> float | None:
        """Give the seconds until something may be claimed."""
        due_at = await self._ask(line, lambda lines: lines.next_due())
        return None if due_at is None else max(0.0, due_at - self._time.now())

    async def tally(self, line: str) -> Tally:
        """Count."""
        return await self._ask(line, lambda lines: lines.tally())

    async def purge(self, line: str, state: str, older_than: float, count: int) -> int:
        """Take away what ended long ago."""
        taken: int = await self._change(line, lambda lines: lines.purge(state, older_than, count))
        return taken

    async def _ask(self, line: str, work: Callable[[Lines], T]) -> T:
        return await self._file.run(lambda connection: work(Lines(connection, line, self._time.now())))

    async def _change(self, line: str, work: Callable[[Lines], Done], written: Collection[str] = ()) -> Any:
        """Do what may let go of files: those of rows that are gone, or those just written if it failed."""

        def after(done: Done | Exception | None) -> None:
            self._spill.remove(done.gone if isinstance(done, Done) else written)

        done = await self._file.run(lambda connection: work(Lines(connection, line, self._time.now())), after)
        return done.answer

    async def _claim(self, line: str, holder: str, count: int) -> list[Whole] | StoreFailed:
        """Claim, and read what lies in files; if that fails, nothing is claimed."""
        try:
            found = await self._ask(line, lambda lines: lines.claim(holder, count))
        except StoreFailed as error:
            return error
        whole = []
        for one in found:
            try:
                whole.append(await self._read(one))
            except OSError as error:
                rest = [other.seq for other in found if other is not one]
                await self._release(line, [one.seq], UNREADABLE_SECONDS)
                await self._release(line, rest)
                return self._unreadable(error)
        return whole

    def _unclaim(self, line: str, claiming: "asyncio.Task[list[Whole] | StoreFailed]") -> None:
        if not claiming.cancelled() and isinstance(claimed := claiming.result(), list) and self._file.is_open:
            self._tasks.spawn(self._release(line, [one.seq for one in claimed]), "store")

    async def _release(self, line: str, seqs: Sequence[int], delay: float = 0.0) -> None:
        with contextlib.suppress(StoreFailed):  # Then they wait until the file is opened again.
            await self._ask(line, lambda lines: lines.release(seqs, delay))

    async def _read(self, found: Whole) -> Whole:
        """Fetch what lies in files. Raises OSError."""
        entry = found.entry
        if found.body_file is not None:
            entry = entry._replace(body=await self._spill.read(found.body_file))
        if found.result_file is not None:
            entry = entry._replace(result=await self._spill.read(found.result_file))
        return found._replace(entry=entry)

    def _unreadable(self, error: OSError) -> StoreDown:
        return StoreDown(f"the store {self._file.path} cannot read a body beside it: {error.strerror}")

    def _reopen(self, connection: sqlite3.Connection) -> set[str]:
        """Have what was claimed wait again; give the files that rows name."""
        for (line,) in connection.execute("SELECT name FROM lines").fetchall():
            Lines(connection, line, self._time.now()).release(None)
        return {
            file
            for table in ("bodies", "results")
            for (file,) in connection.execute(f"SELECT file FROM {table} WHERE file IS NOT NULL")  # noqa: S608
        }


def _names(connection: sqlite3.Connection) -> set[str]:
    held = "SELECT name FROM lines WHERE EXISTS (SELECT 1 FROM entries WHERE entries.line = lines.line)"
    return {name for (name,) in connection.execute(held)}
