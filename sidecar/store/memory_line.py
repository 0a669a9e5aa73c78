"""One line of entries in memory; a machine."""

from collections.abc import Collection
from functools import partial
from heapq import merge
from itertools import islice
from math import inf

from sidecar.store.backlog import RUNNING, UNFINISHED, WAITING, Entry, NewEntry, Settlement, Tally
from sidecar.store.memory_rows import Heap, Order

ENTRY_BYTES = 1_000  # What an entry costs beside its bytes, about; its second id is in this.
GONE = ""  # The state of what was taken away, where a row still knows it.


class Kept:
    """An entry of the line."""

    __slots__ = (
        "also", "attempts", "body", "created_at", "due_at", "head", "holder", "id", "is_ahead", "key", "result", "seq",
        "settled_at", "state", "wanted_at",
    )  # fmt: skip

    def __init__(self, new: NewEntry, seq: int, now: float) -> None:
        self.id = new.id
        self.also = new.also
        self.key = new.key
        self.head = new.head
        self.body = new.body
        self.result = b""
        self.seq = seq
        self.state = WAITING
        self.attempts = 0
        self.created_at = now
        self.wanted_at = now + new.delay  # When it is due, once nobody of its key stands before it.
        self.due_at: float | None = None
        self.settled_at: float | None = None
        self.holder = ""
        self.is_ahead = False  # Due whoever stands before it.

    @property
    def size(self) -> int:
        """What counts in the line's bytes."""
        return len(self.head) + len(self.body)

    @property
    def is_unfinished(self) -> bool:
        """Whether those of its key that are behind it wait."""
        return self.state in UNFINISHED

    def shown(self, *, is_whole: bool) -> Entry:
        """Give it as it stands."""
        return Entry(
            self.id, self.key, self.state, self.head, self.body if is_whole else b"", self.result if is_whole else b"",
            self.attempts, self.created_at, self.due_at, self.settled_at,
        )  # fmt: skip


def cost(entry: NewEntry | Kept) -> int:
    """Give the bytes of memory that it takes."""
    result = len(entry.result) if isinstance(entry, Kept) else 0
    return ENTRY_BYTES + len(entry.id) + len(entry.key) + entry.size + result


class MemoryLine:
    """Its entries, and those in the orders in which they are asked for."""

    def __init__(self) -> None:
        self.there: dict[str, Kept] = {}
        self._also: dict[str, int] = {}  # How many have it as their second id.
        self.counts: dict[str, int] = {}
        self.bytes = 0  # Of the unfinished ones.
        self._seq = 0
        self._due: Heap[Kept] = Heap(lambda rank, kept: kept.due_at == rank)
        self._unfinished: Heap[Kept] = Heap(lambda _, kept: kept.is_unfinished)
        self._of_key: dict[str, Heap[Kept]] = {}  # The unfinished ones.
        self._in_state: dict[str, Order[Kept]] = {}
        self._settled: dict[str, Heap[Kept]] = {}  # What has ended, in each state.

    @property
    def length(self) -> int:
        """Unfinished entries."""
        return sum(self.counts.get(state, 0) for state in UNFINISHED)

    def knows(self, new: NewEntry) -> bool:
        """Whether it is there; what is there under its second id, and has none, takes its id."""
        if new.id in self.there or new.id in self._also:
            return True
        nameless = self.there.get(new.also)
        if nameless is None or nameless.also:
            return False
        nameless.also = new.id
        self._count_also(new.id, 1)
        return True

    def append(self, new: NewEntry, now: float) -> None:
        """Add one that is not there."""
        self._seq += 1
        self.there[new.id] = kept = Kept(new, self._seq, now)
        self._count_also(kept.also, 1)
        self._begin(kept)
        self._count(kept, 1)
        self._put_in(kept)
        self._wait(kept)

    def claim(self, holder: str, count: int, now: float) -> list[Entry]:
        """Claim those that were due first."""
        claimed: list[Entry] = []
        while len(claimed) < count and (first := self._due.first()) is not None and first[0] <= now:
            kept = first[1]
            self._change(kept, RUNNING)
            kept.due_at = None
            kept.holder = holder
            kept.attempts += 1
            claimed.append(kept.shown(is_whole=True))
        return claimed

    def held(self, name: str, holder: str) -> Kept | None:
        """Give it if it is this holder's."""
        kept = self.there.get(name)
        return kept if kept is not None and kept.state == RUNNING and kept.holder == holder else None

    def settle(self, kept: Kept, settlement: Settlement, now: float) -> None:
        """End its claim."""
        self._count(kept, -1)
        kept.holder = ""
        if settlement.head is not None:
            kept.head = settlement.head
        if settlement.result is not None:
            kept.result = settlement.result
        if settlement.frees_body:
            kept.body = b""
        self._count(kept, 1)
        if settlement.state == WAITING:
            kept.wanted_at = now + settlement.delay
            self._change(kept, WAITING)
            self._wait(kept)
        else:
            self._end(kept, settlement.state, now)

    def movable(self, name: str, states: Collection[str]) -> Kept | None:
        """Give it if it is in one of these and nobody works on it."""
        kept = self.there.get(name)
        return kept if kept is not None and kept.state in states and kept.state != RUNNING else None

    def move(self, kept: Kept, to: str, now: float) -> None:
        """Bring it to another state."""
        assert to != RUNNING, "that is what claims are for"
        if to != WAITING:
            self._end(kept, to, now)
            return
        before = self._first(kept.key)
        was_unfinished = kept.is_unfinished
        self._change(kept, WAITING)
        kept.settled_at = None
        kept.wanted_at = now
        kept.is_ahead = True
        if not was_unfinished:
            self._begin(kept)
            if before is not None and before.seq > kept.seq and not before.is_ahead:
                before.due_at = None  # It stands behind this one again.
        self._wait(kept)

    def take_away(self, kept: Kept) -> None:
        """Forget it."""
        self._count(kept, -1)
        self._count_also(kept.also, -1)
        del self.there[kept.id]
        kept.state = GONE
        kept.due_at = None
        self._let_next(kept.key)

    def find(self, state: str | None, after: str, count: int) -> list[Entry]:
        """Give heads, the newest first."""
        if after and after not in self.there:
            return []
        before = self.there[after].seq if after else inf
        orders = [order for name, order in self._in_state.items() if state in {None, name}]
        newest = merge(*(order.newest(before) for order in orders), key=lambda kept: -kept.seq)
        return [kept.shown(is_whole=False) for kept in islice(newest, count)]

    def next_due(self) -> float | None:
        """Give when something may be claimed."""
        first = self._due.first()
        return None if first is None else first[0]

    def tally(self) -> Tally:
        """Count."""
        oldest = self._unfinished.first()
        return Tally(dict(self.counts), self.bytes, None if oldest is None else oldest[1].created_at)

    def ended(self, state: str, before: float) -> Kept | None:
        """Give the one in a state that ended first, if it did by `before`."""
        row = self._settled.get(state)
        first = None if row is None else row.first()
        return first[1] if first is not None and first[0] <= before else None

    def _count(self, kept: Kept, by: int) -> None:
        self.counts[kept.state] = self.counts.get(kept.state, 0) + by
        assert self.counts[kept.state] >= 0
        if kept.is_unfinished:
            self.bytes += by * kept.size

    def _count_also(self, name: str, by: int) -> None:
        if name:
            self._also[name] = self._also.get(name, 0) + by
            if not self._also[name]:
                del self._also[name]

    def _put_in(self, kept: Kept) -> None:
        state = kept.state
        if state not in self._in_state:
            self._in_state[state] = Order(partial(_is_in, state))
        self._in_state[state].add(kept)

    def _change(self, kept: Kept, state: str) -> None:
        self._count(kept, -1)
        kept.state = state
        self._count(kept, 1)
        self._put_in(kept)

    def _begin(self, kept: Kept) -> None:
        """Have it among the unfinished ones."""
        self._unfinished.push(kept.seq, kept)
        if kept.key:
            if kept.key not in self._of_key:
                self._of_key[kept.key] = Heap(lambda _, kept: kept.is_unfinished)
            self._of_key[kept.key].push(kept.seq, kept)

    def _first(self, key: str) -> Kept | None:
        """Give the first unfinished one of a key."""
        first = self._of_key[key].first() if key in self._of_key else None
        if first is None:
            self._of_key.pop(key, None)
            return None
        return first[1]

    def _wait(self, kept: Kept) -> None:
        """Have it due when it wants to be, or stand behind another."""
        is_due = not kept.key or kept.is_ahead or self._first(kept.key) is kept
        kept.due_at = kept.wanted_at if is_due else None
        if kept.due_at is not None:
            self._due.push(kept.due_at, kept)

    def _end(self, kept: Kept, state: str, now: float) -> None:
        was_unfinished = kept.is_unfinished
        self._change(kept, state)
        kept.due_at = None
        kept.is_ahead = False
        if was_unfinished:
            kept.settled_at = now
        assert kept.settled_at is not None
        if state not in self._settled:
            self._settled[state] = Heap(lambda rank, kept: kept.settled_at == rank and kept.state == state)
        self._settled[state].push(kept.settled_at, kept)
        if was_unfinished:
            self._let_next(kept.key)

    def _let_next(self, key: str) -> None:
        """Have the first of a key due, if it waits behind nobody now."""
        first = self._first(key) if key else None
        if first is not None and first.state == WAITING and first.due_at is None:
            self._wait(first)


def _is_in(state: str, kept: Kept) -> bool:
    return kept.state == state
