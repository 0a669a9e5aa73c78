"""The stores that a contract is held over: memory, a file, and a real Valkey; and how time passes for each."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from sidecar.core.secret import Secret
from sidecar.core.units import Size
from sidecar.store.base import Store
from sidecar.store.config import Nodes, StoreConfig
from sidecar.store.opening import Around, open_store
from tests.kit.clock import ManualClock
from tests.kit.servers import Servers
from tests.kit.valkey import Valkey

ROOM = Size(2**20)
TIMED_ROWS = (b"}:due", b"}:running", b"}:d:")  # Of a backlog in Valkey: by milliseconds.
TIMES = ("created", "wanted", "settled")  # Of an entry there.


class Place(ABC):
    """One store, and time for it."""

    name: ClassVar[str]  # Which is its kind, too, unless it says another.
    kind: ClassVar[str] = ""
    serve: ClassVar[Callable[[], AbstractContextManager[Any]]] = contextlib.nullcontext

    def __init__(self, server: Any, folder: Path, clock: ManualClock) -> None:
        self.server = server
        self.clock = clock
        self.around = Around(clock, lambda: 0.5, lambda *_, **__: None, folder, None)

    @abstractmethod
    def make(self) -> Store:
        """Make a store; called twice, a second one on the same."""

    async def pass_time(self, seconds: float) -> None:
        """Let time go on, where the store sees it."""
        await self.clock.advance(seconds)

    @contextlib.contextmanager
    def full(self) -> Any:
        """Have no room left but for what is small, while the block runs."""
        yield


class InMemory(Place):
    """Memory."""

    name = "memory"

    def make(self) -> Store:
        """Make it."""
        return open_store(StoreConfig(kind="memory", bytes_max=ROOM), self.around)


class InSqlite(Place):
    """SQLite."""

    name = "sqlite"

    def make(self) -> Store:
        """Make it."""
        return open_store(StoreConfig(kind="sqlite", bytes_max=ROOM), self.around)


class InValkey(Place):
    """Valkey, with time that goes on where the ends of its keys are."""

    name = "valkey"
    serve: ClassVar[Callable[[], AbstractContextManager[Any]]] = Valkey.serving

    def make(self) -> Store:
        """Make it."""
        server: Valkey = self.server
        password = Secret(server.password.encode(), "1")
        return open_store(self.config, self.around._replace(password=lambda: password))

    @property
    def config(self) -> StoreConfig:
        """The section."""
        return StoreConfig(kind="valkey", url=Nodes.parse(self.server.url))

    def empty(self) -> None:
        """Take away all that is there."""
        with self.server.client as client:
            client.flushall()

    async def pass_time(self, seconds: float) -> None:
        """Bring every end nearer."""
        await asyncio.to_thread(self._bring_nearer, seconds)

    def _bring_nearer(self, seconds: float) -> None:
        by = round(seconds * 1000)
        with self.server.client as client:
            for key in client.scan_iter(count=1000):
                left = client.pttl(key)
                if 0 <= left <= by:
                    client.delete(key)
                elif left > 0:
                    client.pexpire(key, left - by)
                if any(row in key for row in TIMED_ROWS):
                    for member, score in client.zrange(key, 0, -1, withscores=True):
                        client.zadd(key, {member: score - by})
                elif b":e:" in key:
                    for field in TIMES:
                        if client.hexists(key, field):
                            client.hincrby(key, field, -by)

    @contextlib.contextmanager
    def full(self) -> Any:
        """Lower the bound below what it uses."""
        with self.server.client as client:
            client.config_set("maxmemory", 1)
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)
                client.flushall()


class InFallback(InValkey):
    """Valkey with a file beside it, which takes what Valkey does not while that is away."""

    name = "fallback"
    kind = "valkey"

    @property
    def config(self) -> StoreConfig:
        """The section."""
        return StoreConfig(kind="valkey", url=Nodes.parse(self.server.url), fallback="sqlite")


PLACES: list[type[Place]] = [InMemory, InSqlite, InValkey, InFallback]


async def new_place(kind: type[Place], servers: Servers, folder: Path, clock: ManualClock) -> Place:
    """Give an empty place of a kind."""
    made = kind(servers.get(kind.serve), folder, clock)
    if isinstance(made, InValkey):
        await asyncio.to_thread(made.empty)
    return made
