"""Store: what every secret store can do; one protocol, so that a service does not care where its secret lies."""

from typing import Protocol

from sidecar.core.secret import Secret


class StoreFailed(Exception):
    """A store could not give a value; the sentence names the store, the path and the reason, never a value."""


class SecretStore(Protocol):
    """A place of stored material."""

    async def fetch(self, path: str) -> Secret:
        """Read the value at `path` as it is now. Raises StoreFailed."""

    async def has_changed(self, path: str, version: str) -> bool:
        """Whether a newer value than `version` may be there; cheap, asked every second or so."""
