"""Rows: what is read of an entry."""

from typing import NamedTuple

from sidecar.store.backlog import Entry

COLUMNS = "seq, id, key, state, head, body_bytes, attempts, created_at, wanted_at, due_at, settled_at, holder, is_ahead"


class Row(NamedTuple):
    """A row of `entries`."""

    seq: int
    id: str
    key: str
    state: str
    head: bytes
    body_bytes: int
    attempts: int
    created_at: float
    wanted_at: float
    due_at: float | None
    settled_at: float | None
    holder: str
    is_ahead: int

    @property
    def size(self) -> int:
        """What counts in the line's bytes."""
        return len(self.head) + self.body_bytes

    def shown(self, body: bytes = b"", result: bytes = b"") -> Entry:
        """Give it as it stands."""
        return Entry(
            self.id, self.key, self.state, self.head, body, result, self.attempts, self.created_at, self.due_at,
            self.settled_at,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"Row({self.id!r}, {self.state}, *** {self.size} bytes)"


class Whole(NamedTuple):
    """An entry, and the files where its body and its result lie instead."""

    entry: Entry
    seq: int
    body_file: str | None
    result_file: str | None


class Done(NamedTuple):
    """What a change gave, and the files that no row names any more."""

    answer: bool | int | set[str]
    gone: list[str]
