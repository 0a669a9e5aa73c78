"""Rotation: a refresh token that the vendor replaces at each use, and several pods that share it through one store.

The new refresh token is stored before the access token that came with it is used; so whoever dies, what is stored is
never older than what calls rest on. The store is read before each use, since another pod may have rotated meanwhile.

What happens to a pod that is killed, or loses its vendor or its store, between asking and storing:

- It had not asked: nothing is lost.
- It asked, and no answer came, or it was killed before storing. The store holds the old refresh token. Where the vendor
  lets an old one be used again for a while (Okta, Auth0, Atlassian, Xero), or for ever (Microsoft), or does not rotate,
  the next try, here or in another pod, uses the same one and goes on. Where it is single use (Slack, Notion, GitHub,
  Box ...) the grant is lost, since the only copy of the new one was in the answer: somebody has to log in again
  (`sidecar login SERVICE`). No program can save that; the access tokens that are out live on until they expire.
- It got the answer, and the store fails: the new refresh token stays in memory and is offered to the store again at
  each try, before anything else; the vendor is not asked, and the new access token is not used, until it is stored. It
  is lost only if this pod ends meanwhile.
- It is told to stop: a write that has begun is waited for.

A lost grant is `level` 2 in the metrics, one that is only in memory 1.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from sidecar.auth.oauth.supply import Mints
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.secrets.held import field_of
from sidecar.auth.secrets.known import Know, Known
from sidecar.auth.secrets.store import SecretStore, StoreConflict, StoreFailed
from sidecar.core.clock import Clock
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.tasks import Tasks
from sidecar.telemetry.redact import forms

LOOKS = (0.0, 0.5, 2.0)  # Seconds before each look whether another pod, which rotated first, has stored its result.
CONFLICTS_MAX = 3  # Writes, where others keep changing further fields of the same stored object. Then: the next try.
LOST_FOR = 900.0  # Seconds in which a refresh token that the vendor called invalid is not shown to it again.
WRITE_SECONDS = 10.0  # A write that has begun has this long when we are told to stop.


class _Unsaved:
    """An answer whose refresh token is not in the store yet."""

    __slots__ = ("new", "old", "token")

    def __init__(self, token: Token, new: Secret, old: Secret) -> None:
        self.token = token
        self.new = new
        self.old = old  # What the store held, with the version that the write expects there.


class Rotation:
    """The grant of one refresh token; `name` is the service's. One `mint` at a time, as a source sees to."""

    __slots__ = (
        "_clock", "_dead", "_dead_at", "_does_rotate", "_known", "_last", "_masked", "_minter", "_name", "_ref",
        "_store", "_tell", "_unsaved", "_writes", "step",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        minter: Mints,
        store: SecretStore,
        ref: SecretRef,
        clock: Clock,
        know: Know,
        tell: Callable[..., None],
    ) -> None:
        self._name = name
        self._minter = minter
        self._store = store
        self._ref = ref
        self._clock = clock
        self._known = Known(know)
        self._tell = tell
        self._writes = Tasks()  # Of its own, so that a write outlasts the stop of what began it.
        self._masked = b""
        self._last: Secret | None = None  # As it was stored when it was seen last.
        self._unsaved: _Unsaved | None = None
        self._does_rotate = False  # As far as was seen.
        self._dead: bytes | None = None  # What the vendor called invalid.
        self._dead_at = 0.0
        self.step = ""

    @property
    def level(self) -> int:
        """How the grant stands: 0 it is stored, 1 the newest is only in memory, 2 it is lost."""
        if self._dead is not None:
            return 2
        return 1 if self._unsaved is not None else 0

    async def mint(self) -> Token:
        """Get a token, after its refresh token was stored.

        Raises TokenRefused where the endpoint gives none, CredentialUnavailable where the store fails.
        """
        if self._unsaved is not None:
            token = await self._save()
            if token.expires_at > self._clock.now():
                return token
        return await self._rotate(await self._read_or_recall())

    def snapshot(self) -> dict[str, Any]:
        """Show the grant for people."""
        shown: dict[str, Any] = {"refresh_token": ("stored", "only in memory", "lost")[self.level]}
        if self._last is not None:
            shown |= {"version": self._last.version, "rotates": self._does_rotate}
        return shown

    def forget(self) -> None:
        """Let go of what the log masks: the service goes away."""
        self._known.forget()

    # Asking.

    async def _rotate(self, stored: Secret, *, is_second: bool = False) -> Token:
        """Ask with what is stored; with what another pod stored meanwhile once more, if the vendor says invalid."""
        if self._is_dead(stored):
            raise self._lost(stored)
        self.step = "asking the authorization server"
        try:
            token = await self._minter.mint(stored)
        except TokenRefused as refusal:
            if not refusal.is_invalid_grant:
                raise
            other = await self._look_again(stored)
            if other is None:
                self._dead, self._dead_at = stored.reveal(), self._clock.now()
                lost = self._lost(stored, str(refusal))
                self._tell("error", "grant_lost", service=self._name, secret=str(self._ref), error=str(lost))
                raise lost from None
            if is_second:
                raise CredentialUnavailable(f"others keep replacing the refresh token in {self._ref}") from None
            return await self._rotate(other, is_second=True)
        self._dead = None
        new = token.refresh_token
        if new is None or new.reveal() == stored.reveal():
            self._last = stored
            return token
        self._does_rotate = True
        self._unsaved = _Unsaved(token, new, stored)
        self._mask(new.reveal())
        return await self._save(is_second=is_second)

    async def _look_again(self, used: Secret) -> Secret | None:
        """Give another refresh token than the one used, as soon as somebody stored one; None if nobody does."""
        self.step = "reading the refresh token again, since another pod may have replaced it"
        for wait in LOOKS:
            if wait:
                await self._clock.sleep(wait)
            stored = await self._read()
            if stored.reveal() != used.reveal():
                return stored
        return None

    def _is_dead(self, stored: Secret) -> bool:
        """Whether the vendor called it invalid lately: showing it once more may cost a whole family of tokens."""
        return self._dead == stored.reveal() and self._clock.now() < self._dead_at + LOST_FOR

    def _lost(self, stored: Secret, reason: str = "") -> TokenRefused:
        said = f": {reason}" if reason else ""
        return TokenRefused(
            f"the vendor no longer accepts the refresh token in {self._ref} (version {stored.version}), and nobody"
            f" stored another; run `sidecar login {self._name}`{said}",
            is_invalid_grant=True,
        )

    # Reading and storing.

    async def _read_or_recall(self) -> Secret:
        """Read the refresh token. One that does not rotate, as far as we saw, may also be used without the store."""
        self.step = "reading the refresh token"
        try:
            return await self._read()
        except CredentialUnavailable:
            if self._last is None or self._does_rotate:
                raise
            return self._last

    async def _read(self) -> Secret:
        try:
            stored = field_of(await self._store.fetch(self._ref.path), self._ref)
        except StoreFailed as failure:
            raise CredentialUnavailable(f"reading the refresh token failed: {failure}") from None
        self._mask(stored.reveal())
        return stored

    def _mask(self, value: bytes) -> None:
        if value != self._masked:
            self._masked = value
            self._known.add(forms(value))

    async def _save(self, *, is_second: bool = False) -> Token:
        """Store the refresh token in hand, then give its access token. Raises CredentialUnavailable."""
        for _ in range(CONFLICTS_MAX):
            unsaved = self._unsaved
            assert unsaved is not None
            self.step = "storing the new refresh token"
            try:
                self._saved(unsaved, await self._write(unsaved))
            except StoreConflict:
                self.step = "reading the refresh token again, since somebody else wrote it"
                stored = await self._read()
                if stored.reveal() == unsaved.new.reveal():  # Our write went well, but its answer was lost.
                    self._saved(unsaved, stored.version)
                elif stored.reveal() == unsaved.old.reveal():  # Another field of the object changed.
                    unsaved.old = stored
                    continue
                else:
                    return await self._yield_to(stored, is_second=is_second)
            except StoreFailed as failure:
                raise CredentialUnavailable(
                    f"storing the new refresh token failed, so it is kept in memory until it can be: {failure}"
                ) from None
            return unsaved.token
        raise CredentialUnavailable(f"storing the new refresh token failed: others keep writing {self._ref}")

    async def _yield_to(self, stored: Secret, *, is_second: bool) -> Token:
        """Go on with what somebody else stored: the store is what all pods share. Ours was never used."""
        self._unsaved = None
        self._tell(
            "warning", "refresh_token_replaced", service=self._name, secret=str(self._ref), version=stored.version
        )
        if is_second:
            raise CredentialUnavailable(f"others keep replacing the refresh token in {self._ref}")
        return await self._rotate(stored, is_second=True)

    def _saved(self, unsaved: _Unsaved, version: str) -> None:
        self._unsaved = None
        self._last = Secret(unsaved.new.reveal(), version)
        self._tell("info", "refresh_token_stored", service=self._name, secret=str(self._ref), version=version)

    async def _write(self, unsaved: _Unsaved) -> str:
        """Write, and give the new version; what was begun is finished even if we are told to stop meanwhile."""
        write = self._writes.spawn(self._put(unsaved), f"refresh token of {self._name}")
        try:
            done: str | StoreFailed = await asyncio.shield(write)
        except asyncio.CancelledError:
            await asyncio.wait({write}, timeout=WRITE_SECONDS)
            if write.done() and not write.cancelled() and write.exception() is None:
                done = write.result()
                if isinstance(done, str):
                    self._saved(unsaved, done)
            raise
        if isinstance(done, StoreFailed):
            raise done
        return done

    async def _put(self, unsaved: _Unsaved) -> str | StoreFailed:
        try:
            return await self._store.put(self._ref.path, self._ref.field, unsaved.new.reveal(), unsaved.old.version)
        except StoreFailed as failure:  # Given, not raised: it is awaited, so it is no fault for the log.
            return failure
