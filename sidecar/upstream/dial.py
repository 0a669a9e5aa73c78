"""Dial: from a vendor's name to a connection that is ready for its first request.

Resolve, judge every address, connect to those that passed (never to a second look-up's), speak CONNECT if there is a
proxy, then TLS. SNI, the name in the certificate and the name looked up are the origin's host: one and the same.
Each step has a time limit of its own; the deadline of the call bounds them all.
"""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from aiohappyeyeballs import start_connection

from sidecar.core.call import AttemptRecord
from sidecar.core.clock import Clock
from sidecar.core.errors import AddressDenied, ConnectFailed, DeadlineExceeded, DnsFailed, SidecarError, TlsFailed
from sidecar.upstream.failures import connect_failed, tls_failed
from sidecar.upstream.guard import denied
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.proxy import Proxy
from sidecar.upstream.resolve import AddrInfo, Resolver
from sidecar.upstream.tls import ClientContext

FALLBACK_DELAY = 0.25  # Seconds until the next address is tried beside the one that does not answer (RFC 8305).
SHUTDOWN_MAX = 1.0  # Seconds that a vendor has to return our close_notify; then the socket is closed without it.
_NEVER_FIRST = 3600.0  # The loop's own handshake limit, which must not act before ours.

P = TypeVar("P", bound=asyncio.BaseProtocol)


class _Connecting:
    """The one thing that `start_connection` asks of the loop it is given.

    uvloop's own looks up even an address, in its few threads; a name server that does not answer for one vendor holds
    them all, and nobody would get to any other.
    """

    @staticmethod
    async def sock_connect(sock: socket.socket, address: tuple[Any, ...]) -> None:
        """Connect a socket that does not block. Raises OSError."""
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            loop = asyncio.get_running_loop()
            is_writable = asyncio.Event()
            loop.add_writer(sock, is_writable.set)
            try:
                await is_writable.wait()
            finally:
                loop.remove_writer(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))


class Dialer:
    """Makes connections to one vendor; timeouts in seconds, each for its own step."""

    def __init__(
        self,
        origin: BaseUrl,
        resolver: Resolver,
        clock: Clock,
        *,
        dns_timeout: float,
        connect_timeout: float,  # The proxy's answer included.
        tls_timeout: float,
        allow_private: bool = False,
        tls: ClientContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        assert origin.is_tls == (tls is not None), "a context for https, none for http"
        self.origin = origin
        self._resolver = resolver
        self._clock = clock
        self._dns_timeout = dns_timeout
        self._connect_timeout = connect_timeout
        self._tls_timeout = tls_timeout
        self._allow_private = allow_private
        self._tls = tls
        self._proxy = proxy
        self._host = origin.host.rstrip(".")  # A name's trailing dot is DNS's, and stands in no certificate.

    async def dial(
        self, protocol_factory: Callable[[], P], record: AttemptRecord, deadline_at: float
    ) -> tuple[asyncio.Transport, P]:
        """Give a connected transport and the protocol made for it; fills the times into `record`.

        Raises DnsFailed, AddressDenied, ConnectFailed, TlsFailed, or DeadlineExceeded with the step that used the
        time up. Whatever it raises, and when it is cancelled, no socket is left open.
        """
        addresses = await self._resolve(record, deadline_at)
        sock = await self._connect(addresses, record, deadline_at)
        try:
            return await self._hand_over(sock, protocol_factory, record, deadline_at)
        except BaseException:
            # If a transport owns the socket already, both loops put the closing off until the transport is closed.
            sock.close()
            raise

    async def _resolve(self, record: AttemptRecord, deadline_at: float) -> list[AddrInfo]:
        near = self.origin if self._proxy is None else self._proxy.url
        started_at = self._clock.now()
        slow = DnsFailed(
            f"the look-up of {near.host} took longer than dns_timeout = {self._dns_timeout:g}s",
            proxy_error="dns_timeout",
        )
        try:
            async with self._step("resolving the vendor's name", self._dns_timeout, deadline_at, slow):
                addresses = await self._resolver.resolve(near.host, near.port)
        except DnsFailed as error:
            stale = self._resolver.last_good(near.host, near.port) if error is slow else None
            if stale is None:
                raise
            addresses = stale
        finally:
            record.dns_s = self._clock.now() - started_at
        return self._judge(addresses)

    def _judge(self, addresses: Sequence[AddrInfo]) -> list[AddrInfo]:
        """Keep the addresses that may be connected to. Raises AddressDenied if that is none."""
        if self._proxy is not None:
            self._judge_literal(self._proxy)
        # A corporate proxy is private as a rule, and the operator wrote it down; metadata stays out of reach.
        allow_private = self._allow_private or self._proxy is not None
        verdicts = [(info, denied(str(info[4][0]), allow_private=allow_private)) for info in addresses]
        kept = [info for info, why in verdicts if why is None]
        if not kept:
            info, why = verdicts[0]
            near = self.origin if self._proxy is None else self._proxy.url
            raise _address_denied(near.host, str(info[4][0]), str(why))
        return kept

    def _judge_literal(self, proxy: Proxy) -> None:
        """Judge an IP address that stands in the URL; a name behind the proxy is the proxy's to resolve."""
        address = proxy.literal(self._host)
        why = None if address is None else denied(address, allow_private=self._allow_private)
        if address is not None and why is not None:
            raise _address_denied(self._host, address, why)

    async def _connect(self, addresses: list[AddrInfo], record: AttemptRecord, deadline_at: float) -> socket.socket:
        where = self._where(addresses)
        started_at = self._clock.now()
        slow = ConnectFailed(
            f"{where} did not answer within connect_timeout = {self._connect_timeout:g}s",
            proxy_error="connection_timeout",
        )
        try:
            async with self._step("connecting", self._connect_timeout, deadline_at, slow):
                return await self._open(addresses)
        except OSError as error:
            raise connect_failed(where, error) from error
        finally:
            record.connect_s = self._clock.now() - started_at

    async def _open(self, addresses: list[AddrInfo]) -> socket.socket:
        loop = cast("asyncio.AbstractEventLoop", _Connecting)
        sock = await start_connection(addresses, happy_eyeballs_delay=FALLBACK_DELAY, interleave=1, loop=loop)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._proxy is not None:
                await self._proxy.open(sock, self.origin)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _hand_over(
        self, sock: socket.socket, protocol_factory: Callable[[], P], record: AttemptRecord, deadline_at: float
    ) -> tuple[asyncio.Transport, P]:
        loop = asyncio.get_running_loop()
        if self._tls is None:
            return await loop.create_connection(protocol_factory, sock=sock)
        started_at = self._clock.now()
        slow = TlsFailed(
            f"{self._host} did not finish the TLS handshake within tls_timeout = {self._tls_timeout:g}s",
            proxy_error="connection_timeout",
        )
        try:
            async with self._step("the TLS handshake", self._tls_timeout, deadline_at, slow):
                return await loop.create_connection(
                    protocol_factory,
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=self._host,
                    ssl_handshake_timeout=_NEVER_FIRST,
                    ssl_shutdown_timeout=SHUTDOWN_MAX,
                )
        except OSError as error:
            self._tls.forget(self._host)
            raise tls_failed(self.origin, error) from error
        finally:
            record.tls_s = self._clock.now() - started_at

    @asynccontextmanager
    async def _step(self, name: str, seconds: float, deadline_at: float, slow: SidecarError) -> AsyncIterator[None]:
        """Bound a step: raises `slow` when its own limit ends it, DeadlineExceeded when the call's deadline does."""
        ends_at = self._clock.now() + seconds
        try:
            async with self._clock.timeout_at(min(ends_at, deadline_at)):
                yield
        except TimeoutError as error:
            if error.errno is not None:
                raise  # The system's ETIMEDOUT has the same type.
            if ends_at <= deadline_at:
                raise slow from None
            raise DeadlineExceeded(f"the time is used up; the step that used it: {name}") from None

    def _where(self, addresses: list[AddrInfo]) -> str:
        near, what = (self.origin, "") if self._proxy is None else (self._proxy.url, "the proxy ")
        tried = ", ".join(str(info[4][0]) for info in addresses[:4]) + (", ..." if len(addresses) > 4 else "")
        return f"{what}{near.host}:{near.port}" + ("" if tried == near.host else f" ({tried})")


def _address_denied(host: str, address: str, why: str) -> AddressDenied:
    leads = why if host == address else f"{host} leads to {address}: {why}"
    if denied(address, allow_private=True) is not None:
        return AddressDenied(f"{leads}; metadata addresses are never connected to")
    return AddressDenied(f"{leads}; if this vendor is inside your own network, write allow_private = true")
