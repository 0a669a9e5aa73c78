"""The store that pods share: Valkey or Redis. Nothing of ours elects, replicates or shards; that is the engine's."""

import ssl
from collections.abc import Callable
from typing import Any

from sidecar.core.clock import Clock
from sidecar.store.base import StoreFailed
from sidecar.store.config import StoreConfig
from sidecar.store.valkey.backlog import ValkeyBacklog
from sidecar.store.valkey.client import ValkeyClient
from sidecar.store.valkey.connecting import Read, connect
from sidecar.store.valkey.permits import ValkeyPermits
from sidecar.store.valkey.records import ValkeyLeases, ValkeyRecords


class ValkeyStore:
    """Records, leases and a backlog in Valkey. A server that is away at the start is no reason not to start."""

    is_shared = True
    is_durable = True

    def __init__(
        self,
        config: StoreConfig,
        prefix: str,
        context: ssl.SSLContext | None,
        password: Read | None,
        sentinel_password: Read | None,
        clock: Clock,
        jitter: Callable[[], float],
        tell: Callable[..., None],
    ) -> None:
        name = str(config.nodes)
        driver = connect(config, context, password, sentinel_password)
        self._name = name
        self._mode = config.mode
        self._timeout = float(config.timeout)
        self._timeout = float(config.timeout)
        self.client = ValkeyClient(driver, name, prefix, config.connections_max, self._timeout, clock, jitter, tell)
        self.records = ValkeyRecords(self.client)
        self.leases = ValkeyLeases(self.client)
        self.backlog = ValkeyBacklog(self.client)
        self.permits = ValkeyPermits(self.client)

    @property
    def is_up(self) -> bool:
        """Whether it answered last."""
        return self.client.reach.is_up

    async def open(self) -> None:
        """Look whether it is there; if it is not, that is told, and it is looked after."""
        try:
            await self.client.look(within=self._timeout)
        except StoreFailed:
            return

    async def close(self) -> None:
        """Finish what was asked, and let go of the connections."""
        await self.backlog.close(self._timeout)
        await self.client.close()

    def snapshot(self) -> dict[str, Any]:
        """Show how it stands."""
        reach = self.client.reach
        shown: dict[str, Any] = {
            "kind": "valkey",
            "url": self._name,
            "mode": self._mode or "standalone",
            "up": reach.is_up,
        }
        return shown | ({"problem": reach.problem} if reach.problem else {})
