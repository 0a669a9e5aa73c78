"""Register: which batches were acknowledged; only their items are made.

The items of a batch are stored many at once, not all in one step, and the answer to the app comes after the last. So a
batch has a record: open while its items are being stored, accepted by one write when all are there. An item of a batch
that has none was never acknowledged: its process was killed in the middle, or the request did not come to its end.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import msgspec

from sidecar.core.clock import Clock
from sidecar.layers.defer.config import QueueConfig
from sidecar.store.base import Store, StoreDown, StoreFailed

OPEN_LIFE = 60.0  # Seconds that a batch is open without a word from its process; then it was not accepted.
RENEW_EVERY = 15.0
KNOWN_MAX = 1_000  # Accepted batches that are remembered. Full: that not asked for longest is looked up again.

Standing = Literal["accepted", "open", "unknown"]


class BatchRecord(msgspec.Struct, array_like=True):
    """What is stored of a batch beside its items."""

    service: str
    created_at: float  # Unix seconds.
    count: int = 0  # Items.
    is_open: bool = True


_decode = msgspec.msgpack.Decoder(BatchRecord).decode
_encode = msgspec.msgpack.Encoder().encode


def life_of(config: QueueConfig) -> float:
    """Give the seconds for which a batch can be asked about: until the last of its items may have ended, and on."""
    return float(config.age_max) + float(config.keep_for)


class Register:
    """The records of batches in the store. All raise StoreFailed."""

    def __init__(self, store: Callable[[], Store], clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[str, None] = OrderedDict()

    async def open(self, name: str, service: str) -> "Opening":
        """Begin a batch."""
        opening = Opening(self._store, name, BatchRecord(service, self._clock.wall()), self._clock)
        await opening.begin()
        return opening

    async def find(self, name: str) -> BatchRecord | None:
        """Give the record of a batch that was accepted."""
        found = await self._store().records.get(_key(name))
        record = None if found is None else _decode(found.value)
        return None if record is None or record.is_open else record

    async def standing(self, name: str) -> Standing:
        """Say how a batch stands; what was accepted once stays so."""
        if name in self._known:
            self._known.move_to_end(name)
            return "accepted"
        found = await self._store().records.get(_key(name))
        if found is None:
            return "unknown"
        if _decode(found.value).is_open:
            return "open"
        self._known[name] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return "accepted"


class Opening:
    """A batch whose items are being stored."""

    def __init__(self, store: Callable[[], Store], name: str, record: BatchRecord, clock: Clock) -> None:
        self._store = store
        self._key = _key(name)
        self._record = record
        self._clock = clock
        self._version = 0
        self._writing = asyncio.Lock()  # One write at a time, for each is over the version of the one before.

    async def begin(self) -> None:
        """Write that it is open. Raises StoreFailed."""
        await self._write(OPEN_LIFE)

    async def keep(self) -> None:
        """Keep it open, until this is cancelled."""
        while True:
            await self._clock.sleep(RENEW_EVERY)
            try:
                await self._write(OPEN_LIFE)
            except StoreFailed:  # Tried again while there is time; then it is not accepted.
                continue

    async def accept(self, count: int, life: float) -> BatchRecord:
        """Have it accepted: from now on its items are made. Raises StoreFailed."""
        self._record.count, self._record.is_open = count, False
        await self._write(life)
        return self._record

    async def drop(self) -> None:
        """Have it never accepted. Raises StoreFailed."""
        await self._store().records.delete(self._key)

    async def _write(self, life: float) -> None:
        async with self._writing:
            version = await self._store().records.put(self._key, _encode(self._record), life, over=self._version)
            if version is None:
                raise StoreDown("the store was away for too long while the batch was being stored")
            self._version = version


def _key(name: str) -> str:
    return f"batch:{name}"
