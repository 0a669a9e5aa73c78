"""The backlog in memory: nothing of it outlives the process, so a claim ends with it."""

from collections.abc import Collection, Sequence

from sidecar.core.clock import Clock
from sidecar.store.backlog import Bounds, Entry, NewEntry, Settlement, Tally, crowding, distinct
from sidecar.store.base import StoreFull
from sidecar.store.memory_line import MemoryLine, cost
from sidecar.store.memory_room import Room
from sidecar.store.steady import Steady


class MemoryBacklog:
    """Lines by name; they share the store's room with all else that is in it."""

    def __init__(self, room: Room, clock: Clock) -> None:
        self._room = room
        self._time = Steady(clock)
        self._lines: dict[str, MemoryLine] = {}

    async def append(self, line: str, entries: Sequence[NewEntry], bounds: Bounds) -> set[str]:
        """Append all of them, or none."""
        lined = self._line(line)
        new = [entry for entry in distinct(entries) if not lined.knows(entry)]
        if new:
            size = lined.bytes + sum(entry.size for entry in new)
            full = crowding(line, bounds, lined.length + len(new), size)
            if full:
                raise StoreFull(full)
            needed = sum(map(cost, new))
            self._room.clear_for(needed)
            self._room.take(needed)
        now = self._time.now()
        if new:
            self._lines[line] = lined
        for entry in new:
            lined.append(entry, now)
        return {entry.id for entry in entries} - {entry.id for entry in new}

    async def claim(self, line: str, holder: str, count: int, seconds: float) -> list[Entry]:  # noqa: ARG002 - for good
        """Claim what is due, until it is settled."""
        return self._line(line).claim(holder, count, self._time.now())

    async def keep(self, line: str, ids: Collection[str], holder: str, seconds: float) -> set[str]:  # noqa: ARG002
        """Say which of them are this holder's."""
        lined = self._line(line)
        return {name for name in ids if lined.held(name, holder) is not None}

    async def settle(self, line: str, name: str, holder: str, settlement: Settlement) -> bool:
        """End a claim. Raises StoreFull where the store has no room for what it leaves."""
        lined = self._line(line)
        kept = lined.held(name, holder)
        if kept is None:
            return False
        more = -len(kept.body) if settlement.frees_body else 0
        more += 0 if settlement.head is None else len(settlement.head) - len(kept.head)
        more += 0 if settlement.result is None else len(settlement.result) - len(kept.result)
        self._room.clear_for(more)
        self._room.take(more)
        lined.settle(kept, settlement, self._time.now())
        return True

    async def get(self, line: str, name: str) -> Entry | None:
        """Give one, whole."""
        kept = self._line(line).there.get(name)
        return None if kept is None else kept.shown(is_whole=True)

    async def states(self, line: str, ids: Sequence[str]) -> list[str]:
        """Give the state of each."""
        there = self._line(line).there
        return [there[name].state if name in there else "" for name in ids]

    async def find(self, line: str, state: str | None, after: str, count: int) -> list[Entry]:
        """Give heads, the newest first."""
        return self._line(line).find(state, after, count)

    async def move(self, line: str, name: str, states: Collection[str], to: str) -> bool:
        """Bring one to another state."""
        lined = self._line(line)
        kept = lined.movable(name, states)
        if kept is not None:
            lined.move(kept, to, self._time.now())
        return kept is not None

    async def discard(self, line: str, name: str, states: Collection[str]) -> bool:
        """Take one away."""
        lined = self._line(line)
        kept = lined.movable(name, states)
        if kept is not None:
            self._room.take(-cost(kept))
            lined.take_away(kept)
        return kept is not None

    async def next_due(self, line: str) -> float | None:
        """Give the seconds until something may be claimed."""
        due_at = self._line(line).next_due()
        return None if due_at is None else max(0.0, due_at - self._time.now())

    async def tally(self, line: str) -> Tally:
        """Count."""
        return self._line(line).tally()

    async def purge(self, line: str, state: str, older_than: float, count: int) -> int:
        """Take away what ended long ago."""
        lined = self._line(line)
        before = self._time.now() - older_than
        taken = 0
        while taken < count and (kept := lined.ended(state, before)) is not None:
            self._room.take(-cost(kept))
            lined.take_away(kept)
            taken += 1
        return taken

    def _line(self, line: str) -> MemoryLine:
        """Give a line. One that never had an entry is none: whoever asks for it leaves nothing behind."""
        return self._lines.get(line) or MemoryLine()
