"""Connector: how aiohttp connects for what is not the data plane, under the rules that hold for vendors.

Token endpoints and secret stores are asked with plain aiohttp. Its connections come from here, so that names go through
our resolver, and every address is judged by the egress guard at the moment of connecting, a literal one too. Whom a
connection trusts is said with each request: aiohttp keeps connections apart by that, so none outlives its trust.
"""

import errno
import socket
from typing import Any
from weakref import WeakSet

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from sidecar.core.errors import AddressRefused, DnsFailed
from sidecar.upstream.guard import denied
from sidecar.upstream.resolve import AddrInfo, Lookup

CONNECTIONS_MAX = 8  # To one store. Full: the next question waits, within its own timeout.
IDLE_MAX = 30.0  # Seconds that a connection is kept for the next question.


class Guarded(TCPConnector):
    """Connects to what the guard allows alone; whoever makes one closes it. It is made inside of a running loop."""

    def __init__(self, resolve: Lookup, *, allow_private: bool, is_once: bool = False) -> None:
        self._allow_private = allow_private
        self._made: WeakSet[socket.socket] = WeakSet()
        super().__init__(
            resolver=_Names(resolve, allow_private=allow_private),
            use_dns_cache=False,  # The resolver is the cache, with what it does when look-ups fail.
            limit=1 if is_once else CONNECTIONS_MAX,
            force_close=is_once,
            keepalive_timeout=None if is_once else IDLE_MAX,
            socket_factory=self._make_socket,
        )

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close the connections, and what failed on its way to be one: aiohttp may leave that to the end.

        If a transport owns the socket, both loops put the closing off until the transport is closed.
        """
        try:
            await super().close(abort_ssl=abort_ssl)
        finally:
            for made in self._made:
                made.close()

    def _make_socket(self, info: Any) -> socket.socket:
        """Give a socket for the very address that is dialled. Raises AddressRefused."""
        refused = _refused(str(info[4][0]), allow_private=self._allow_private)
        if refused is not None:
            raise refused
        made = socket.socket(info[0], info[1], info[2])
        self._made.add(made)
        return made


def _refused(address: str, *, allow_private: bool) -> AddressRefused | None:
    why = denied(address, allow_private=allow_private)
    if why is None:
        return None
    if allow_private or denied(address, allow_private=True) is not None:
        return AddressRefused(errno.EACCES, f"{why}; allow_private does not change that")
    return AddressRefused(errno.EACCES, f"{why}; if it is in your own network, write allow_private = true")


class _Names(AbstractResolver):
    """Our resolver in the form that aiohttp asks for.

    It passes over the addresses that the guard denies: where some are left these are tried, and where none is, the
    guard's sentence is the error, which aiohttp would else mix with others.
    """

    def __init__(self, resolve: Lookup, *, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give the addresses. Raises AddressRefused, or OSError with the resolver's sentence."""
        try:
            found = await self._resolve(host, port)
        except DnsFailed as failure:
            raise OSError(errno.EHOSTUNREACH, failure.detail) from None
        allowed, refused = [], None
        for info in found:
            why = _refused(str(info[4][0]), allow_private=self._allow_private)
            if why is None:
                allowed.append(info)
            refused = refused or why
        if refused is not None and not allowed:
            raise refused
        return [_result(host, info) for info in allowed if family in {socket.AF_UNSPEC, info[0]}]

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
