"""Login: how the sidecar becomes somebody at Vault, stays it, and asks as that.

Made on first use, renewed ahead in the background, made anew when a renewal is capped or refused, or when the server
has forgotten the token. What proves who we are is read again at each login, since files rotate.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from sidecar.auth.secrets.file import read_file
from sidecar.auth.secrets.store import StoreFailed
from sidecar.auth.secrets.vault.answers import Granted, LookUp, TokenLife
from sidecar.auth.secrets.vault.config import AppRole, TokenFile, VaultStoreConfig
from sidecar.auth.secrets.vault.http import VaultHttp, VaultRefused
from sidecar.auth.secrets.vault.lease import NEVER, Lease, Pause
from sidecar.core.clock import Clock, Timer
from sidecar.core.secret import Secret
from sidecar.core.tasks import Tasks

Notice = Callable[..., None]  # Writes a log line: notice(level, msg, **fields).

REVOKE_MAX = 1.0  # Seconds for saying goodbye. Longer: the token ends with its lease.
MAY_RENEW_AGAIN = frozenset({429, 502, 503, 504})  # Not a no: the server is busy, sealed or behind a broken proxy.


def _nothing() -> None:
    """Stand in for somebody who made nothing under a login."""


class Login:
    """The token of one store, current while the store is used."""

    def __init__(
        self, config: VaultStoreConfig, http: VaultHttp, clock: Clock, jitter: Callable[[], float], notice: Notice
    ) -> None:
        self._auth = config.auth
        self._http = http
        self._clock = clock
        self._jitter = jitter
        self._notice = notice
        self._method = str(type(config.auth).__struct_config__.tag)
        self._lock = asyncio.Lock()  # One login or renewal at a time; the others wait for its result.
        self._tasks = Tasks()
        self._timer: Timer | None = None
        self._token: Secret | None = None
        self._lease: Lease | None = None
        self._pause = Pause()
        self.problem = ""  # Why the last login failed.
        self._is_closed = False
        self.turns = 0  # Logins so far.
        self.on_login: Callable[[], None] = _nothing  # What was made under the login before ends with that one.

    @property
    def life(self) -> Lease | None:
        """Give the lease of the token in use; the same object while it is the same token."""
        return self._lease

    async def ask(self, method: str, path: str, doing: str, body: object = None, hide: Iterable[bytes] = ()) -> bytes:
        """Ask as who we are; when the server has forgotten us, log in anew and ask once more.

        Raises StoreFailed.
        """
        token = await self.token()
        try:
            return await self._http.ask(method, path, doing=doing, token=token, body=body, hide=hide)
        except VaultRefused as refused:
            if refused.status != 403 or not await self.is_gone(token):
                raise
        token = await self.token()
        return await self._http.ask(method, path, doing=doing, token=token, body=body, hide=hide)

    async def token(self) -> Secret:
        """Give a token that the server knows, as far as we know. Raises StoreFailed."""
        if (held := self._held()) is not None:
            return held
        async with self._lock:
            if (held := self._held()) is not None:
                return held
            if self._clock.now() < self._pause.ends_at:
                raise StoreFailed(self.problem)
            return await self._log_in()

    async def is_gone(self, token: Secret) -> bool:
        """Whether the server does not know `token` any more, after a 403 that could also be the policy's."""
        if token is not self._token:
            return True
        try:
            await self._look_up(token)
        except VaultRefused as refused:
            if refused.status != 403:
                return False
        except StoreFailed:
            return False
        else:
            return False
        if token is self._token:
            self._drop()
        return True

    async def close(self) -> bool:
        """Log out of what we logged in to, as far as the server is there; say whether we did.

        The lease ends the rest. With a login ends all that was leased under it.
        """
        self._is_closed = True
        self._cancel_timer()
        await self._tasks.stop()
        token, self._token = self._token, None
        if token is None or isinstance(self._auth, TokenFile):
            return False
        try:
            async with self._clock.timeout_at(self._clock.now() + REVOKE_MAX):
                await self._http.ask("POST", "auth/token/revoke-self", doing="logging out", token=token)
        except (StoreFailed, TimeoutError) as failure:
            self._notice("debug", "store_logout_failed", store=self._http.address, error=str(failure))
            return False
        return True

    def _held(self) -> Secret | None:
        if self._lease is None or self._lease.is_over(self._clock.now()):
            return None
        return self._token

    async def _log_in(self) -> Secret:
        """Make a login; after a failure the server is left alone for a while. Raises StoreFailed."""
        asked_at = self._clock.now()  # The lease begins no later than the server's answer: rather short than over.
        try:
            token, seconds, is_renewable = await (
                self._take_token(self._auth) if isinstance(self._auth, TokenFile) else self._exchange()
            )
        except StoreFailed as failure:
            self.problem = str(failure)
            self._pause.begin(self._clock.now(), self._jitter())
            self._notice("warning", "store_login_failed", store=self._http.address, error=self.problem)
            raise StoreFailed(self.problem) from None  # Not VaultRefused, whose status would be taken for the secret's.
        self._pause.end()
        self.problem = ""
        before, self._token = self._token, token
        chance = self._jitter()
        if self._lease is not None and before is not None and before.reveal() == token.reveal():
            self._lease.restart(seconds, is_renewable=is_renewable, now=asked_at, chance=chance)
        else:
            self._lease = Lease(seconds, is_renewable=is_renewable, now=asked_at, chance=chance)
        self.turns += 1
        self._notice("info", "store_login", store=self._http.address, method=self._method, lease_s=seconds or None)
        self._set_timer()
        self.on_login()
        return token

    async def _exchange(self) -> tuple[Secret, float, bool]:
        """Show who we are, and get a token for it."""
        auth = self._auth
        assert not isinstance(auth, TokenFile)
        doing = f"the {self._method} login"
        if isinstance(auth, AppRole):
            proof = await self._read(auth.secret_id_file, "secret_id_file")
            body = {"role_id": auth.role_id, "secret_id": proof}
        else:
            proof = await self._read(auth.token_file, "token_file")
            body = {"role": auth.role, "jwt": proof}
        answer = await self._http.ask(
            "POST", f"auth/{auth.mount}/login", doing=doing, body=body, hide=(proof.encode(),)
        )
        granted = self._http.read(Granted, answer, doing).auth
        return self._as_token(granted.client_token, doing), granted.lease_duration, granted.renewable

    async def _take_token(self, auth: TokenFile) -> tuple[Secret, float, bool]:
        """Read the token that another wrote, and ask the server how long it lasts."""
        token = self._as_token(await self._read(auth.token_file, "token_file"), f"reading {auth.token_file}")
        try:
            looked = await self._look_up(token)
        except VaultRefused as refused:
            if refused.status != 403:
                raise
            raise StoreFailed(
                f"{self._http.address} does not know the token in {auth.token_file} (403); is it of this server and"
                " namespace, and has it not expired?"
            ) from None
        # In its last second a token has a ttl of 0, too; one that never ends has no expire_time.
        seconds = 0.0 if looked.expire_time is None else max(1.0, looked.ttl)
        return token, seconds, looked.renewable

    async def _look_up(self, token: Secret) -> TokenLife:
        doing = "looking the token up"
        return self._http.read(
            LookUp, await self._http.ask("GET", "auth/token/lookup-self", doing=doing, token=token), doing
        ).data

    async def _read(self, path: str, key: str) -> str:
        """Read what proves who we are, anew each time: Kubernetes and agents replace these files."""
        try:
            return (await asyncio.to_thread(read_file, Path(path))).reveal().decode("ascii").strip()
        except StoreFailed as failure:
            raise StoreFailed(f"auth.{key}: {failure}") from None
        except UnicodeDecodeError:
            raise StoreFailed(f"auth.{key}: {path} holds other than ASCII, so it is no token") from None

    def _as_token(self, text: str, doing: str) -> Secret:
        if not text.isascii() or not text.isprintable() or not text:
            raise StoreFailed(f"{doing} gave what cannot be a token of {self._http.address}")
        return Secret(text.encode(), f"login {self.turns + 1}")

    # Renewal, in the background.

    def _set_timer(self) -> None:
        self._cancel_timer()
        if self._lease is not None and self._lease.due_at < NEVER and not self._is_closed:
            self._timer = self._clock.call_at(self._lease.due_at, self._begin_renewal)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_renewal(self) -> None:
        self._timer = None
        if not self._is_closed:
            self._tasks.spawn(self._keep(), f"renew the login at {self._http.address}")

    async def _keep(self) -> None:
        """Take the step that is due; when it fails, what is held stays, and the step is taken again after a pause."""
        async with self._lock:
            lease = self._lease
            if lease is None or self._clock.now() < lease.due_at:
                return  # Another logged in, in the meantime.
            try:
                if lease.next_step == "renew" and not lease.is_over(self._clock.now()):
                    await self._renew(lease)
                else:
                    await self._log_in()
                    return  # It has set the timer of the new lease.
            except StoreFailed:  # Already told, and nothing is lost yet: who needs a token later hears of it then.
                lease.failed(self._clock.now(), self._jitter())
            self._set_timer()

    async def _renew(self, lease: Lease) -> None:
        assert self._token is not None
        doing = "renewing the login"
        asked_at = self._clock.now()
        try:
            answer = await self._http.ask("POST", "auth/token/renew-self", doing=doing, token=self._token, body={})
            granted = self._http.read(Granted, answer, doing).auth
        except VaultRefused as refused:
            if refused.status in MAY_RENEW_AGAIN:
                self._tell_failure(refused)
                raise
            lease.refused(self._clock.now())
            self._notice("info", "store_login_ends", store=self._http.address, reason=str(refused))
            return
        except StoreFailed as failure:
            self._tell_failure(failure)
            raise
        lease.renewed(granted.lease_duration, is_renewable=granted.renewable, now=asked_at, chance=self._jitter())
        self._notice("debug", "store_login_renewed", store=self._http.address, lease_s=granted.lease_duration)

    def _tell_failure(self, failure: StoreFailed) -> None:
        self._notice("warning", "store_login_not_renewed", store=self._http.address, error=str(failure))

    def _drop(self) -> None:
        self._token = None
        self._lease = None
        self._cancel_timer()
