"""Network: the way to a token endpoint or a secret store, through the egress guard.

The parts stand in upstream/, and are handed over.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from sidecar.core.errors import DnsFailed

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]


class Judge(Protocol):
    """The egress guard."""

    def __call__(self, address: str, *, allow_private: bool) -> str | None:
        """Say why an address is not connected to, or None."""


class Network(NamedTuple):
    """The way out, as services have it."""

    resolve: Callable[[str, int], Awaitable[Sequence[AddrInfo]]]  # upstream/resolve.py
    denied: Judge  # upstream/guard.py
    context: Callable[[str | None], ssl.SSLContext]  # By ca_file, shared: upstream/tls.py, Contexts.get.
    own_context: Callable[[str | None], ssl.SSLContext]  # The same, of its own, to put a certificate into.


class Gate:
    """Makes the sockets of one connector: an address that is denied gets none. It judges the very address dialled."""

    __slots__ = ("_allow_private", "_denied", "_made", "verdict")

    def __init__(self, denied: Judge, *, allow_private: bool) -> None:
        self._denied = denied
        self._allow_private = allow_private
        self._made: list[socket.socket] = []  # As many as the name has addresses.
        self.verdict: str | None = None  # Why the last address was denied.

    def __call__(self, info: AddrInfo) -> socket.socket:
        """Give a socket for the address. Raises OSError, so that the next address is tried."""
        why = self._denied(str(info[4][0]), allow_private=self._allow_private)
        if why is not None:
            self.verdict = why
            raise PermissionError(why)
        made = socket.socket(info[0], info[1], info[2])
        self._made.append(made)
        return made

    def close(self) -> None:
        """Close what is still open when the request is over: after a failed handshake aiohttp leaves it to the end.

        If a transport owns the socket, both loops put the closing off until the transport is closed.
        """
        while self._made:
            self._made.pop().close()


class Names(AbstractResolver):
    """Our resolver in aiohttp's form."""

    def __init__(self, resolve: Callable[[str, int], Awaitable[Sequence[AddrInfo]]]) -> None:
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give all addresses. Raises OSError."""
        try:
            found = await self._resolve(host, port)
        except DnsFailed as failure:
            raise OSError(failure.detail) from None
        return [_result(host, port, info) for info in found if family in {socket.AF_UNSPEC, info[0]}]

    async def close(self) -> None:
        """Nothing: the resolver is the generation's."""


def _result(host: str, port: int, info: AddrInfo) -> ResolveResult:
    address = str(info[4][0])
    return ResolveResult(
        hostname=host, host=address, port=port, family=info[0], proto=info[2], flags=socket.AI_NUMERICHOST
    )


def connector(network: Network, gate: Gate, context: ssl.SSLContext | None) -> aiohttp.TCPConnector:
    """Make the connector for one request; inside of a loop. Without a context it speaks no TLS."""
    return aiohttp.TCPConnector(
        resolver=Names(network.resolve),
        use_dns_cache=False,  # Our resolver has one.
        ssl=context or True,
        force_close=True,
        limit=1,
        socket_factory=gate,
    )
