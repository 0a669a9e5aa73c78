"""Base: what every store can do; one protocol, so that nobody who uses it cares which one it is.

All lengths of time are seconds from now: the store's own clock decides when something ends, so pods whose clocks differ
agree all the same.
"""

from typing import Any, NamedTuple, Protocol

from sidecar.store.backlog import Backlog


class StoreFailed(Exception):
    """The store cannot do what it is asked; nothing was written. The sentence names the store and the reason."""

    key = ""  # Of `[store]`, that the reason lies in; "" where that is not known.


class StoreDown(StoreFailed):
    """The store is not reached, or not able to answer; it heals by itself, or says what a person has to do."""


class StoreFull(StoreFailed):
    """There is no room: the bound of the store, its memory or its disk is reached."""


class Record(NamedTuple):
    """A value as it is stored."""

    value: bytes
    version: int  # Above 0; a later write has a greater one.
    left: float  # Seconds until it ends.

    def __repr__(self) -> str:
        return f"Record(*** {len(self.value)} bytes, version={self.version}, left={self.left:.1f})"


class Records(Protocol):
    """Values under keys, each with an end."""

    async def get(self, key: str) -> Record | None:
        """Give what is there and has not ended. Raises StoreFailed."""

    async def put(self, key: str, value: bytes, life: float, *, over: int | None = None) -> int | None:
        """Write for `life` seconds, and give the version.

        With `over` only where that version is the one that is there, 0 where nothing is; None says that another was
        first. Raises StoreFailed.
        """

    async def delete(self, key: str, *, version: int | None = None) -> bool:
        """Take away what is there, or only that version of it; say whether it was there. Raises StoreFailed."""


class Leases(Protocol):
    """Claims with an end: one holder at a time."""

    async def take(self, name: str, holder: str, seconds: float) -> float:
        """Take a free lease, or keep one's own for `seconds` more.

        Gives 0.0 when it is the holder's now, else the seconds until the other's ends. Raises StoreFailed.
        """

    async def give_back(self, name: str, holder: str) -> None:
        """Let go of one's own; another's stays. Raises StoreFailed."""


class Wanted(NamedTuple):
    """What one pod wants of a limit that the fleet shares, and what it holds of it now."""

    pod: str
    serial: int  # Of the last block that it has; 0: it has none.
    rate: float  # The limit: permits a second over all pods, ...
    burst: float  # ... and so many at once beside it.
    quotas: tuple[tuple[float, float], ...]  # Longer windows that hold, too: count and seconds of each.
    use: float  # Permits a second that it has use for. Below 0: it has none any more, and gives all back.
    need: float  # Permits that it has use for at once.
    permits: float  # Of the quotas, for the length of the block.
    least: float  # Of these; with fewer nothing can be done.
    level: float  # Permits in hand that were there to be spent at once, below 0 in debt; ...
    held: float  # ... of the quotas, unspent; ...
    back: float  # ... and those that come back.
    spent: float  # Of the quotas, while the store was away.
    span: float  # Seconds that the block shall last.
    fair: float  # Permits a second, and ...
    fair_burst: float  # ... at once, that it takes while it is not known who else is there.
    away: float  # Seconds since the store first did not answer; 0 when it did.


class Block(NamedTuple):
    """Permits that one pod may spend: from its asking on, at a pace of its own. All lengths are from now."""

    serial: int
    rate: float  # Permits a second; 0: none are free.
    burst: float  # Never more in hand than these.
    level: float  # Added at once to those in hand.
    permits: float  # Of the quotas in hand: with those that were unspent when it asked.
    span: float  # Seconds after its asking, none of it is good any more.
    again: float  # When to ask again.
    share: float  # The pace that it will have, when those who have more than their share have asked again.
    is_full: bool  # All together have use for more than there is.
    pods: int  # That have use for the limit.
    used: float  # Share of the rate that they use, 0 to 1.
    left: tuple[float, ...]  # Of each quota.
    closed: tuple[tuple[str, float], ...]  # What the vendor closed, and for how many seconds; "" is all of it.


class Permits(Protocol):
    """Limits that a fleet shares. Each pod holds a block of permits, and all together never exceed the limit."""

    async def lease(self, limit: str, wanted: Wanted) -> Block:
        """Give a block in place of the one that the pod has. Raises StoreFailed."""

    async def close(self, limit: str, part: str, seconds: float) -> None:
        """Tell all pods that the vendor closed a part of its API; "" is all of it. Raises StoreFailed."""


class Store(Protocol):
    """One store, for the life of the process."""

    @property
    def records(self) -> Records:
        """Values under keys."""

    @property
    def leases(self) -> Leases:
        """Claims with an end."""

    @property
    def backlog(self) -> Backlog:
        """Entries that wait to be worked off."""

    @property
    def permits(self) -> Permits:
        """Limits that a fleet shares."""

    @property
    def is_shared(self) -> bool:
        """Whether other pods see the same."""

    @property
    def is_durable(self) -> bool:
        """Whether what it acknowledged outlives the process."""

    @property
    def is_up(self) -> bool:
        """Whether it answered last."""

    async def open(self) -> None:
        """Begin. Raises StoreFailed where it can never work as it is configured."""

    async def close(self) -> None:
        """End; what is under way is finished first."""

    def snapshot(self) -> dict[str, Any]:
        """Show for people what it is and how it stands."""
