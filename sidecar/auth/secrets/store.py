"""Store: what every secret store can do; one protocol, so that a service does not care where its secret lies."""

from typing import Protocol

from sidecar.core.secret import Secret


class StoreFailed(Exception):
    """A store could not give a value; the sentence names the store, the path and the reason, never a value."""


class SecretEnded(StoreFailed):
    """There is none now, and one that was read before is no credential any more, however young: its lease is over."""


class StoreConflict(StoreFailed):
    """Somebody else wrote in between; read again."""


class SecretStore(Protocol):
    """A place of stored material."""

    poll_s: float  # Seconds between two questions whether something changed.
    stale_max: float  # Seconds for which a value is used that the store could not confirm.

    async def fetch(self, path: str) -> Secret:
        """Read the value at `path` as it is now. Raises StoreFailed."""

    async def has_changed(self, path: str, version: str) -> bool:
        """Whether a newer value than `version` may be there; cheap, asked every `poll_s`. Raises StoreFailed."""

    async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:
        """Write a value where `version` is still the stored one, and give the new version.

        With `field` the others of the stored object stay. Raises StoreConflict when another wrote first, StoreFailed.
        """

    async def close(self) -> None:
        """Let go of connections and logins."""
