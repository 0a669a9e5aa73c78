"""The store that is memory: nothing outlives the process, and no other pod sees it."""

import heapq
from typing import Any

from sidecar.core.clock import Clock
from sidecar.store.base import Record
from sidecar.store.config import StoreConfig
from sidecar.store.local_leases import LocalLeases
from sidecar.store.local_permits import LocalPermits
from sidecar.store.memory_backlog import MemoryBacklog
from sidecar.store.memory_room import Room

RECORD_BYTES = 300  # What a record costs beside its key and value, about.
ENDED_TAKEN = 4  # Records that have ended, taken away with each write: more than it adds, so none pile up.


class MemoryRecords:
    """Values under keys, in a dict."""

    def __init__(self, room: Room, clock: Clock) -> None:
        self._room = room
        self._clock = clock
        self._there: dict[str, tuple[bytes, int, float]] = {}  # Value, version, end.
        self._ends: list[tuple[float, str]] = []  # A heap; a record that was written anew has an old entry, too.
        self._version = 0
        room.clearing.append(self._clear_all)

    async def get(self, key: str) -> Record | None:
        """Give what is there and has not ended."""
        return self._read(key)

    async def put(self, key: str, value: bytes, life: float, *, over: int | None = None) -> int | None:
        """Write, where `over` is what is there. Full: StoreFull, and what is there stays."""
        there = self._read(key)
        if over is not None and over != (0 if there is None else there.version):
            return None
        now = self._clock.now()
        cost = _cost(key, value)
        self._clear(now, ENDED_TAKEN)
        self._room.clear_for(cost)
        before = _cost(key, self._there[key][0]) if key in self._there else 0
        self._room.take(cost - before)
        self._version += 1
        self._there[key] = (value, self._version, now + life)
        heapq.heappush(self._ends, (now + life, key))
        return self._version

    async def delete(self, key: str, *, version: int | None = None) -> bool:
        """Take away what is there."""
        there = self._read(key)
        if there is None or version not in {None, there.version}:
            return False
        self._take_away(key)
        return True

    def _read(self, key: str) -> Record | None:
        value, version, ends_at = self._there.get(key, (b"", 0, 0.0))
        left = ends_at - self._clock.now()
        return Record(value, version, left) if left > 0 else None

    def _clear_all(self) -> None:
        self._clear(self._clock.now(), len(self._ends))

    def _clear(self, now: float, count: int) -> None:
        """Take away up to `count` that have ended."""
        ends = self._ends
        while ends and ends[0][0] <= now and count > 0:
            _, key = heapq.heappop(ends)
            if key in self._there and self._there[key][2] <= now:
                self._take_away(key)
            count -= 1
        if len(ends) > 2 * len(self._there) + 64:  # Old entries of what was written anew.
            self._ends = [(there[2], key) for key, there in self._there.items()]
            heapq.heapify(self._ends)

    def _take_away(self, key: str) -> None:
        self._room.take(-_cost(key, self._there.pop(key)[0]))


def _cost(key: str, value: bytes) -> int:
    return RECORD_BYTES + len(key) + len(value)


class MemoryStore:
    """All in this process."""

    is_shared = False
    is_durable = False
    is_up = True

    def __init__(self, config: StoreConfig, clock: Clock) -> None:
        self._room = Room(config.bytes_max)
        self.records = MemoryRecords(self._room, clock)
        self.backlog = MemoryBacklog(self._room, clock)
        self.leases = LocalLeases(clock)
        self.permits = LocalPermits(clock)

    async def open(self) -> None:
        """Begin with nothing."""

    async def close(self) -> None:
        """Forget all."""

    def snapshot(self) -> dict[str, Any]:
        """Show how it stands."""
        return {"kind": "memory", "up": True, "used_bytes": self._room.used_bytes}
