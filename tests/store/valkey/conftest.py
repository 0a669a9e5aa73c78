"""A store in Valkey, with what it told, and servers to have it in."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.clock import SystemClock
from sidecar.core.secret import Secret
from sidecar.core.units import Duration
from sidecar.store.config import Nodes, StoreConfig
from sidecar.store.opening import Around, open_store
from sidecar.store.valkey.store import ValkeyStore
from tests.kit.valkey import Valkey

WAIT_MAX = 20.0

Line = dict[str, Any]


class Told:
    """The lines of a store, and what its listeners heard."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.heard: list[bool] = []
        self._changed = asyncio.Event()

    def tell(self, level: str, msg: str, **fields: Any) -> None:
        """Keep a line."""
        self.lines.append({"level": level, "msg": msg, **fields})
        self._changed.set()

    async def wait_for(self, msg: str, count: int = 1) -> Line:
        """Wait for the line of that name, or for that many of them."""
        async with asyncio.timeout(WAIT_MAX):
            while len(found := [line for line in self.lines if line["msg"] == msg]) < count:
                self._changed.clear()
                await self._changed.wait()
        return found[-1]

    @property
    def names(self) -> list[str]:
        """What was told, in order."""
        return [line["msg"] for line in self.lines]


@asynccontextmanager
async def opened(
    url: str,
    told: Told,
    password: str | Callable[[], Secret | None],
    *,
    context: ssl.SSLContext | None = None,
    sentinel_password: str | None = None,
    environment: str | None = None,
    timeout: float = 1.0,
    **keys: Any,
) -> AsyncIterator[ValkeyStore]:
    """Open a store, and close it when the block is left. `keys` are those of `[store]`."""

    def reader(value: str) -> Callable[[], Secret]:
        return lambda: Secret(value.encode(), "1")

    config = StoreConfig(kind="valkey", url=Nodes.parse(url), timeout=Duration(timeout), **keys)
    assert config.problems() == []
    around = Around(
        SystemClock(), lambda: 0.0, told.tell, Path(), environment, context,
        password=reader(password) if isinstance(password, str) else password,
        sentinel_password=None if sentinel_password is None else reader(sentinel_password),
    )  # fmt: skip
    store = open_store(config, around)
    assert isinstance(store, ValkeyStore)
    store.client.listeners.append(told.heard.append)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def told() -> Told:
    """What a store of the test tells."""
    return Told()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A server of the test's own, which it may kill."""
    with Valkey.serving(is_durable=True) as server:
        yield server
