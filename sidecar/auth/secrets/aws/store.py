"""AWS store: secrets in AWS Secrets Manager; a version is AWS's own VersionId, the current one has AWSCURRENT.

Writing compares first, and AWS has no write that does both. So the new version's id is derived from the one that it
follows: AWS makes no second version of an id, so of two pods that write after the same version one is told that it
came second. What is left: somebody who writes by other means (a person, a rotation function) between our comparing and
our writing is written over; AWS keeps that value as AWSPREVIOUS. For a refresh token that is harmless as a rule: the
provider accepted one of the two renewals only, and who holds the other hears `invalid_grant` and reads again.
"""

import asyncio
import hashlib
from typing import Any

from sidecar.auth.network import Network
from sidecar.auth.secrets.aws.client import Open, Opened, open_client, sdk_errors
from sidecar.auth.secrets.aws.config import AwsStoreConfig
from sidecar.auth.secrets.aws.failures import Denied, NoSuchSecret, StaleLogin, VersionExists, failed
from sidecar.auth.secrets.document import with_field
from sidecar.auth.secrets.store import StoreConflict, StoreFailed
from sidecar.core.clock import Clock
from sidecar.core.secret import Secret

CURRENT = "AWSCURRENT"
PREVIOUS = "AWSPREVIOUS"

# How many ids are tried for a version that follows one and the same. Somebody who moves AWSCURRENT back to it leaves
# the first id in use. All in use: StoreConflict.
IDS_MAX = 8


class AwsStore:
    """One account and region, with one client that is opened when it is first needed."""

    def __init__(self, config: AwsStoreConfig, clock: Clock, network: Network, open_with: Open = open_client) -> None:
        self.poll_s = float(config.ttl)
        self.stale_max = float(config.stale_max)
        self._config = config
        self._clock = clock
        self._network = network
        self._open = open_with
        self._opening = asyncio.Lock()
        self._client: Opened | None = None
        self._trust: object = None  # What the client was opened under.
        self._retired: Opened | None = (
            None  # Its credentials were refused, or its trust is another; whoever asks with it still may finish.
        )
        self._may_describe = True
        self._is_closed = False

    async def fetch(self, path: str) -> Secret:
        """Read the version that has AWSCURRENT, which is always asked for by name. Raises StoreFailed."""
        return _secret(path, await self._get(path, CURRENT))

    async def fetch_previous(self, path: str) -> Secret | None:
        """Read the version before: for a vendor that does not know the current one yet. Raises StoreFailed."""
        try:
            return _secret(path, await self._get(path, PREVIOUS))
        except NoSuchSecret:
            return None

    async def has_changed(self, path: str, version: str) -> bool:
        """Whether AWSCURRENT stands on another version than `version`, or on none. Raises StoreFailed.

        A role that may read but not describe is asked to read each time.
        """
        if not self._may_describe:
            return True
        try:
            return await self._current(path) != version
        except NoSuchSecret:
            return True
        except Denied:
            self._may_describe = False
            return True

    async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:
        """Write a new version that follows `version`, which is "" where none is there yet; see the top of the file.

        A secret that is not there is made, which takes the permission secretsmanager:CreateSecret. Raises
        StoreConflict when AWSCURRENT stands elsewhere by now, StoreFailed.
        """
        stored = await self._get_or_none(path)
        if _version(stored) != version:
            raise StoreConflict(f"{path} in AWS Secrets Manager: another version than {version or 'none'} is current")
        before = None if stored is None else _content(path, stored)
        content = with_field(before, field, value, f"{path} in AWS Secrets Manager")
        shape = _shape(content, is_binary=stored is not None and "SecretString" not in stored)
        place = path if stored is None else str(stored.get("ARN", path))
        for number in range(IDS_MAX):
            try:
                written = await self._write(path, shape, _following(place, version, number), may_make=not version)
            except VersionExists:
                written = None
            if written is not None:
                return written
            if _version(await self._get_or_none(path)) != version:
                break
        raise StoreConflict(f"{path} in AWS Secrets Manager: another was faster to follow version {version or 'none'}")

    async def close(self) -> None:
        """Close the connections; nothing is asked any more."""
        async with self._opening:
            self._is_closed = True
            for opened in (self._client, self._retired):
                if opened is not None:
                    await opened.close()
            self._client = self._retired = None

    async def _write(self, path: str, shape: dict[str, str | bytes], following: str, *, may_make: bool) -> str | None:
        """Write a version, or make the secret with it; None if the version was there and is not current."""
        try:
            written = await self._ask(
                "put_secret_value", path, SecretId=path, ClientRequestToken=following, VersionStages=[CURRENT], **shape
            )
        except NoSuchSecret:
            if not may_make:
                raise
            written = await self._ask("create_secret", path, Name=path, ClientRequestToken=following, **shape)
            return str(written["VersionId"])
        return str(written["VersionId"]) if CURRENT in written.get("VersionStages", ()) else None

    async def _get(self, path: str, stage: str) -> dict[str, Any]:
        return await self._ask("get_secret_value", path, SecretId=path, VersionStage=stage)

    async def _get_or_none(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._get(path, CURRENT)
        except NoSuchSecret:
            return None

    async def _current(self, path: str) -> str:
        described = await self._ask("describe_secret", path, SecretId=path)
        if described.get("DeletedDate") is not None:
            return ""
        stages: dict[str, list[str]] = described.get("VersionIdsToStages", {})
        return next((version for version, names in stages.items() if CURRENT in names), "")

    async def _ask(self, action: str, path: str, **parameters: Any) -> dict[str, Any]:
        """Ask AWS one question. Raises StoreFailed; nothing of what was asked or answered stands in it."""
        _hold_inside(path)
        opened = await self._opened(path)
        _hold_region(path, opened.region)
        try:
            async with self._clock.timeout_at(self._clock.now() + self._config.timeout):
                answer: dict[str, Any] = await getattr(opened.api, action)(**parameters)
                return answer
        except sdk_errors() as error:  # TimeoutError is an OSError.
            failure = failed(path, action, error)
        if isinstance(failure, StaleLogin):
            await self._retire(opened)
        raise failure

    async def _opened(self, path: str) -> Opened:
        async with self._opening:
            if self._is_closed:
                raise StoreFailed(f"{path} in AWS Secrets Manager: the store is closed")
            trust = await self._trusted(path)
            if self._client is not None and trust is not self._trust:
                await self._retire(self._client)
            if self._client is None:
                self._client, self._trust = await self._open_anew(path), trust
            return self._client

    async def _trusted(self, path: str) -> object:
        """Give what is another object as soon as `ca_file` is another file; the SDK reads it as a client is opened."""
        if self._config.ca_file is None:
            return None
        try:
            return await asyncio.to_thread(self._network.context, self._config.ca_file)
        except ValueError as error:
            raise StoreFailed(f"{path} in AWS Secrets Manager: {error}") from None

    async def _open_anew(self, path: str) -> Opened:
        try:
            return await self._open(self._config)
        except sdk_errors() as error:
            failure = failed(path, "open", error)
        raise failure

    async def _retire(self, opened: Opened) -> None:
        """Have the next question open a client anew, with credentials as they are then."""
        if self._client is not opened:
            return
        self._client, self._retired, gone = None, opened, self._retired
        if gone is not None:
            await gone.close()


def _secret(path: str, answer: dict[str, Any]) -> Secret:
    return Secret(_content(path, answer), _version(answer))


def _version(answer: dict[str, Any] | None) -> str:
    return "" if answer is None else str(answer["VersionId"])


def _content(path: str, answer: dict[str, Any]) -> bytes:
    text, raw = answer.get("SecretString"), answer.get("SecretBinary")
    content = text.encode() if isinstance(text, str) else raw
    if not isinstance(content, bytes) or not content:
        raise StoreFailed(f"{path} in AWS Secrets Manager: the current version is empty")
    return content


def _shape(content: bytes, *, is_binary: bool) -> dict[str, str | bytes]:
    """Store text as text, so that people and other readers find it where they look."""
    try:
        return {"SecretBinary": content} if is_binary else {"SecretString": content.decode()}
    except UnicodeDecodeError:
        return {"SecretBinary": content}


def _following(place: str, version: str, number: int) -> str:
    """Give the id for the version that follows `version`: the same in every pod, 64 characters as AWS allows."""
    return hashlib.sha256(f"{place}\0{version}\0{number}".encode()).hexdigest()


def _hold_inside(path: str) -> None:
    """Refuse what looks as if it led elsewhere; AWS takes such names, and no one means them."""
    if {".", ".."}.intersection(path.split("/")):
        raise StoreFailed(f"{path} in AWS Secrets Manager: write a name without the parts . and ..")


def _hold_region(path: str, region: str) -> None:
    if path.startswith("arn:") and path.split(":")[3:4] != [region]:
        raise StoreFailed(f"{path} is in another region than the store ({region}); make a second section for that one")
