"""A scripted Vault: says exactly what a test wants of it, and a store that asks it."""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sidecar.auth.secrets.vault.config import TokenFile, VaultAddress, VaultStoreConfig
from sidecar.auth.secrets.vault.store import VaultStore
from tests.contract.connecting import Connecting
from tests.kit.clock import ManualClock
from tests.kit.exchange import Request
from tests.kit.vendor import Vendor, answer

Said = tuple[int, Any]  # Status and document.
VALUE: Said = (200, {"data": {"data": {"k": "v"}, "metadata": {"version": 1, "created_time": "t"}}})
SEALED: Said = (503, {"errors": ["Vault is sealed"]})


def life(ttl: int = 3600, *, is_renewable: bool = True) -> Said:
    """What a token's look-up says."""
    return 200, {"data": {"ttl": ttl, "renewable": is_renewable, "expire_time": "2026-01-02T00:00:00Z"}}


def granted(token: str, seconds: int = 3600, *, is_renewable: bool = True) -> Said:
    """What a login or a renewal says."""
    return 200, {"auth": {"client_token": token, "lease_duration": seconds, "renewable": is_renewable}}


def write(said: Said, headers: list[tuple[bytes, bytes]] | None = None) -> bytes:
    """The answer's bytes."""
    body = said[1] if isinstance(said[1], bytes) else json.dumps(said[1]).encode()
    return answer(body, status=said[0], headers=[(b"Content-Type", b"application/json"), *(headers or [])])


class Script:
    """Says by path what was set last; `asked` are the paths, in order."""

    def __init__(self, **said: Said) -> None:
        self.said: dict[str, Said] = {"lookup-self": life(), "data/app": VALUE, "revoke-self": (204, b"")}
        self.said.update(said)
        self.asked: list[str] = []

    def __call__(self, request: Request) -> bytes:
        """Answer as set."""
        path = request.target.decode().partition("?")[0]
        name = next((name for name in self.said if path.endswith(f"/{name}")), None)
        self.asked.append(path.removeprefix("/v1/"))
        return write(self.said[name] if name is not None else (404, {"errors": []}))

    def count(self, name: str) -> int:
        """How often a path with this end was asked."""
        return sum(path.endswith(name) for path in self.asked)


class Notices(list[tuple[str, str]]):
    """What the store had to say: msg and the rest."""

    def __call__(self, level: str, msg: str, **fields: Any) -> None:
        """Take a line."""
        self.append((msg, f"{level} {fields}"))

    def count_of(self, msg: str) -> int:
        """How often."""
        return sum(notice[0] == msg for notice in self)


def token_file(folder: Path, token: str) -> str:
    """A file with a token."""
    place = folder / "token"
    place.touch(mode=0o600)
    place.write_text(token)
    return str(place)


@asynccontextmanager
async def opened(
    url: str, file: str, clock: ManualClock, notices: Callable[..., None] | None = None, **settings: Any
) -> AsyncIterator[VaultStore]:
    """A store that asks `url` with the token in `file`, version 2, closed in the end."""
    config = VaultStoreConfig(
        address=VaultAddress.parse(url),
        auth=settings.pop("auth", None) or TokenFile(token_file=file),
        kv_version=2,
        **settings,
    )
    store = VaultStore(
        config, clock, lambda: 0.5, Connecting(clock).network, notices if notices is not None else Notices()
    )
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def asking(
    script: Any,
    folder: Path,
    clock: ManualClock,
    *,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    **more: Any,
) -> AsyncIterator[tuple[VaultStore, Vendor]]:
    """A store and its scripted Vault."""
    async with (
        Vendor.answering(script, tls=tls) as vendor,
        opened(vendor.url, token_file(folder, token or "t"), clock, **more) as store,
    ):
        yield store, vendor
        await store.close()
