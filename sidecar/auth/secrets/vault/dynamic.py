"""Dynamic: credentials that an engine of Vault makes for us (database, aws, rabbitmq), each with a lease.

A path is read once, and what was made is kept: renewed ahead, and where that has its end (the role's maximum, the login
under which it was made) replaced by a new one ahead, in the background. So a fetch gives what is there; only the
first one of a path makes something. The credential before is left to its lease, since calls under way may carry it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

from sidecar.auth.network import Network
from sidecar.auth.secrets.store import SecretEnded, StoreFailed
from sidecar.auth.secrets.vault.answers import Lent, Renewed
from sidecar.auth.secrets.vault.config import VaultStoreConfig
from sidecar.auth.secrets.vault.http import VaultHttp, VaultRefused, place_of
from sidecar.auth.secrets.vault.lease import NEVER, Lease
from sidecar.auth.secrets.vault.leased import Leased, Place
from sidecar.auth.secrets.vault.login import MAY_RENEW_AGAIN, Login, Notice
from sidecar.core.clock import Clock, Timer
from sidecar.core.secret import Secret
from sidecar.core.tasks import Tasks

AT_ONCE = 4  # Questions about leases beside each other. More: after these.
UNASKED_MAX = 300.0  # Seconds. What nobody asked about for longer is in no config any more: its lease is given back.
WAIT_AGAIN_MAX = 1.0  # Seconds for which a fetch waits for a step, once one has failed: others wait behind it.
GIVE_BACK_MAX = 1.0  # Seconds, at the end, for all leases. Longer: they end by themselves, or with the login.


class DynamicStore:
    """One mount of one Vault, whose engine makes credentials. A reference's path is as `creds/<role>`."""

    poll_s = 1.0  # It is ourselves who are asked; the server is asked when a lease is due.

    def __init__(
        self, config: VaultStoreConfig, clock: Clock, jitter: Callable[[], float], network: Network, notice: Notice
    ) -> None:
        self.stale_max = float(config.stale_max)
        self._mount = config.mount
        self._clock = clock
        self._jitter = jitter
        self._notice = notice
        self._http = VaultHttp(config, clock, network)
        self._login = Login(config, self._http, clock, jitter, notice)
        self._login.on_login = self._follow
        self._tasks = Tasks()
        self._lane = asyncio.Semaphore(AT_ONCE)
        self._places: dict[str, Place] = {}  # As many as there are paths in use; swept.
        self._steps: dict[str, asyncio.Task[None]] = {}  # At most one for each place.
        self._timers: dict[str, Timer] = {}  # At most one for each place.
        self._sweeper: Timer | None = None
        self._is_closed = False

    async def fetch(self, path: str) -> Secret:
        """Give the credential at `path` as a JSON object, all fields of one lease. Raises StoreFailed.

        However many ask at once, one is made; none while there is one that lasts.
        """
        place = self._asked(path)
        if (secret := place.current(self._clock.now())) is not None:
            return secret
        await self._wait(place)
        if (secret := place.current(self._clock.now())) is not None:
            return secret
        raise self._gone(place)

    async def has_changed(self, path: str, version: str) -> bool:
        """Whether there is another credential by now. Raises StoreFailed while its lease cannot be kept up."""
        place = self._asked(path)
        if place.leased is None or place.leased.secret.version != version:
            return True
        if place.current(self._clock.now()) is None:
            raise self._gone(place)
        if place.problem:
            raise StoreFailed(place.problem)
        return False

    async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:  # noqa: ARG002 - the protocol
        """Refuse: what is there is the engine's."""
        raise StoreFailed(f"{self._name(path)} is made by its engine, so nothing is written there; use a kv engine")

    async def close(self) -> None:
        """Give the leases back, log out, and close the connections, each for as long as it is bounded."""
        self._is_closed = True
        for timer in [*self._timers.values(), *([self._sweeper] if self._sweeper is not None else [])]:
            timer.cancel()
        if self._steps:  # So that what is being made just now is known, and given back.
            with suppress(TimeoutError):
                async with self._clock.timeout_at(self._clock.now() + GIVE_BACK_MAX):
                    await asyncio.wait(list(self._steps.values()))
        await self._give_all_back()
        await self._tasks.stop()
        await self._http.close()

    # Questions to ourselves.

    def _asked(self, path: str) -> Place:
        """Note that somebody wants what is at `path`. Raises StoreFailed."""
        if self._is_closed:
            raise StoreFailed(f"reading {self._name(path)} failed: the store is closed")
        now = self._clock.now()
        place = self._places.get(path)
        if place is None:
            place_of(self._mount, path)
            place = self._places[path] = Place(path, now)
            if self._sweeper is None:
                self._sweeper = self._clock.call_at(now + UNASKED_MAX, self._sweep)
        place.asked_at = now
        return place

    async def _wait(self, place: Place) -> None:
        """Wait for the step that is under way; where none was taken yet, take the first."""
        if place.leased is None and not place.problem:
            self._begin(place)
        step = self._steps.get(place.path)
        if step is None:
            return
        if not place.problem:
            await asyncio.wait([step])
            return
        with suppress(TimeoutError):
            async with self._clock.timeout_at(self._clock.now() + WAIT_AGAIN_MAX):
                await asyncio.wait([step])

    def _gone(self, place: Place) -> SecretEnded:
        if place.leased is None:
            return SecretEnded(place.problem or f"{self._name(place.path)} has not been made yet")
        problem = place.problem or self._login.problem
        why = f": {problem}" if problem else ""
        return SecretEnded(f"the lease of {self._name(place.path)} has ended, and there is no new one yet{why}")

    # Steps, in the background.

    def _set_timer(self, place: Place) -> None:
        if (timer := self._timers.pop(place.path, None)) is not None:
            timer.cancel()
        is_ours = self._places.get(place.path) is place
        if is_ours and not self._is_closed and place.path not in self._steps and place.due_at < NEVER:
            self._timers[place.path] = self._clock.call_at(place.due_at, lambda: self._begin(place))

    def _begin(self, place: Place) -> None:
        if self._is_closed or place.path in self._steps:
            return
        self._steps[place.path] = self._tasks.spawn(self._step(place), f"lease of {self._name(place.path)}")

    async def _step(self, place: Place) -> None:
        """Take the step that is due. When it fails, what is there stays, and it is taken again after a pause."""
        try:
            async with self._lane:
                await (self._renew(place) if place.next_step(self._clock.now()) == "renew" else self._make(place))
        except StoreFailed as failure:
            if str(failure) != place.problem:
                self._tell("warning", "store_lease_not_kept", place, error=str(failure))
            place.failed(str(failure), self._clock.now(), self._jitter())
        else:
            place.follow(self._login.life, self._clock.now())
        finally:
            del self._steps[place.path]
            self._set_timer(place)

    async def _make(self, place: Place) -> None:
        """Have a credential made. An answer that is lost leaves one that nobody knows; its lease ends it."""
        doing = f"reading {self._name(place.path)}"
        await self._login.token()
        # Should another login come in between, this credential is taken for the older one's, and replaced.
        made_under, asked_at = self._login.life, self._clock.now()
        try:
            answer = await self._login.ask("GET", f"{quote(self._mount)}/{place_of(self._mount, place.path)}", doing)
        except VaultRefused as refused:
            hint = {403: "; does the policy of the login allow it?", 404: "; is there such a mount?"}
            raise StoreFailed(f"{refused}{hint.get(refused.status, '')}") from None
        lent, document = self._http.read(Lent, answer, doing), b""
        if lent.lease_id and lent.lease_duration > 0:
            document = bytes(lent.data)
        if not document.startswith(b"{") or made_under is None:
            raise StoreFailed(
                f"{self._name(place.path)} at {self._http.address} came without a lease or without fields; engine ="
                ' "dynamic" is for engines that make credentials, such as database'
            )
        lease = Lease(lent.lease_duration, is_renewable=lent.renewable, now=asked_at, chance=self._jitter())
        place.made(Leased(document, lent.lease_id, lease, made_under))
        self._tell("info", "store_lease", place, lease_s=lent.lease_duration, renewable=lent.renewable)

    async def _renew(self, place: Place) -> None:
        """Renew the lease; where the server will not, have a new credential made at once. Raises StoreFailed."""
        leased = place.leased
        assert leased is not None
        doing = f"renewing the lease of {self._name(place.path)}"
        body = {"lease_id": leased.lease_id, "increment": int(leased.lease.seconds)}
        asked_at = self._clock.now()
        try:
            answer = await self._login.ask("PUT", "sys/leases/renew", doing, body, (leased.lease_id.encode(),))
        except VaultRefused as refused:
            if refused.status in MAY_RENEW_AGAIN:
                raise
            self._tell("info", "store_lease_ends", place, reason=str(refused))
            leased.lease.refused(self._clock.now())
            await self._make(place)
            return
        renewed = self._http.read(Renewed, answer, doing)
        leased.lease.renewed(
            renewed.lease_duration, is_renewable=renewed.renewable, now=asked_at, chance=self._jitter()
        )
        place.problem = ""
        self._tell("debug", "store_lease_renewed", place, lease_s=renewed.lease_duration)

    def _follow(self) -> None:
        """Have replaced what was made under a login that is not ours any more."""
        for place in self._places.values():
            if place.follow(self._login.life, self._clock.now()):
                self._set_timer(place)

    # Ends.

    def _sweep(self) -> None:
        """Give back what no config names any more: what is in use is asked about every second."""
        now = self._clock.now()
        self._sweeper = None
        for path, place in list(self._places.items()):
            if now - place.asked_at >= UNASKED_MAX and path not in self._steps:
                del self._places[path]
                self._set_timer(place)
                self._tasks.spawn(self._give_back(place, self._tell_kept), f"lease of {self._name(path)}")
        if self._places:
            self._sweeper = self._clock.call_at(now + UNASKED_MAX / 2, self._sweep)

    async def _give_all_back(self) -> None:
        """Revoke every lease, beside each other. A login's own leases end with it, so then a no is no matter."""
        kept: list[tuple[Place, str]] = []
        giving = [
            self._tasks.spawn(self._give_back(place, lambda place, why: kept.append((place, why))), "give back")
            for place in self._places.values()
        ]
        if giving:
            with suppress(TimeoutError):
                async with self._clock.timeout_at(self._clock.now() + GIVE_BACK_MAX):
                    await asyncio.wait(giving)
        unanswered = [place for place, task in zip(self._places.values(), giving, strict=True) if not task.done()]
        kept += [(place, f"no answer within {GIVE_BACK_MAX:g} s") for place in unanswered]
        life = self._login.life
        has_left = await self._login.close()
        for place, why in kept:
            if not has_left or place.leased is None or place.leased.made_under is not life:
                self._tell_kept(place, why)

    async def _give_back(self, place: Place, tell: Callable[[Place, str], object]) -> None:
        leased = place.leased
        if leased is None or leased.is_over(self._clock.now()):
            return
        doing = f"revoking the lease of {self._name(place.path)}"
        try:
            async with self._lane:
                await self._login.ask(
                    "PUT", "sys/leases/revoke", doing, {"lease_id": leased.lease_id}, (leased.lease_id.encode(),)
                )
        except StoreFailed as failure:
            tell(place, str(failure))
        else:
            self._tell("debug", "store_lease_revoked", place)

    def _tell_kept(self, place: Place, why: str) -> None:
        self._tell("warning", "store_lease_not_revoked", place, error=why)

    def _tell(self, level: str, msg: str, place: Place, **fields: object) -> None:
        version = place.leased.secret.version if place.leased is not None else None
        self._notice(level, msg, store=self._http.address, path=self._name(place.path), version=version, **fields)

    def _name(self, path: str) -> str:
        return f"{self._mount}/{path}"
