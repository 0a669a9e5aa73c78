"""AWS keys: what signs for AWS; from a store, or the role of the pod, renewed ahead in the background."""

import asyncio
from collections.abc import Callable
from typing import NoReturn, Protocol

from sidecar.auth.secrets.held import Held, Notice
from sidecar.auth.secrets.known import Known
from sidecar.auth.signing.parts import Parts
from sidecar.core.clock import Clock
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret
from sidecar.core.tasks import Tasks
from sidecar.telemetry.redact import TooManyValues, forms

CHECK_EVERY = 60.0  # Seconds. Botocore renews 15 minutes before the end, so one look a minute is in time.
RETRY_AFTER = 5.0  # Seconds after a failure; doubled up to CHECK_EVERY. The keys that are here go on being used.


class AwsKeys:
    """One identity; masks itself. The names are those that botocore's signers read."""

    __slots__ = ("access_key", "expires_at", "secret_key", "token")

    def __init__(self, access_key: str, secret_key: str, token: str | None, expires_at: float | None = None) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.token = token
        self.expires_at = expires_at  # Unix seconds; None: no end.

    def __repr__(self) -> str:
        return "AwsKeys(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled")


class KeySource(Protocol):
    """Where a signer takes its keys from, anew for each call."""

    def keys(self) -> AwsKeys:
        """Give the keys that are good now. Raises CredentialUnavailable with the step that failed."""

    def release(self) -> None:
        """Let go: the service goes away."""


class StoredKeys:
    """Keys from secret references. Store them as fields of one secret: so a rotation is one step."""

    def __init__(self, access_key: Held, secret_key: Held, token: Held | None) -> None:
        self._keys: AwsKeys | None = None
        self._problem = ""
        self._parts = Parts([access_key, secret_key, *([token] if token is not None else [])], self._take, self._lose)

    def keys(self) -> AwsKeys:
        """Give the keys as they were read last. Raises CredentialUnavailable."""
        if self._keys is None:
            raise CredentialUnavailable(
                f"reading the AWS keys from their store failed: {self._problem or self._parts.problem}"
            )
        return self._keys

    def release(self) -> None:
        """Hear of no further value."""
        self._parts.release()

    def _take(self, secrets: list[Secret]) -> None:
        try:
            access_key, secret_key, *token = [secret.reveal().decode("ascii").strip() for secret in secrets]
        except UnicodeDecodeError:
            self._keys = None
            self._problem = "an AWS key holds letters, digits and signs of ASCII alone"
            return
        self._keys = AwsKeys(access_key, secret_key, token[0] if token else None)

    def _lose(self) -> None:
        self._keys = None
        self._problem = ""


class RoleKeys:
    """The role of the pod. `fetch` blocks, so it runs in a thread; it gives what is good, renewed where due."""

    def __init__(self, fetch: Callable[[], AwsKeys], clock: Clock, tasks: Tasks, notice: Notice, known: Known) -> None:
        self._fetch = fetch
        self._clock = clock
        self._notice = notice
        self._known = known
        self._keys: AwsKeys | None = None
        self._problem = "they have not been asked for yet"
        self._renewing = tasks.spawn(self._keep(), "aws role")

    def keys(self) -> AwsKeys:
        """Give the keys, up to their very end. Raises CredentialUnavailable."""
        keys = self._keys
        if keys is None:
            raise CredentialUnavailable(f"fetching the pod's AWS role failed: {self._problem}")
        if keys.expires_at is not None and self._clock.wall() >= keys.expires_at:
            raise CredentialUnavailable(
                f"the keys of the pod's AWS role have ended, and renewing failed: {self._problem}"
            )
        return keys

    def release(self) -> None:
        """Renew no more."""
        self._renewing.cancel()
        self._known.forget()

    async def _keep(self) -> None:
        pause = RETRY_AFTER
        while True:
            if await self._renew():
                pause = RETRY_AFTER
                await self._clock.sleep(CHECK_EVERY)
            else:
                await self._clock.sleep(pause)
                pause = min(2 * pause, CHECK_EVERY)

    async def _renew(self) -> bool:
        try:
            keys = await asyncio.to_thread(self._fetch)
            if self._keys is None or keys.secret_key != self._keys.secret_key:
                self._known.add(forms(keys.secret_key.encode()) | forms((keys.token or "").encode()))
                self._notice("info", "aws_role_renewed", expires_at=keys.expires_at)
        except (RoleUnavailable, TooManyValues) as failure:
            if str(failure) != self._problem:
                self._problem = str(failure)
                self._notice("error", "aws_role_unavailable", error=self._problem)
            return False
        self._keys = keys
        self._problem = ""
        return True


class RoleUnavailable(Exception):
    """No keys; the sentence says why, and holds no value."""


def default_chain(region: str) -> Callable[[], AwsKeys]:
    """Give botocore's default chain: web identity (IRSA), shared config, pod identity, node. It blocks.

    Botocore in a thread rather than aiobotocore on the loop: both load the models of STS from disk first, for a
    tenth of a second in which no call would move.
    """
    chain = _Chain(region)
    return chain.fetch


class _Chain:
    """The chain, made at its first use: botocore takes 30 MiB."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._credentials: object = None

    def fetch(self) -> AwsKeys:
        """Give the keys, renewed where due. Raises RoleUnavailable."""
        try:
            if self._credentials is None:
                self._credentials = self._find()
            frozen = self._credentials.get_frozen_credentials()  # type: ignore[attr-defined]
        except RoleUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a link of the chain raises, the answer is: no role now
            raise RoleUnavailable(f"{type(error).__name__}: {_first_line(error)}") from None
        # Its own field, since nothing public tells; without one the keys have no end.
        end = getattr(self._credentials, "_expiry_time", None)
        return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token, end.timestamp() if end is not None else None)

    def _find(self) -> object:
        import botocore.session  # noqa: PLC0415 - heavy
        from botocore.config import Config  # noqa: PLC0415 - heavy

        session = botocore.session.Session()
        session.set_config_variable("region", self._region)
        session.set_default_client_config(Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 2}))
        found = session.get_credentials()
        if found is None:
            raise RoleUnavailable(
                "this pod has no role: annotate its service account (IRSA), make a pod identity association, or name "
                "access_key and secret_key in the config"
            )
        return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
