"""What the tests of dialling share: a protocol that records, look-ups by hand, servers, and a count of open sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import trustme

from sidecar.core.call import AttemptRecord
from sidecar.core.clock import Clock, SystemClock
from sidecar.upstream.dial import Dialer
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.proxy import Proxy
from sidecar.upstream.resolve import AddrInfo, Resolver
from sidecar.upstream.tls import ClientContext, client_context
from tests.kit.clock import settle

NEVER = float("inf")
Lookup = Callable[[str, int], Awaitable[Sequence[AddrInfo]]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Recorder(asyncio.BufferedProtocol):
    """The vendor connection's stand-in: keeps what comes."""

    def __init__(self) -> None:
        self.received = b""
        self.transport: asyncio.Transport | None = None
        self.lost = asyncio.get_running_loop().create_future()
        self.arrived = asyncio.Event()
        self._buffer = bytearray(4096)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass.

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - its size never changes.
        """Give the one buffer."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Keep the bytes."""
        self.received += self._buffer[:nbytes]
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        if not self.lost.done():
            self.lost.set_result(exc)

    async def hear(self, expected: bytes) -> None:
        """Wait until exactly `expected` has come."""
        async with asyncio.timeout(10):
            while len(self.received) < len(expected):
                self.arrived.clear()
                await self.arrived.wait()
        assert self.received == expected


def looked_up(*addresses: tuple[str, int]) -> list[AddrInfo]:
    """Make a look-up's answer, with a port of its own for each address."""
    return [
        (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))
        if ":" in host
        else (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
        for host, port in addresses
    ]


def hosts(*addresses: str) -> Lookup:
    """Make a look-up that gives `addresses` for every name, with the port that was asked for."""

    async def lookup(host: str, port: int) -> Sequence[AddrInfo]:
        return looked_up(*((address, port) for address in addresses))

    return lookup


def dialer(
    url: str,
    *,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
    tls: ClientContext | None = None,
    allow_private: bool = True,
    proxy: Proxy | None = None,
) -> Dialer:
    """Make a dialer of two seconds for each step; every name is at 127.0.0.1 if nothing else is said."""
    origin = BaseUrl.parse(url)
    clock = clock or SystemClock()
    return Dialer(
        origin,
        Resolver(clock, lookup or hosts("127.0.0.1")),
        clock,
        dns_timeout=2.0,
        connect_timeout=2.0,
        tls_timeout=2.0,
        allow_private=allow_private,
        tls=(tls or client_context()) if origin.is_tls else None,
        proxy=proxy,
    )


@asynccontextmanager
async def dialled(dialer: Dialer, record: AttemptRecord | None = None) -> AsyncIterator[Recorder]:
    """Dial, and close at the end."""
    transport, protocol = await dialer.dial(Recorder, record or AttemptRecord(), NEVER)
    assert protocol.transport is transport
    try:
        yield protocol
    finally:
        transport.abort()
        async with asyncio.timeout(10):
            await protocol.lost


@asynccontextmanager
async def serving(serve: Serve, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a free port of `host`; gives the port. Connections still open at the end are closed."""
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The peer left; what it did is what the test looks at.
        finally:
            writer.close()

    server = await asyncio.start_server(connected, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say hello, then wait for the peer to leave."""
    writer.write(b"hello")
    await reader.read()


async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read and never answer."""
    while await reader.read(65536):
        pass


@contextmanager
def port_that_refuses(host: str = "127.0.0.1") -> Iterator[int]:
    """Hold a port on which nobody listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as held:
        held.bind((host, 0))
        yield held.getsockname()[1]


@contextmanager
def black_hole() -> Iterator[int]:
    """Listen with a full backlog: further SYNs are dropped, as by a firewall. Gives the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for each in waiting:
                each.close()


def open_sockets() -> int:
    """Count the sockets of this process."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            count += str(descriptor.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue  # The listing's own descriptor.
    return count


@asynccontextmanager
async def no_socket_left() -> AsyncIterator[None]:
    """Fail if the block leaves a socket open; closing may take some turns of the loop."""
    await settle()
    before = open_sockets()
    yield
    for _ in range(100):
        await settle(10)
        if open_sockets() <= before:
            break
    assert open_sockets() == before, "sockets were left open"


def server_context(authority: trustme.CA, *names: str, **issue: Any) -> ssl.SSLContext:
    """Make a server's context for `names`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **issue).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ClientContext:
    """Make our own context, which trusts `authority` by its `ca_file`."""
    with authority.cert_pem.tempfile() as path:
        return client_context(path)
