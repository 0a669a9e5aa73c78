"""Store: secrets of Vault's key-value engines; version 2 counts its versions, version 1 has none."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable
from urllib.parse import quote

import msgspec

from sidecar.auth.network import Network
from sidecar.auth.secrets.document import fields_of, with_field
from sidecar.auth.secrets.store import StoreConflict, StoreFailed
from sidecar.auth.secrets.vault.answers import Metadata, Mounts, Plain, Version, Versioned, Written
from sidecar.auth.secrets.vault.config import VaultStoreConfig
from sidecar.auth.secrets.vault.http import VaultHttp, VaultRefused, place_of
from sidecar.auth.secrets.vault.login import Login, Notice
from sidecar.core.clock import Clock
from sidecar.core.secret import Secret

_KV = frozenset({"kv", "generic"})  # The latter is what version 1 was called.


class VaultStore:
    """One mount of one Vault. A reference's path is the path below the mount; its field is a field there."""

    def __init__(
        self, config: VaultStoreConfig, clock: Clock, jitter: Callable[[], float], network: Network, notice: Notice
    ) -> None:
        self.poll_s = float(config.ttl)
        self.stale_max = float(config.stale_max)
        self._config = config
        self._mount = config.mount
        self._http = VaultHttp(config, clock, network)
        self._login = Login(config, self._http, clock, jitter, notice)
        self._kv_version: int = config.kv_version or 0
        self._asking = asyncio.Lock()
        self._asked_in_turn = 0  # The login at which the server told the engine's version.
        self._may_see_metadata = True
        self._digest_key = os.urandom(32)  # So that a version does not tell a short secret by trying.

    async def fetch(self, path: str) -> Secret:
        """Read the whole object, as JSON. Raises StoreFailed; a deleted version has a sentence of its own."""
        if await self._version() == 1:
            return await self._fetch_plain(path)
        return await self._fetch_version(path)

    async def fetch_previous(self, path: str) -> Secret | None:
        """Read the version before the current one; None where there is none. Raises StoreFailed."""
        if await self._version() == 1:
            return None
        current = _number((await self._fetch_version(path)).version)
        try:
            return await self._fetch_version(path, current - 1) if current > 1 else None
        except VaultRefused as refused:
            if refused.status == 404:  # Deleted, destroyed, or past the versions that the engine keeps.
                return None
            raise

    async def has_changed(self, path: str, version: str) -> bool:
        """Whether there is another version. Where the policy hides the metadata, or there is none, the value is read.

        Raises StoreFailed.
        """
        try:
            if await self._version() == 2 and self._may_see_metadata:
                return await self._has_other_version(path, version)
            return (await self.fetch(path)).version != version
        except VaultRefused as refused:
            if refused.status == 404:
                return True  # So it is read, and the reading says what is wrong.
            raise

    async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:
        """Write one field, or with no field a whole JSON object, where `version` is the stored one ("": nothing is).

        Version 2 of the engine compares by itself (check-and-set), so of two writers one gets StoreConflict. Version 1
        cannot: it is read, compared, written and read again, and who writes in the moment between is lost without a
        word, or is told by the second reading. For refresh tokens that rotate, use version 2. Raises StoreFailed.
        """
        kv_version = await self._version()
        where = f"{self._mount}/{path}"
        if field is None:
            fields_of(value, where)
            document = value
        else:
            document = with_field(await self._stored(path, version), field, value, where)
        if kv_version == 1:
            return await self._put_plain(path, document, value, version)
        return await self._put_version(path, document, value, version)

    async def close(self) -> None:
        """Log out, and close the connections."""
        await self._login.close()
        await self._http.close()

    # Version 2.

    async def _fetch_version(self, path: str, number: int = 0) -> Secret:
        doing = f"reading {self._mount}/{path}"
        query = f"?version={number}" if number else ""
        try:
            answer = await self._ask("GET", f"data/{place_of(self._mount, path)}{query}", doing)
        except VaultRefused as refused:
            raise self._without_value(path, refused) from None
        value = self._http.read(Versioned, answer, doing).data
        return Secret(self._object(value.data, path), _name(value.metadata, value.metadata.version))

    async def _has_other_version(self, path: str, version: str) -> bool:
        doing = f"reading the version of {self._mount}/{path}"
        try:
            answer = await self._ask("GET", f"metadata/{place_of(self._mount, path)}", doing)
        except VaultRefused as refused:
            if refused.status != 403:
                raise
            self._may_see_metadata = False  # Many policies grant data/ alone. The value tells, too.
            return (await self.fetch(path)).version != version
        history = self._http.read(Metadata, answer, doing).data
        current = history.versions.get(str(history.current_version))
        if current is None or current.destroyed or _name(current, history.current_version) != version:
            return True
        # A version with an end to come reads like one that ended; reading it tells them apart.
        return bool(current.deletion_time) and (await self.fetch(path)).version != version

    async def _put_version(self, path: str, document: bytes, value: bytes, version: str) -> str:
        doing = f"writing {self._mount}/{path}"
        body = {"options": {"cas": _number(version)}, "data": msgspec.Raw(document)}
        try:
            answer = await self._ask("POST", f"data/{place_of(self._mount, path)}", doing, body, (value,))
        except VaultRefused as refused:
            if refused.status == 400 and b"check-and-set" in refused.body:
                raise self._conflict(path) from None
            raise
        written = self._http.read(Written, answer, doing).data
        return _name(written, written.version)

    # Version 1.

    async def _fetch_plain(self, path: str) -> Secret:
        doing = f"reading {self._mount}/{path}"
        try:
            answer = await self._ask("GET", place_of(self._mount, path), doing)
        except VaultRefused as refused:
            raise self._without_value(path, refused) from None
        document = self._object(self._http.read(Plain, answer, doing).data, path)
        return Secret(document, self._digest(document))

    async def _put_plain(self, path: str, document: bytes, value: bytes, version: str) -> str:
        await self._stored(path, version)
        await self._ask(
            "POST", place_of(self._mount, path), f"writing {self._mount}/{path}", msgspec.Raw(document), (value,)
        )
        stored = await self._fetch_plain(path)
        if stored.version != self._digest(document):
            raise self._conflict(path)
        return stored.version

    def _digest(self, document: bytes) -> str:
        """Name a value of an engine without versions; the order of its fields is the server's and means nothing."""
        canonical = msgspec.json.encode(msgspec.json.decode(document), order="sorted")
        return hashlib.blake2b(canonical, key=self._digest_key, digest_size=8).hexdigest()

    # Both.

    async def _stored(self, path: str, version: str) -> bytes:
        """Give the object that is to be changed; b"" if there is none and none is expected. Raises StoreConflict."""
        try:
            stored = await self.fetch(path)
        except VaultRefused as refused:
            if refused.status != 404:
                raise
            if version:
                raise self._conflict(path) from None
            return b""
        if stored.version != version:
            raise self._conflict(path)
        return stored.reveal()

    async def _version(self) -> int:
        """Give the engine's version; unless it is configured the server tells it after each login."""
        if self._config.kv_version is not None:
            return self._kv_version
        await self._login.token()
        if self._asked_in_turn != self._login.turns:
            async with self._asking:
                await self._learn_version()
        return self._kv_version

    async def _learn_version(self) -> None:
        turn = self._login.turns
        if self._asked_in_turn != turn:
            self._kv_version = await self._ask_version()
            self._asked_in_turn = turn
            self._may_see_metadata = True  # The policy may be another one, too.

    async def _ask_version(self) -> int:
        doing = f"asking which engine is mounted at {self._mount}"
        try:
            answer = await self._login.ask("GET", f"sys/internal/ui/mounts/{quote(self._mount)}", doing)
        except VaultRefused as refused:
            if refused.status != 403:
                raise
            raise StoreFailed(
                f"{refused}; is there such a mount{self._in_namespace()}, and may the login read below it? With"
                " kv_version = 1 or 2 it is not asked"
            ) from None
        mount = self._http.read(Mounts, answer, doing).data
        if mount.type not in _KV:
            raise StoreFailed(
                f"{self._mount} at {self._http.address} is an engine of the type {mount.type}; secrets are read from"
                ' kv engines; for one that makes credentials write engine = "dynamic"'
            )
        return 2 if mount.options is not None and mount.options.version == "2" else 1

    async def _ask(self, method: str, path: str, doing: str, body: object = None, hide: Iterable[bytes] = ()) -> bytes:
        return await self._login.ask(method, f"{quote(self._mount)}/{path}", doing, body, hide)

    def _object(self, data: msgspec.Raw, path: str) -> bytes:
        document = bytes(data)
        if not document.startswith(b"{"):
            raise StoreFailed(f"{self._mount}/{path} at {self._http.address} holds no fields")
        return document

    def _without_value(self, path: str, refused: VaultRefused) -> VaultRefused:
        """Say why nothing was read; 404 comes for what never was, was deleted, and was destroyed."""
        place = f"{self._mount}/{path} at {self._http.address}"
        if refused.status == 403:
            return VaultRefused(f"{refused}; does the policy of the login allow it?", 403, b"")
        if refused.status != 404:
            return refused
        try:
            gone = msgspec.json.decode(refused.body, type=Versioned).data.metadata
        except (msgspec.DecodeError, UnicodeDecodeError):
            hint = '; write it without "data/" in front' if path.startswith("data/") else ""
            if b"versioned K/V" in refused.body:
                hint = "; the engine is of version 2, so leave kv_version out"
            return VaultRefused(f"{place} is not there{self._in_namespace()} (404){hint}", 404, b"")
        if gone.destroyed:
            return VaultRefused(f"version {gone.version} of {place} was destroyed; write a new one", 404, b"")
        when = f"version {gone.version} of {place} was deleted at {gone.deletion_time[:40]}"
        return VaultRefused(f"{when}; undelete it, or write a new one", 404, b"")

    def _in_namespace(self) -> str:
        return f" in the namespace {self._config.namespace}" if self._config.namespace is not None else ""

    def _conflict(self, path: str) -> StoreConflict:
        return StoreConflict(f"somebody else wrote {self._mount}/{path} at {self._http.address} first; read it again")


def _name(version: Version, number: int) -> str:
    """Name a version by number and time: one that was deleted for good and written anew counts from 1 again."""
    return f"{number}-{version.created_time}"


def _number(version: str) -> int:
    """Give the number for check-and-set; 0 means that nothing may be there."""
    return int(version.partition("-")[0] or 0)
