"""Entries: the rows of the backlog, as they are changed in the writer's thread, each function in one savepoint."""

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from sidecar.store.backlog import RUNNING, UNFINISHED, WAITING, Bounds, Entry, NewEntry, Settlement, Tally, crowding
from sidecar.store.base import StoreFull
from sidecar.store.sqlite.rows import COLUMNS, Done, Row, Whole

_COUNT = (
    "INSERT INTO tally (line, state, entries, bytes) VALUES (?, ?, ?, ?) ON CONFLICT (line, state) "
    "DO UPDATE SET entries = entries + excluded.entries, bytes = bytes + excluded.bytes"
)
_KNOWN = (
    "SELECT 1 FROM entries WHERE line = ? AND id = ? UNION ALL "
    "SELECT 1 FROM entries WHERE line = ? AND also = ? AND also <> '' LIMIT 1"
)
# Of one key, oldest first: those that are not ended.
_OF_KEY = "FROM entries WHERE line = ? AND key = ? AND key <> '' AND settled_at IS NULL"


class Lines:
    """One connection's work on entries, at one instant."""

    def __init__(self, connection: sqlite3.Connection, line: str, now: float) -> None:
        self._do = connection.execute
        self._name = line
        self._now = now
        found = self._do("SELECT line FROM lines WHERE name = ?", (line,)).fetchone()
        self._line: int = 0 if found is None else found[0]  # 0: it has never had an entry.

    def append(self, entries: Sequence[NewEntry], files: dict[str, str], bounds: Bounds) -> Done:
        """Append those that are not there; `files` has the names of bodies that lie in files. Raises StoreFull."""
        there = {entry.id for entry in entries if self.knows(entry)}
        new = [entry for entry in entries if entry.id not in there]
        if new:
            tally = self._tally()
            (length, size) = (sum(tally.get(state, (0, 0))[n] for state in UNFINISHED) for n in (0, 1))
            added = sum(entry.size for entry in new)
            full = crowding(self._name, bounds, length + len(new), size + added)
            if full:
                raise StoreFull(full)
            if not self._line:
                self._line = self._do("INSERT INTO lines (name) VALUES (?) RETURNING line", (self._name,)).fetchone()[0]
            for entry in new:
                self._insert(entry, files.get(entry.id))
            self._count(WAITING, len(new), added)
        return Done(there, [file for name, file in files.items() if name in there])

    def knows(self, entry: NewEntry) -> bool:
        """Whether it is there; what is there under its second id, and has none, takes its id."""
        if self._do(_KNOWN, (self._line, entry.id, self._line, entry.id)).fetchone():
            return True
        take = "UPDATE entries SET also = ? WHERE line = ? AND id = ? AND also = ''"
        return bool(entry.also) and self._do(take, (entry.id, self._line, entry.also)).rowcount > 0

    def claim(self, holder: str, count: int) -> list[Whole]:
        """Claim those that were due first."""
        due = self._rows("due_at <= ? ORDER BY due_at, seq LIMIT ?", self._now, count)
        for row in due:
            self._do(
                "UPDATE entries SET state = ?, due_at = NULL, holder = ?, attempts = attempts + 1 WHERE seq = ?",
                (RUNNING, holder, row.seq),
            )
        self._recount(WAITING, RUNNING, due)
        return [self._whole(row._replace(state=RUNNING, due_at=None, attempts=row.attempts + 1)) for row in due]

    def held(self, names: Iterable[str], holder: str) -> set[str]:
        """Give those that are this holder's."""
        return {name for name in names if self._held(name, holder) is not None}

    def settle(self, name: str, holder: str, settlement: Settlement, file: str | None) -> Done:
        """End a claim; `file` is where its result lies, if in one."""
        row = self._held(name, holder)
        if row is None:
            return Done(False, [] if file is None else [file])
        gone = []
        head = row.head if settlement.head is None else settlement.head
        body_bytes = row.body_bytes
        if settlement.frees_body:
            body_bytes = 0
            gone += self._forget("bodies", row.seq)
        if settlement.result is not None:
            gone += self._forget("results", row.seq)
            self._put("results", row.seq, settlement.result, file)
        self._do("UPDATE entries SET head = ?, body_bytes = ?, holder = '' WHERE seq = ?", (head, body_bytes, row.seq))
        after = row._replace(head=head, body_bytes=body_bytes)
        self._count(row.state, 0, after.size - row.size)
        if settlement.state == WAITING:
            self._wait(after, self._now + settlement.delay)
        else:
            self._end(after, settlement.state)
        return Done(True, gone)

    def get(self, name: str) -> Whole | None:
        """Give one."""
        row = self.find_one(name)
        return None if row is None else self._whole(row)

    def states(self, names: Sequence[str]) -> list[str]:
        """Give the state of each."""
        ask = "SELECT state FROM entries WHERE line = ? AND id = ?"
        return [(self._do(ask, (self._line, name)).fetchone() or ("",))[0] for name in names]

    def find(self, state: str | None, after: str, count: int) -> list[Entry]:
        """Give heads, the newest first."""
        before = 2**63 - 1
        if after:
            row = self.find_one(after)
            if row is None:
                return []
            before = row.seq
        states = list(self._tally()) if state is None else [state]
        page = "state = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
        found = [row for one in states for row in self._rows(page, one, before, count)]
        return [row.shown() for row in sorted(found, reverse=True)[:count]]

    def move(self, name: str, states: Collection[str], to: str) -> bool:
        """Bring one to another state."""
        assert to != RUNNING, "that is what claims are for"
        row = self._movable(name, states)
        if row is None:
            return False
        if to != WAITING:
            self._end(row, to)
            return True
        if row.settled_at is not None:  # Those that came after it stand behind it again.
            self._do(
                "UPDATE entries SET due_at = NULL WHERE NOT is_ahead AND seq = "  # noqa: S608
                f"(SELECT seq {_OF_KEY} AND seq > ? ORDER BY seq LIMIT 1)",
                (self._line, row.key, row.seq),
            )
        self._do("UPDATE entries SET is_ahead = 1, settled_at = NULL WHERE seq = ?", (row.seq,))
        self._wait(row._replace(is_ahead=1), self._now)
        return True

    def discard(self, name: str, states: Collection[str]) -> Done:
        """Take one away."""
        row = self._movable(name, states)
        return Done(False, []) if row is None else Done(True, self._take_away(row))

    def next_due(self) -> float | None:
        """Give when something may be claimed."""
        found = self._do("SELECT min(due_at) FROM entries WHERE line = ? AND due_at IS NOT NULL", (self._line,))
        due_at: float | None = found.fetchone()[0]
        return due_at

    def tally(self) -> Tally:
        """Count."""
        tally = self._tally()
        oldest = [row for state in UNFINISHED for row in self._rows("state = ? ORDER BY seq LIMIT 1", state)]
        return Tally(
            {state: entries for state, (entries, _) in tally.items()},
            sum(tally.get(state, (0, 0))[1] for state in UNFINISHED),
            min(oldest).created_at if oldest else None,
        )

    def purge(self, state: str, older_than: float, count: int) -> Done:
        """Take away what ended long ago."""
        before = self._now - older_than
        rows = self._rows("state = ? AND settled_at <= ? ORDER BY settled_at, seq LIMIT ?", state, before, count)
        return Done(len(rows), [file for row in rows for file in self._take_away(row)])

    def release(self, seqs: Iterable[int] | None, delay: float = 0.0) -> None:
        """Have claims of a line wait again: of a process that is gone, or of a worker that never got them."""
        wanted = None if seqs is None else set(seqs)
        for row in self._rows("state = ?", RUNNING):
            if wanted is not None and row.seq not in wanted:
                continue
            self._do("UPDATE entries SET holder = '' WHERE seq = ?", (row.seq,))
            self._wait(row, self._now + delay if delay else row.wanted_at)

    def find_one(self, name: str) -> Row | None:
        """Give the row of an id."""
        found = self._rows("id = ?", name)
        return found[0] if found else None

    def _rows(self, where: str, *values: object) -> list[Row]:
        asked = self._do(f"SELECT {COLUMNS} FROM entries WHERE line = ? AND {where}", (self._line, *values))  # noqa: S608
        return [Row._make(row) for row in asked]

    def _held(self, name: str, holder: str) -> Row | None:
        row = self.find_one(name)
        return row if row is not None and row.state == RUNNING and row.holder == holder else None

    def _movable(self, name: str, states: Collection[str]) -> Row | None:
        row = self.find_one(name)
        return row if row is not None and row.state in states and row.state != RUNNING else None

    def _insert(self, entry: NewEntry, file: str | None) -> None:
        wanted_at = self._now + entry.delay
        is_behind = entry.key and self._do(f"SELECT 1 {_OF_KEY} LIMIT 1", (self._line, entry.key)).fetchone()
        seq = self._do(
            "INSERT INTO entries (line, id, key, state, head, body_bytes, attempts, created_at, wanted_at, due_at, "
            "holder, is_ahead, also) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, '', 0, ?)",
            (
                self._line, entry.id, entry.key, WAITING, entry.head, len(entry.body), self._now, wanted_at,
                None if is_behind else wanted_at, entry.also,
            ),
        ).lastrowid  # fmt: skip
        assert seq is not None
        if entry.body:
            self._put("bodies", seq, entry.body, file)

    def _wait(self, row: Row, wanted_at: float) -> None:
        """Have it wait: due when it wants to be, or behind another."""
        is_behind = (
            row.key
            and not row.is_ahead
            and self._do(f"SELECT 1 {_OF_KEY} AND seq < ? LIMIT 1", (self._line, row.key, row.seq)).fetchone()
        )
        self._do(
            "UPDATE entries SET state = ?, wanted_at = ?, due_at = ? WHERE seq = ?",
            (WAITING, wanted_at, None if is_behind else wanted_at, row.seq),
        )
        self._recount(row.state, WAITING, [row])

    def _end(self, row: Row, state: str) -> None:
        self._do(
            "UPDATE entries SET state = ?, due_at = NULL, is_ahead = 0, settled_at = coalesce(settled_at, ?) "
            "WHERE seq = ?",
            (state, self._now, row.seq),
        )
        self._recount(row.state, state, [row])
        self._let_next(row)

    def _let_next(self, row: Row) -> None:
        """Have the first of its key due, if that one waits."""
        if row.key and row.settled_at is None:
            self._do(
                "UPDATE entries SET due_at = wanted_at WHERE state = ? AND seq = "  # noqa: S608
                f"(SELECT seq {_OF_KEY} ORDER BY seq LIMIT 1)",
                (WAITING, self._line, row.key),
            )

    def _take_away(self, row: Row) -> list[str]:
        self._do("DELETE FROM entries WHERE seq = ?", (row.seq,))
        self._count(row.state, -1, -row.size)
        self._let_next(row)
        return self._forget("bodies", row.seq) + self._forget("results", row.seq)

    def _whole(self, row: Row) -> Whole:
        (body, body_file), (result, result_file) = (self._part(table, row.seq) for table in ("bodies", "results"))
        return Whole(row.shown(body, result), row.seq, body_file, result_file)

    def _part(self, table: str, seq: int) -> tuple[bytes, str | None]:
        found = self._do(f"SELECT value, file FROM {table} WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
        return found or (b"", None)

    def _put(self, table: str, seq: int, value: bytes, file: str | None) -> None:
        self._do(
            f"INSERT INTO {table} (seq, value, file) VALUES (?, ?, ?)",  # noqa: S608
            (seq, value if file is None else b"", file),
        )

    def _forget(self, table: str, seq: int) -> list[str]:
        found = self._do(f"DELETE FROM {table} WHERE seq = ? RETURNING file", (seq,)).fetchall()  # noqa: S608
        return [file for (file,) in found if file is not None]

    def _tally(self) -> dict[str, tuple[int, int]]:
        asked = self._do("SELECT state, entries, bytes FROM tally WHERE line = ?", (self._line,))
        return {state: (entries, size) for state, entries, size in asked}

    def _count(self, state: str, entries: int, size: int) -> None:
        self._do(_COUNT, (self._line, state, entries, size))

    def _recount(self, before: str, after: str, rows: Sequence[Row]) -> None:
        if rows and before != after:
            size = sum(row.size for row in rows)
            self._count(before, -len(rows), -size)
            self._count(after, len(rows), size)
