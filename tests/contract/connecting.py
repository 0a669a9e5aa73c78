"""How a store on the network connects in tests: as in production, through the resolver and the egress guard."""

import asyncio

import aiohttp

from sidecar.core.clock import Clock
from sidecar.upstream.connector import guarded
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import client_context


class Connecting:
    """Makes connectors, and counts them."""

    def __init__(self, clock: Clock) -> None:
        self.opened = 0
        self._resolver = Resolver(clock)

    async def __call__(self, ca_file: str | None, allow_private: bool) -> aiohttp.BaseConnector:
        """Make one, inside of the loop."""
        self.opened += 1
        context = await asyncio.to_thread(client_context, ca_file)
        return guarded(self._resolver, context, allow_private=allow_private)
