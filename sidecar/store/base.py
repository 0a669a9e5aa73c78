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
