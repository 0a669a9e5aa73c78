"""The backlog over two: the shared one, and a local file that takes what is appended while the shared one is away.

An entry stays on the side that took it, until it has ended and is purged. Only this process sees the local side, so it
claims from there first: nobody else would do that work. A side that fails hides nothing of the other's.

A line that has held nothing locally since the file was opened is never asked for there: without an outage this costs
nothing.
"""

import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from math import inf
from typing import NamedTuple, TypeVar

from sidecar.core.clock import Clock
from sidecar.core.tasks import Tasks
from sidecar.store.backlog import WAITING, Backlog, Bounds, Entry, NewEntry, Settlement, Tally
from sidecar.store.base import StoreDown, StoreFailed, StoreFull
from sidecar.store.sqlite.backlog import SqliteBacklog

T = TypeVar("T")

CLOSE_SECONDS = 5.0  # For claims that are being given back.


class _Claim(NamedTuple):
    """Of one of this process's workers."""

    is_local: bool
    holder: str
    ends_at: float  # By our clock. A local one ends with the process; so many there are as run.


class FallbackBacklog:
    """Appends go to `shared`, and to `local` while that is away; all else knows both."""

    def __init__(self, shared: Backlog, local: SqliteBacklog, clock: Clock) -> None:
        self._shared = shared
        self._local = local
        self._clock = clock
        self._used: set[str] = set()  # Lines that have held something locally.
        self._claims: dict[tuple[str, str], _Claim] = {}  # By line and id.
        self._tasks = Tasks()

    async def open(self) -> None:
        """See what an earlier process left in the file. Raises StoreFailed."""
        self._used |= await self._local.lines()

    async def close(self) -> None:
        """Finish giving back what nobody works on."""
        await self._tasks.wait(CLOSE_SECONDS)
        await self._tasks.stop()

    async def append(self, line: str, entries: Sequence[NewEntry], bounds: Bounds) -> set[str]:
        """Append all of them, or none. Those that are there locally stay there; the bounds count on each side alone.

        What the shared side was asked and did not answer it may have stored all the same: then it is on both sides.
        """
        there: set[str] = set()
        if line in self._used:
            with contextlib.suppress(StoreFailed):  # A broken disk does not keep the shared side from being used.
                there = await self._local.known(line, entries)
        rest = [entry for entry in entries if entry.id not in there]
        if there and not rest:
            return there
        try:
            return there | await self._shared.append(line, rest, bounds)
        except StoreDown as down:
            away = down
        self._used.add(line)
        try:
            return there | await self._local.append(line, rest, bounds)
        except StoreFull:
            raise
        except StoreFailed as failed:
            raise StoreDown(f"{away}; nor does its fallback take it: {failed}") from None

    async def claim(self, line: str, holder: str, count: int, seconds: float) -> list[Entry]:
        """Claim what is due locally, or else what is due for all pods; never from both at once.

        So nothing that was claimed on one side is held up, or lost to a cancellation, by waiting for the other.
        """
        failed: StoreFailed | None = None
        is_used = line in self._used
        if is_used:
            try:
                claimed = await self._local.claim(line, holder, count, seconds)
            except StoreFailed as error:
                failed = error
            else:
                if ours := self._take(line, holder, claimed, seconds, is_local=True):
                    return ours
        try:
            claimed = await self._shared.claim(line, holder, count, seconds)
        except StoreFailed:
            if not is_used or failed is not None:
                raise
            return []
        return self._take(line, holder, claimed, seconds, is_local=False)

    async def keep(self, line: str, ids: Collection[str], holder: str, seconds: float) -> set[str]:
        """Keep claims. The local ones last as long as the process, whatever the shared side answers."""
        ours = [name for name in ids if self._is_local(line, name)]
        theirs = [name for name in ids if not self._is_local(line, name)]
        for name in theirs:  # Worked on here for longer, even if the shared side does not hear of it.
            claim = self._claims.get((line, name))
            if claim is not None and claim.holder == holder:
                self._claims[line, name] = claim._replace(ends_at=self._clock.now() + seconds)
        kept = await self._shared.keep(line, theirs, holder, seconds) if theirs else set()
        return kept | await self._local.keep(line, ours, holder, seconds) if ours else kept

    async def settle(self, line: str, name: str, holder: str, settlement: Settlement) -> bool:
        """End a claim, on the side where it was made."""
        side: Backlog = self._local if self._is_local(line, name) else self._shared
        is_settled = await side.settle(line, name, holder, settlement)
        claim = self._claims.get((line, name))
        if claim is not None and claim.holder == holder:
            del self._claims[line, name]
        return is_settled

    async def get(self, line: str, name: str) -> Entry | None:
        """Give one. While the shared side is away, what is not there locally is not known: StoreDown."""
        failed: StoreFailed | None = None
        if line in self._used:
            try:
                if (entry := await self._local.get(line, name)) is not None:
                    return entry
            except StoreFailed as error:
                failed = error
        entry = await self._shared.get(line, name)
        if entry is None and failed is not None:
            raise failed
        return entry

    async def states(self, line: str, ids: Sequence[str]) -> list[str]:
        """Give the state of each. While the shared side is away, what is not there locally is not known: StoreDown."""
        failed: StoreFailed | None = None
        found = [""] * len(ids)
        if line in self._used:
            try:
                found = await self._local.states(line, ids)
            except StoreFailed as error:
                failed = error
        rest = [name for name, state in zip(ids, found, strict=True) if not state]
        theirs = dict(zip(rest, await self._shared.states(line, rest), strict=True)) if rest else {}
        if failed is not None and not all(theirs.values()):
            raise failed
        return [state or theirs[name] for name, state in zip(ids, found, strict=True)]

    async def find(self, line: str, state: str | None, after: str, count: int) -> list[Entry]:
        """Give heads: the local ones, newest first, then the shared ones. Of an id on both sides the local one.

        While one side fails the list is that of the other; only what cannot begin at its `after` fails.
        """
        if line not in self._used:
            return await self._shared.find(line, state, after, count)
        found: list[Entry] = []
        is_known = False
        with contextlib.suppress(StoreFailed):
            if not after or await self._held_locally(line, [after]):
                found = await self._local.find(line, state, after, count)
                is_known, after = True, ""
        try:
            while len(found) < count and (page := await self._shared.find(line, state, after, count - len(found))):
                after = page[-1].id
                there = await self._known_locally(line, [entry.id for entry in page])
                found += [entry for entry in page if entry.id not in there]
        except StoreFailed:
            if not is_known:
                raise
        return found

    async def move(self, line: str, name: str, states: Collection[str], to: str) -> bool:
        """Bring one to another state, where it is in one of `states`."""
        return await self._change(line, name, lambda side: side.move(line, name, states, to))

    async def discard(self, line: str, name: str, states: Collection[str]) -> bool:
        """Take one away, where it is in one of `states`."""
        return await self._change(line, name, lambda side: side.discard(line, name, states))

    async def next_due(self, line: str) -> float | None:
        """Give the seconds until something may be claimed on either side."""
        times = await self._each(line, lambda side: side.next_due(line))
        return min((time for time in times if time is not None), default=None)

    async def tally(self, line: str) -> Tally:
        """Count both sides, or the one that answers."""
        states: dict[str, int] = {}
        tallies = await self._each(line, lambda side: side.tally(line))
        for tally in tallies:
            for state, entries in tally.states.items():
                states[state] = states.get(state, 0) + entries
        oldest = [tally.oldest_at for tally in tallies if tally.oldest_at is not None]
        return Tally(states, sum(tally.bytes for tally in tallies), min(oldest, default=None))

    async def purge(self, line: str, state: str, older_than: float, count: int) -> int:
        """Take away what ended long ago on either side."""
        taken = 0

        async def purge(side: Backlog) -> None:
            nonlocal taken
            if taken < count:
                taken += await side.purge(line, state, older_than, count - taken)

        await self._each(line, purge)
        return taken

    async def _each(self, line: str, ask: Callable[[Backlog], Awaitable[T]]) -> list[T]:
        """Ask each side, and give what was answered. Raises StoreFailed if nothing was."""
        sides: list[Backlog] = [self._local, self._shared] if line in self._used else [self._shared]
        answers: list[T] = []
        failed = StoreFailed()
        for side in sides:
            try:
                answers.append(await ask(side))
            except StoreFailed as error:
                failed = error
        if not answers:
            raise failed
        return answers

    async def _change(self, line: str, name: str, change: Callable[[Backlog], Awaitable[bool]]) -> bool:
        is_local, failed = False, None
        try:
            is_local = bool(await self._held_locally(line, [name]))
            if is_local and await change(self._local):
                return True
        except StoreFailed as error:
            failed = error
        try:
            is_changed = await change(self._shared)
        except StoreFailed:
            if is_local and failed is None:  # What is known of it says no.
                return False
            raise
        if failed is not None and not is_changed:
            raise failed
        return is_changed

    async def _held_locally(self, line: str, ids: Collection[str]) -> set[str]:
        return await self._local.there(line, ids) if line in self._used else set()

    async def _known_locally(self, line: str, ids: Collection[str]) -> set[str]:
        """Give those that are known to be there: a broken disk does not keep the shared side from being used."""
        with contextlib.suppress(StoreFailed):
            return await self._held_locally(line, ids)
        return set()

    def _is_local(self, line: str, name: str) -> bool:
        claim = self._claims.get((line, name))
        return claim is not None and claim.is_local

    def _take(self, line: str, holder: str, claimed: Sequence[Entry], seconds: float, *, is_local: bool) -> list[Entry]:
        """Remember on which side these are. An id that is worked on here from the other side waits meanwhile."""
        now = self._clock.now()
        self._claims = {key: claim for key, claim in self._claims.items() if claim.ends_at > now}
        taken = []
        for entry in claimed:
            other = self._claims.get((line, entry.id))
            if other is not None and other.is_local != is_local:
                side: Backlog = self._local if is_local else self._shared
                self._tasks.spawn(_give_back(side, line, entry.id, holder, seconds), "store")
                continue
            self._claims[line, entry.id] = _Claim(is_local, holder, inf if is_local else now + seconds)
            taken.append(entry)
        return taken


async def _give_back(side: Backlog, line: str, name: str, holder: str, seconds: float) -> None:
    """Have it wait; if that fails, until its claim ends: by time (Valkey), or with this process (SQLite)."""
    with contextlib.suppress(StoreFailed):
        await side.settle(line, name, holder, Settlement(WAITING, seconds))
