"""Fleet: pods that share a store mint a token once: one renews under a lease, the others wait for its result.

The token lies in the store, sealed; without a key to seal with only the lease is shared, so that pods use a rotating
refresh token one after the other. A pod that is killed while it renews holds the lease for LEASE_SECONDS at most; what
it did until then is in the secret store or is not (rotation.py), and the next pod goes on from there. Where the store
is away each pod renews by itself, as without one: what rotates is still written by check-and-set.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from sidecar.auth.oauth.sealed import Seal, Unsealable, kept_for
from sidecar.auth.oauth.supply import Supply
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.secrets.store import StoreFailed as SecretStoreFailed
from sidecar.core.clock import Clock
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.tasks import Tasks
from sidecar.store.base import Store, StoreFailed

LEASE_SECONDS = 10.0  # Kept up while the pod lives; a killed one's ends by itself.
KEEP_EVERY = 3.0
LOOK_MIN = 0.05  # Seconds between two looks whether the other pod is done,
LOOK_MAX = 0.5  # growing up to this.
LEFT_MIN = 1.0  # Seconds. A token that ends sooner is not taken over.
FAILURE_SECONDS = 1.0  # For so long all pods take a failure as theirs, so that they do not ask one after the other;
FINAL_SECONDS = 5.0  # so long one that would only be met again.


class _Failure(msgspec.Struct):
    """What went wrong, for the other pods; its sentence holds nothing secret."""

    holder: str  # Which pod met it.
    sentence: str
    is_invalid_grant: bool
    retry_after: float | None


class FleetSupply:
    """The supply of a token that pods share. `name` tells the grant, `holder` this pod."""

    def __init__(
        self,
        inner: Supply,
        store: Store,
        seal: Seal | None,
        name: str,
        holder: str,
        clock: Clock,
        tasks: Tasks,
        jitter: Callable[[], float],
        tell: Callable[..., None],
    ) -> None:
        self._inner = inner
        self._store = store
        self._seal = seal
        self._name = name
        self._holder = holder
        self._clock = clock
        self._tasks = tasks
        self._jitter = jitter
        self._tell = tell
        self._version = 0  # Of the record whose token was given last.
        self._problem = ""  # Why tokens are not shared, as it was told last.
        self._waits = ""  # What it waits for, or waited for when its time was up.

    @property
    def step(self) -> str:
        """What it does now."""
        return self._waits or self._inner.step

    @step.setter
    def step(self, value: str) -> None:
        self._inner.step = value

    async def mint(self) -> Token:
        """Take over what another pod minted, or mint under the lease. Raises what the inner supply raises."""
        await Seal.ready()
        look, self._waits = LOOK_MIN, ""
        try:
            while True:
                left = await self._store.leases.take(f"token:{self._name}", self._holder, LEASE_SECONDS)
                if not left:
                    break
                # Another pod renews. Its result, good or bad, is ours as soon as it is there.
                token = await self._found()
                if token is not None:
                    return token
                await self._hear_failure()
                self._waits = "waiting for another pod, which renews the token"
                await self._clock.sleep(min(left, look * (1 + self._jitter()) / 2))
                look = min(LOOK_MAX, look * 1.5)
        except StoreFailed:  # The store's own line tells it.
            self._waits = ""
            return await self._inner.mint()
        self._waits = ""
        return await self._mint_under_lease()

    def snapshot(self) -> dict[str, Any]:
        """Show what the inner supply shows, and whether tokens are shared."""
        shown: dict[str, Any] = {"shared": self._seal is not None and not self._problem}
        return self._inner.snapshot() | shown | ({"not_shared": self._problem} if self._problem else {})

    async def _mint_under_lease(self) -> Token:
        keeping = self._tasks.spawn(self._keep(), "lease of a token")
        try:
            try:
                token = await self._found()
                if token is None:
                    await self._hear_failure()
            except StoreFailed:
                token = None
            if token is None:
                token = await self._mint()
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])  # A question of its own that is under way would take the lease again.
            await self._give_back()
        return token

    async def _mint(self) -> Token:
        try:
            token = await self._inner.mint()
        except TokenRefused as refused:
            await self._tell_failure(
                str(refused),
                refused.retry_after,
                is_final=not refused.is_retryable,
                is_invalid=refused.is_invalid_grant,
            )
            raise
        except (CredentialUnavailable, SecretStoreFailed) as error:
            await self._tell_failure(error.detail if isinstance(error, CredentialUnavailable) else str(error), None)
            raise
        await self._put(token)
        return token

    # The record.

    async def _found(self) -> Token | None:
        """Give the token of the store, unless it is the one given last, which is to be replaced."""
        place = self._place()
        if place is None or self._seal is None:
            return None
        record = await self._store.records.get(place)
        if record is None or record.version == self._version or record.left < LEFT_MIN:
            return None
        token = self._seal.open(record.value, place, self._clock.now(), record.left)
        if token is not None:
            token.is_shared = True
            self._version = record.version
        return token

    async def _put(self, token: Token) -> None:
        place = self._place()
        if place is None or self._seal is None:
            return
        try:
            sealed = self._seal.seal(token, place)
            version = await self._store.records.put(place, sealed, kept_for(token, self._clock.now()))
        except StoreFailed:  # The token is good all the same; other pods mint their own.
            return
        assert version is not None
        self._version = version

    def _place(self) -> str | None:
        """Give where the token is kept; None, with a line, while there is no key to seal it with."""
        if self._seal is None:
            return None
        try:
            place = self._seal.place(self._name)
        except Unsealable as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._tell("warning", "token_not_shared", error=self._problem)
            return None
        self._problem = ""
        return place

    # A failure, which is every pod's.

    async def _hear_failure(self) -> None:
        """Raise what another pod met a moment ago."""
        record = await self._store.records.get(f"token-failure:{self._name}")
        if record is None or not 0 < record.left <= FINAL_SECONDS:  # None of ours lasts longer.
            return
        try:
            failure = msgspec.msgpack.decode(record.value, type=_Failure)
        except (msgspec.DecodeError, UnicodeDecodeError):  # Another version's, or nobody's.
            return
        if failure.holder == self._holder:
            return
        # For the other pod it may be final; ours may have the secret already that it lacks, so we ask when it is over.
        raise TokenRefused(
            f"{failure.sentence} (as another pod was told)",
            is_retryable=True,
            is_invalid_grant=failure.is_invalid_grant,
            retry_after=max(record.left, failure.retry_after or 0.0),
        )

    async def _tell_failure(
        self, sentence: str, retry_after: float | None, *, is_final: bool = False, is_invalid: bool = False
    ) -> None:
        failure = _Failure(self._holder, sentence, is_invalid, retry_after)
        life = FINAL_SECONDS if is_final else FAILURE_SECONDS
        try:
            await self._store.records.put(f"token-failure:{self._name}", msgspec.msgpack.encode(failure), life)
        except StoreFailed:
            return

    # The lease.

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(KEEP_EVERY)
            try:
                await self._store.leases.take(f"token:{self._name}", self._holder, LEASE_SECONDS)
            except StoreFailed:
                continue

    async def _give_back(self) -> None:
        try:
            await self._store.leases.give_back(f"token:{self._name}", self._holder)
        except StoreFailed:
            return
