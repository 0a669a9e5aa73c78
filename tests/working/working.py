"""What the tests of the worker share: a line in memory, turns that end as they are told, and time that stands still."""

import asyncio
from collections import Counter
from typing import Any

from sidecar.store.backlog import WAITING, Backlog, Bounds, Entry, NewEntry, Settlement
from sidecar.store.base import StoreDown, StoreFull
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from sidecar.working.verdict import Ended, Verdict
from sidecar.working.worker import Worker
from tests.kit.clock import ManualClock, settle

LINE = "crm"
ROOM = 2**20  # Bytes: there is no room for a longer result.
BOUNDS = Bounds(1000, 10**6)
DONE = Ended(Settlement("succeeded"), Verdict("answered"))


def later(delay: float, pause: float = 0.0) -> Ended:
    """End a turn for now; `pause`: nothing could be sent."""
    return Ended(Settlement(WAITING, delay), Verdict("put_off", delay, "x", pause))


class Turns:
    """Ends each turn as `ends` says, by the entry's id; those in `held` wait until they are let go."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.concurrency = 4
        self.begun: list[str] = []
        self.begun_at: list[float] = []
        self.ends: dict[str, list[Ended]] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.under_way = self.under_way_max = 0
        self.busy = False

    async def run(self, entry: Entry, age: float) -> Ended:
        """Make a turn."""
        assert age >= 0
        self.begun.append(entry.id)
        self.begun_at.append(self._clock.now())
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            if entry.id in self.held:
                await self.held[entry.id].wait()
            ends = self.ends.get(entry.id)
            return ends.pop(0) if ends else DONE
        finally:
            self.under_way -= 1

    def is_busy(self) -> bool:
        """Whether live calls wait."""
        return self.busy


class Pace:
    """Lets everybody through, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def acquire(self, amount: float = 1) -> None:
        """Let through."""
        self.asked += round(amount)


class Down:
    """A backlog that is away while `is_down`, or only for one question."""

    def __init__(self, inner: Backlog) -> None:
        self._inner = inner
        self.is_down = False
        self.refused = ""  # This question is not answered.
        self.is_slow = False  # Answers come some turns of the loop later, as from a thread or a server.
        self.slow_calls = 0
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        async def ask(*said: Any) -> Any:
            self.asked[name] += 1
            if name == "settle" and len(said[3].result or b"") > ROOM:
                raise StoreFull("the store is full")
            if self.is_down or name == self.refused:
                raise StoreDown("the store is away")
            if self.is_slow:
                await settle(10)
                self.slow_calls += 1
            return await getattr(self._inner, name)(*said)

        return ask


class Working:
    """A worker at a line."""

    def __init__(self, clock: ManualClock, holder: str = "pod", store: MemoryStore | None = None) -> None:
        self.clock = clock
        self.store = store or MemoryStore(StoreConfig(), clock)
        self.down = Down(self.store.backlog)
        self.turns = Turns(clock)
        self.pace = Pace()
        self.told: list[str] = []
        self.down_for_results = 0  # So many results cannot be left for the app.
        self.full_for_results = 0  # The same, since there is no room.
        self.ended: list[tuple[str, str]] = []
        self.worker = Worker(
            LINE, holder, lambda: self.down, self.turns, self.pace, clock, self._tell, self._note
        )  # fmt: skip

    async def add(self, *names: str, key: str = "", delay: float = 0.0) -> None:
        """Append jobs."""
        await self.store.backlog.append(LINE, [NewEntry(name, key, b"head", b"body", delay) for name in names], BOUNDS)
        self.worker.wake()

    async def state(self, name: str) -> str:
        """How a job stands."""
        entry = await self.store.backlog.get(LINE, name)
        return "gone" if entry is None else entry.state

    def _tell(self, level: str, msg: str, **_: object) -> None:
        self.told.append(f"{level} {msg}")

    async def _note(self, entry: Entry, ended: Ended) -> None:
        if self.down_for_results:
            self.down_for_results -= 1
            raise StoreDown("the store is away")
        if self.full_for_results:
            self.full_for_results -= 1
            raise StoreFull("the store is full")
        self.ended.append((entry.id, ended.settlement.state))
