"""Supply: what a token source has its tokens from, as protocols."""

from typing import Any, Protocol

from sidecar.auth.oauth.token import Token
from sidecar.core.secret import Secret


class Mints(Protocol):
    """Asks the token endpoint, once per call; bounded in time. Raises TokenRefused."""

    async def mint(self, refresh_token: Secret | None) -> Token:
        """Get a token, with a refresh token where the grant wants one."""


class Supply(Protocol):
    """A minter as it is, or one whose refresh token rotates."""

    step: str  # What it does now, for the call whose time is up meanwhile.

    async def mint(self) -> Token:
        """Get a token. Raises TokenRefused, StoreFailed or CredentialUnavailable."""

    def snapshot(self) -> dict[str, Any]:
        """Show for people what is more than the token."""


class Direct:
    """The supply of a minter that needs nothing but what it holds."""

    __slots__ = ("_minter", "step")

    def __init__(self, minter: Mints) -> None:
        self._minter = minter
        self.step = "asking the authorization server"

    async def mint(self) -> Token:
        """Ask."""
        return await self._minter.mint(None)

    def snapshot(self) -> dict[str, Any]:
        """Show nothing: there is no more than the token."""
        return {}
