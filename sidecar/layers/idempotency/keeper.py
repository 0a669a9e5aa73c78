"""Keeper: the records of one service's calls with keys, and which of these calls are under way in this process.

A claim is written where nothing is, with a life that ends a little after the call's deadline: one that a killed pod
left behind is gone then by itself. Writing goes on when the app hangs up in the middle of it. A store that is away or
full keeps no call from going on; it goes on without a record, and calls at the same time in this process are told
apart all the same.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sidecar.core.clock import Clock
from sidecar.core.tasks import Tasks
from sidecar.layers.idempotency.record import Entry, decode, encode
from sidecar.store.base import Store, StoreFailed, StoreFull

CLAIM_TRIES = 5  # How often a record may vanish while it is looked at; then its call is taken to be under way.
TELL_EVERY = 60.0  # Seconds between two lines about a store that fails.
CLOSE_MAX = 5.0  # Seconds for what is being written as the process ends; then it is given up.


class Holding:
    """A call that is under way in this process, or asks the store whether it may be."""

    __slots__ = ("asked", "name", "over", "own", "payload", "version")

    def __init__(self, name: str, payload: bytes, own: Sequence[bytes] = ()) -> None:
        self.name = name
        self.payload = payload
        self.own = own  # The app's own credentials: an answer that repeats one is not written down.
        self.version: int | None = None  # Of the record; None: there is none of ours.
        self.asked = asyncio.Event()  # The store has answered.
        self.over = asyncio.Event()


class Keeper:
    """One service's. There are no more holdings than calls in this pod, which admission bounds."""

    def __init__(
        self,
        service: str,
        store: Store,
        clock: Clock,
        tell: Callable[..., None],
        count: Callable[[str], None],
        holds_secret: Callable[[bytes], bool],
    ) -> None:
        self._service = service
        self._store = store  # It opens after this is made; its records are there then.
        self._clock = clock
        self._tell = tell
        self._holds_secret = holds_secret
        self.count = count  # Called with what became of a call.
        self._tasks = Tasks()
        self._held: dict[str, Holding] = {}
        self._told_at = float("-inf")

    def snapshot(self) -> dict[str, Any]:
        """Show what is under way, for people."""
        return {"under_way": len(self._held), "writing": len(self._tasks)}

    async def close(self) -> None:
        """Finish what is being written, as the process ends."""
        await self._tasks.wait(CLOSE_MAX)
        await self._tasks.stop()

    # What is under way here.

    def held(self, name: str) -> Holding | None:
        """Give the call of this name that is under way in this process."""
        return self._held.get(name)

    def hold(self, name: str, payload: bytes, own: Sequence[bytes] = ()) -> Holding:
        """Begin a call."""
        assert name not in self._held, "one call of a name at a time"
        holding = self._held[name] = Holding(name, payload, own)
        return holding

    def let_go(self, holding: Holding) -> None:
        """End a call here, whatever its record says; who waits for it looks again."""
        if self._held.get(holding.name) is holding:
            del self._held[holding.name]
        holding.asked.set()
        holding.over.set()

    # Its record.

    async def claim(self, holding: Holding, life: float) -> Entry | None:
        """Claim the name for `life` seconds, and give None; or what is there.

        None, too, where the store fails. A caller that goes away leaves nothing behind.
        """
        work = self._tasks.spawn(self._claim(holding, life), "idempotency claim")
        try:
            return await asyncio.shield(work)
        except BaseException:
            self._tasks.spawn(self._give_up(holding, work), "idempotency release")
            raise

    async def keep(self, holding: Holding, entry: Entry, life: float, *, is_last: bool = True) -> None:
        """Write what became of the call over its claim; the last one ends it here."""
        await asyncio.shield(self.begin_to_keep(holding, entry, life, is_last=is_last))

    def begin_to_keep(
        self, holding: Holding, entry: Entry, life: float, *, is_last: bool = True
    ) -> "asyncio.Task[None]":
        """Write it without waiting."""
        return self._tasks.spawn(self._keep(holding, entry, life, is_last=is_last), "idempotency record")

    async def release(self, holding: Holding) -> None:
        """Take the claim away: the same call may be made again."""
        await asyncio.shield(self.begin_to_release(holding))

    def begin_to_release(self, holding: Holding) -> "asyncio.Task[None]":
        """Take it away without waiting."""
        return self._tasks.spawn(self._give_up(holding), "idempotency release")

    # In tasks of its own.

    async def _claim(self, holding: Holding, life: float) -> Entry | None:
        claim = Entry(holding.payload)
        try:
            for _ in range(CLAIM_TRIES):
                holding.version = await self._store.records.put(holding.name, encode(claim), life, over=0)
                if holding.version is not None:
                    return None
                record = await self._store.records.get(holding.name)
                if record is not None:
                    return decode(record.value)
        except (StoreFailed, msgspec.DecodeError) as error:
            self._failed(error)
            return None
        return claim

    async def _keep(self, holding: Holding, entry: Entry, life: float, *, is_last: bool) -> None:
        try:
            if holding.version is not None:
                await self._write(holding, entry, life)
        except StoreFailed as error:
            self._failed(error)
        finally:
            if is_last:
                self.let_go(holding)

    async def _write(self, holding: Holding, entry: Entry, life: float) -> None:
        try:
            is_kept = await self._put(holding, entry, life)
        except StoreFull:
            if entry.answer is None:
                raise
            # There is no room for the answer; that the vendor did it takes no more than the claim does.
            entry = Entry(entry.payload, entry.status)
            is_kept = await self._put(holding, entry, life)
        if is_kept:
            self.count("kept" if entry.answer is not None else "marked")

    async def _put(self, holding: Holding, entry: Entry, life: float) -> bool:
        assert holding.version is not None, "there is a claim"
        name, value = holding.name, encode(entry)
        if entry.answer is not None and (self._holds_secret(value) or any(own in value for own in holding.own)):
            # The vendor repeated a credential. That the call was done is kept, and what was said is not.
            value = encode(Entry(entry.payload, entry.status))
        version = await self._store.records.put(name, value, life, over=holding.version)
        if version is None:  # The claim has ended, or a store that failed over has lost it.
            version = await self._store.records.put(name, value, life, over=0)
        holding.version = version or holding.version
        return version is not None

    async def _give_up(self, holding: Holding, work: "asyncio.Task[Any] | None" = None) -> None:
        try:
            if work is not None:
                await asyncio.wait([work])
            if holding.version is not None:
                await self._store.records.delete(holding.name, version=holding.version)
        except StoreFailed as error:
            self._failed(error)
        finally:
            self.let_go(holding)

    def _failed(self, error: Exception) -> None:
        self.count("store_failed")
        now = self._clock.now()
        if now >= self._told_at + TELL_EVERY:
            self._told_at = now
            sentence = str(error) if isinstance(error, StoreFailed) else "a record cannot be read"
            self._tell("warning", "idempotency_store_failed", service=self._service, error=sentence)
