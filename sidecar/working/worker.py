"""Worker: claims what is due in one line, as much as may run at once, and settles how each turn ended.

It yields: while live calls of the service wait, no job begins, for up to YIELD_MAX. It does not stampede: jobs begin at
a pace, and after a turn in which nothing could be sent (circuit open, rate limited) the line waits for as long as it
was told, and then tries a single one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Protocol

from sidecar.auth.oauth.pace import Pace
from sidecar.core.clock import Clock
from sidecar.core.tasks import Tasks
from sidecar.store.backlog import WAITING, Backlog, Entry, Settlement
from sidecar.store.base import StoreDown, StoreFailed, StoreFull
from sidecar.working.verdict import Ended

LEASE_SECONDS = 30.0  # Of a claim; kept up while its turn runs. A killed pod's jobs wait for this long.
KEEP_EVERY = 10.0
LOOK_EVERY = 1.0  # Seconds between two looks at a line in which something may be due; an idle one is looked at
LOOK_MAX = 10.0  # less and less often, up to this: for what other pods left. What this pod appends wakes it at once.
GIVE_BACK_MAX = 2.0  # Seconds for giving back what a stop cut off; a claim that is not given back ends by itself.
STORE_PAUSE = 1.0  # Seconds before the store is asked again after it failed.
YIELD_LOOK = 0.05  # Seconds between two looks whether live calls wait,
YIELD_MAX = 1.0  # for so long; then one job begins all the same: a queue that never moves helps nobody.
CLAIMED_MAX = 16  # Jobs in one claim: each is in memory with its body.


class Runs(Protocol):
    """Has a claimed entry done."""

    concurrency: int

    async def run(self, entry: Entry, age: float) -> Ended:
        """Do it, and say what becomes of it."""

    def is_busy(self) -> bool:
        """Whether live work waits for the same."""


class Worker:
    """Works one line off. `ended` is told of each entry that ended, before it is settled; `noun` is its word.

    Where a turn that can send nothing ends at once, one that goes on for over `trying_max` seconds is taken for sent.
    """

    def __init__(
        self,
        line: str,
        holder: str,
        backlog: Callable[[], Backlog],
        runs: Runs,
        pace: Pace,
        clock: Clock,
        tell: Callable[..., None],
        ended: Callable[[Entry, Ended], Awaitable[None]],
        noun: str = "job",
        trying_max: float = inf,
    ) -> None:
        self._line = line
        self._holder = holder
        self._backlog = backlog
        self.runs = runs
        self.pace = pace
        self._clock = clock
        self._tell = tell
        self._ended = ended
        self._noun = noun
        self._trying_max = trying_max
        self._tasks = Tasks()
        self._giving_back = Tasks()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._unsettled: set[str] = set()  # Of these: whose turns ended, and the store did not take it yet.
        self._woken = asyncio.Event()
        self._paused_until = 0.0
        self._is_trying = False  # The last turn could send nothing: one at a time until one does.
        self._is_stopping = False
        self._begun_at = 0.0  # The latest turn.
        self._idle_s = LOOK_EVERY

    def start(self) -> None:
        """Begin."""
        self._tasks.spawn(self._work(), f"queue {self._line}")
        self._tasks.spawn(self._keep(), f"leases of {self._line}")

    def wake(self) -> None:
        """Look at once: something was appended."""
        self._woken.set()

    async def stop(self, seconds: float) -> int:
        """Claim no more; let turns end within `seconds`, give the others back, and say how many these were."""
        self._is_stopping = True
        self._woken.set()
        turns = set(self._running.values())
        if turns and seconds > 0:
            await self._wait(turns, seconds)
        self.cut_short()
        if self._running:
            await asyncio.wait(set(self._running.values()))
        await self._giving_back.wait(GIVE_BACK_MAX)
        await self._giving_back.stop()
        await self._tasks.stop()
        return sum(turn.cancelled() for turn in turns)

    def cut_short(self) -> None:
        """Wait no longer for the turns under way."""
        for task in self._running.values():
            task.cancel()

    @property
    def running(self) -> int:
        """Turns under way in this pod."""
        return len(self._running)

    async def _wait(self, tasks: "set[asyncio.Task[None]]", seconds: float) -> None:
        with suppress(TimeoutError):
            async with self._clock.timeout_at(self._clock.now() + seconds):
                await asyncio.wait(tasks)

    async def _work(self) -> None:
        while not self._is_stopping:
            self._woken.clear()  # Before the look: what is appended while we look wakes us after it.
            try:
                is_idle = await self._claim()
                wait = await self._idle_for() if is_idle else 0.0
            except StoreFailed:  # The store's own line tells it.
                wait = STORE_PAUSE
            if wait > 0:
                await self._doze(wait)

    async def _claim(self) -> bool:
        """Claim and begin what there is room for; say whether there was nothing to do."""
        room = self._room()
        if room <= 0 or self._clock.now() < self._paused_until:
            return True
        await self._yield()
        entries = await self._backlog().claim(self._line, self._holder, min(room, CLAIMED_MAX), LEASE_SECONDS)
        for entry in entries:
            if entry.id in self._running:  # Its lease had ended, and is ours again: its turn goes on.
                continue
            self._begun_at = self._clock.now()
            self._running[entry.id] = task = self._tasks.spawn(self._turn(entry), f"{self._noun} of {self._line}")
            task.add_done_callback(partial(self._done, entry.id))
        return not entries

    def _room(self) -> int:
        """Say how many more may begin.

        What only waits to be settled leaves its place to another, so that what lies on a side of the store that is
        there goes on while the other is away. At most as many as may run at once do so: twice that is in memory, then.
        """
        if self._running and self._clock.now() - self._begun_at > self._trying_max:
            self._is_trying = False  # It found somebody, and they are slow: no reason for the others to wait.
        at_once = 1 if self._is_trying else self.runs.concurrency
        return at_once - len(self._running) + min(len(self._unsettled), at_once)

    async def _idle_for(self) -> float:
        """Say how long there is nothing to do, unless something wakes us."""
        if self._room() <= 0:
            return LOOK_EVERY  # An end of one of them wakes us.
        paused = self._paused_until - self._clock.now()
        if paused > 0:
            return paused
        due = await self._backlog().next_due(self._line)
        if due is not None:
            self._idle_s = LOOK_EVERY
            return min(max(due, 0.001), LOOK_EVERY)
        idle_s, self._idle_s = self._idle_s, min(LOOK_MAX, 2 * self._idle_s)
        return idle_s

    async def _doze(self, seconds: float) -> None:
        if self._is_stopping:
            return
        try:
            async with self._clock.timeout_at(self._clock.now() + seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _yield(self) -> None:
        until = self._clock.now() + YIELD_MAX
        while self.runs.is_busy() and self._clock.now() < until:
            await self._clock.sleep(YIELD_LOOK)

    async def _turn(self, entry: Entry) -> None:
        try:
            await self.pace.acquire()
            ended = await self.runs.run(entry, max(0.0, self._clock.wall() - entry.created_at))
        except asyncio.CancelledError:
            # We stop. The job is due at once, for whoever comes next; if it cannot be said, its lease ends by itself.
            self._giving_back.spawn(self._give_back(entry), f"giving back to {self._line}")
            raise
        self._learn(ended)
        await self._until_stored(entry, partial(self._ended, entry, ended))
        await self._until_stored(entry, partial(self._settle, entry, ended.settlement))

    def _learn(self, ended: Ended) -> None:
        verdict = ended.verdict
        if verdict.pause > 0:
            self._is_trying = True
            self._paused_until = max(self._paused_until, self._clock.now() + verdict.pause)
        elif verdict.event != "put_off":
            self._is_trying = False

    async def _until_stored(self, entry: Entry, store: Callable[[], Awaitable[None]]) -> None:
        """Store how a turn ended, and try until it is stored: what is not would be done once more."""
        while True:
            try:
                await store()
            except StoreFailed as failed:
                if entry.id in self._running and entry.id not in self._unsettled:
                    self._unsettled.add(entry.id)
                    self._woken.set()
                    if not isinstance(failed, StoreDown):  # Of which the store's own line tells.
                        self._warn("not_settled", entry, error=str(failed))
                await self._clock.sleep(STORE_PAUSE)
            else:
                return

    async def _settle(self, entry: Entry, settlement: Settlement) -> None:
        try:
            is_ours = await self._backlog().settle(self._line, entry.id, self._holder, settlement)
        except StoreFull as full:
            if not settlement.result:
                raise
            # That it was done matters more than what was said; nor is an earlier answer shown as this one.
            self._warn("answer_not_kept", entry, error=str(full))
            settlement = settlement._replace(result=b"")
            is_ours = await self._backlog().settle(self._line, entry.id, self._holder, settlement)
        if not is_ours:
            self._warn("claim_lost", entry)

    async def _give_back(self, entry: Entry) -> None:
        try:
            await self._settle(entry, Settlement(WAITING))
        except StoreFailed as failed:
            self._warn("not_settled", entry, error=str(failed))

    def _warn(self, what: str, entry: Entry, **fields: str) -> None:
        self._tell("warning", f"{self._noun}_{what}", **{self._noun: entry.id}, **fields)

    def _done(self, name: str, _: "asyncio.Task[None]") -> None:
        self._running.pop(name, None)
        self._unsettled.discard(name)
        self._woken.set()

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(KEEP_EVERY)
            if self._running:
                try:
                    await self._backlog().keep(self._line, list(self._running), self._holder, LEASE_SECONDS)
                except StoreFailed:
                    continue
