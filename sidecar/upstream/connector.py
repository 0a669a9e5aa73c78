"""Connector: how aiohttp connects for what is not the data plane, under the rules that hold for vendors.

Token endpoints and secret stores are asked with plain aiohttp. Its connections come from here, so that names go through
our resolver, every address is judged by the egress guard at the moment of connecting, a literal one too, and trust is
what `ca_file` says.
"""

import errno
import socket
import ssl
from typing import Any

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from sidecar.core.errors import DnsFailed
from sidecar.upstream.guard import denied
from sidecar.upstream.resolve import AddrInfo, Resolver

CONNECTIONS_MAX = 8  # To one store or token endpoint. Full: the next question waits, within its own timeout.
IDLE_MAX = 30.0  # Seconds that a connection is kept for the next question.


class NotAllowed(OSError):
    """The egress guard refused an address; `strerror` is the sentence."""


def guarded(resolver: Resolver, context: ssl.SSLContext, *, allow_private: bool) -> TCPConnector:
    """Make a connector; whoever gets it closes it. It is made inside of a running loop."""

    def make_socket(info: Any) -> socket.socket:
        address = str(info[4][0])
        why = denied(address, allow_private=allow_private)
        if why is not None:
            raise NotAllowed(errno.EACCES, _sentence(address, why))
        return socket.socket(info[0], info[1], info[2])

    return TCPConnector(
        resolver=_Names(resolver),
        ssl=context,
        socket_factory=make_socket,
        use_dns_cache=False,  # The resolver is the cache, with what it does when look-ups fail.
        limit=CONNECTIONS_MAX,
        keepalive_timeout=IDLE_MAX,
    )


def _sentence(address: str, why: str) -> str:
    if denied(address, allow_private=True) is not None:
        return f"{address} is not connected to: {why}; metadata addresses never are"
    return f"{address} is not connected to: {why}; if it is inside your own network, write allow_private = true"


class _Names(AbstractResolver):
    """Our resolver in the form that aiohttp asks for."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give the addresses. Raises OSError with the resolver's sentence."""
        try:
            found = await self._resolver.resolve(host, port)
        except DnsFailed as failure:
            raise OSError(errno.EHOSTUNREACH, failure.detail) from None
        return [_result(host, info) for info in found if family in {socket.AF_UNSPEC, info[0]}]

    async def close(self) -> None:
        """Do nothing: the resolver is everybody's."""


def _result(host: str, info: AddrInfo) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=str(info[4][0]),
        port=int(info[4][1]),
        family=info[0],
        proto=info[2],
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
