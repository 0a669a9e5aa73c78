"""How a store on the network connects in tests: as in production, through the resolver and the egress guard."""

from typing import Any

import aiohttp

from sidecar.auth.network import Network
from sidecar.core.clock import Clock
from sidecar.generation import network_of
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import Trust


class Connecting:
    """The product's network, which counts the connectors that it makes."""

    def __init__(self, clock: Clock) -> None:
        self.opened = 0
        self._inner = network_of(Resolver(clock), Trust())
        self.network: Network = self._inner._replace(connect=self._connect)

    def _connect(self, **wanted: Any) -> aiohttp.BaseConnector:
        self.opened += 1
        return self._inner.connect(**wanted)
