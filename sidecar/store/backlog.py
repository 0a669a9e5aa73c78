"""Backlog: entries that wait to be worked off, oldest first, in order per key, each claimed by one worker at a time.

A line is one such row of entries: the deferred calls of one service, the events of one webhook. What an entry means is
its owner's; the store knows its state, when it is due, who works on it, and how large it is.

An entry with a key stands behind the unfinished ones of that key which were appended before it, also while the first of
them waits for its next attempt. Entries without a key, and with different keys, do not wait for each other. So what is
due is what waits and has no key, or is the first unfinished one of its key, or was moved ahead by people.

    append -> waiting -> claim -> running -> settle -> waiting again, or a state that ends it
                  `-> move (by people): another state that ends it, and from there to waiting again

An entry may have a second id (`also`), by which it is known, too, as long as it is there: whoever appends that id finds
it there. So what comes with its name and without it is one entry, in either order, and entries of different names that
share their second id are several.

A claim is a lease: whoever holds it keeps it up (`keep`), and what a killed process held is waiting again when the
lease has ended (Valkey) or when the file is opened again (SQLite). So an entry may be worked on more than once, and
never by two whose leases hold at the same time.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

WAITING = "waiting"
RUNNING = "running"
UNFINISHED = (WAITING, RUNNING)
APPEND_MAX = (
    1_000  # Entries in one append: it is one step of the store, for which all others wait. More: the owner's error.
)


class NewEntry(NamedTuple):
    """What is appended. `size` counts in the line's bytes: head and body."""

    id: str  # Chosen by the owner, unique in the line.
    key: str  # Of its order; "" for none.
    head: bytes
    body: bytes = b""
    delay: float = 0.0  # Seconds before it may be claimed.
    also: str = ""  # Its second id; "" for none. Such an entry is appended alone.

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.head) + len(self.body)

    def __repr__(self) -> str:
        return f"NewEntry({self.id!r}, *** {self.size} bytes, delay={self.delay:.3f})"


class Entry(NamedTuple):
    """An entry as it stands. Instants are Unix seconds by the store's clock."""

    id: str
    key: str
    state: str
    head: bytes
    body: bytes  # Empty where only heads were asked for.
    result: bytes  # What the owner left when it settled it last; the same.
    attempts: int  # Times it was claimed.
    created_at: float
    due_at: float | None  # When it may be claimed; None while it is not waiting, or stands behind another of its key.
    settled_at: float | None  # When it ended.

    def __repr__(self) -> str:
        held = len(self.head) + len(self.body) + len(self.result)
        return f"Entry({self.id!r}, {self.state}, *** {held} bytes, attempts={self.attempts})"


class Bounds(NamedTuple):
    """What a line holds at most, counted over its unfinished entries. Full: StoreFull, and nothing of it is there."""

    length_max: int
    bytes_max: int


class Tally(NamedTuple):
    """A line at a glance."""

    states: Mapping[str, int]  # Entries in each state; states without any may be missing.
    bytes: int  # Of the unfinished ones.
    oldest_at: float | None  # When the oldest unfinished entry was appended, Unix seconds.


class Settlement(NamedTuple):
    """What becomes of a claimed entry."""

    state: str  # WAITING for another attempt, or one that ends it.
    delay: float = 0.0  # Seconds before it may be claimed again, if it waits.
    head: bytes | None = None  # Replaces its head; None keeps it.
    result: bytes | None = None  # The same.
    frees_body: bool = False  # Its body is not needed any more.

    def __repr__(self) -> str:
        return f"Settlement({self.state}, ***, delay={self.delay:.3f}, frees_body={self.frees_body})"


def distinct(entries: Sequence[NewEntry]) -> list[NewEntry]:
    """Give the first of each id."""
    assert len(entries) <= APPEND_MAX, "an append is one step"
    assert len(entries) == 1 or not any(entry.also for entry in entries)
    found: dict[str, NewEntry] = {}
    for entry in entries:
        found.setdefault(entry.id, entry)
    return list(found.values())


def crowding(line: str, bounds: Bounds, length: int, size: int) -> str:
    """Say which bound an append would pass, that would bring the unfinished ones to this; "" if none."""
    if length > bounds.length_max:
        return (
            f"the line {line} is full: its length_max of {bounds.length_max} entries is reached; nothing was appended"
        )
    if size > bounds.bytes_max:
        return f"the line {line} is full: its bytes_max of {bounds.bytes_max} bytes is reached; nothing was appended"
    return ""


class Backlog(Protocol):
    """All of these raise StoreFailed. `name` is the id of an entry."""

    async def append(self, line: str, entries: Sequence[NewEntry], bounds: Bounds) -> set[str]:
        """Append all of them, or none; they are there for good when this returns. Raises StoreFull at the bounds.

        Gives the ids that were there before, in whatever state; these stay as they are. Of one id that comes twice the
        first counts. At most APPEND_MAX.

        There is also what has the id as its second one. And where an entry is there under the second id of what is
        appended, and has none itself, the two are the same: it takes the id as its own second one.
        """

    async def claim(self, line: str, holder: str, count: int, seconds: float) -> list[Entry]:
        """Claim up to `count` that are due, whole, for `seconds`; each is `running` and its attempts are one more."""

    async def keep(self, line: str, ids: Collection[str], holder: str, seconds: float) -> set[str]:
        """Keep claims for `seconds` more, and give those that are still this holder's."""

    async def settle(self, line: str, name: str, holder: str, settlement: Settlement) -> bool:
        """End a claim; False when it was not this holder's any more, and nothing was changed."""

    async def get(self, line: str, name: str) -> Entry | None:
        """Give one, whole."""

    async def states(self, line: str, ids: Sequence[str]) -> list[str]:
        """Give the state of each, in the order asked; "" for one that is not there. At most APPEND_MAX."""

    async def find(self, line: str, state: str | None, after: str, count: int) -> list[Entry]:
        """Give heads, the newest first, of one state or of all; `after` is the last id of the page before, or "".

        An `after` that is gone meanwhile ends the list.
        """

    async def move(self, line: str, name: str, states: Collection[str], to: str) -> bool:
        """Bring an entry that is in one of `states`, and not claimed, to another; False if it is in none of them.

        To `waiting` it is due at once, whatever stands before it in its key; those behind it wait for it again. The
        bounds do not hold it up.
        """

    async def discard(self, line: str, name: str, states: Collection[str]) -> bool:
        """Take away an entry that is in one of `states`, none of which is `running`; False if it is in none of them."""

    async def next_due(self, line: str) -> float | None:
        """Give the seconds until something may be claimed, 0.0 if it may now, None if nothing waits for a time.

        Where claims end by themselves, the end of one counts.
        """

    async def tally(self, line: str) -> Tally:
        """Count."""

    async def purge(self, line: str, state: str, older_than: float, count: int) -> int:
        """Take away up to `count` that are in `state` and ended over `older_than` seconds ago, and say how many."""
