"""Listener: the sockets on which the app is served; opened, closed and drained as one."""

import asyncio
import errno
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from sidecar.core.address import Address
from sidecar.core.clock import Clock
from sidecar.core.errors import Shed
from sidecar.core.secret import SecretRef
from sidecar.core.section import Section
from sidecar.core.tasks import Tasks
from sidecar.core.units import Duration, Size
from sidecar.downstream.connection import AppConnection
from sidecar.downstream.limits import DoorLimits
from sidecar.downstream.request import Request
from sidecar.downstream.router import Door

BACKLOG = 1024  # Connections that the kernel holds until we take them.
SOCKET_MODE = 0o660  # Of a Unix socket's file, whatever the umask is.
REFUSED_MAX = 64  # Connections over the bound that are told so in full, with a line and a count. More: told in short.
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
    b"Sidecar-Source: sidecar\r\nSidecar-Error: shed\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Proxy-Status: sidecar; error=connection_limit_reached\r\n\r\n%b"
)
_FULL_BODY = (
    b'{"type":"about:blank","title":"The sidecar is full","status":503,'
    b'"detail":"listen.connections_max connections are open","instance":"","code":"shed","service":"","attempts":0,'
    b'"retry_after":1}'
)

Handle = Callable[[Door, AppConnection, Request], Awaitable[None]]


class ListenConfig(Section, kw_only=True):
    """`[listen]`: the doors. An address is `host:port` or `unix:/path.sock`."""

    egress: tuple[str, ...] = ("127.0.0.1:4000",)
    admin: str = "127.0.0.1:4001"
    telemetry: str = "0.0.0.0:4002"
    webhooks: str = "0.0.0.0:4003"  # Open where there are [webhooks.*].
    hosts: tuple[str, ...] = ()  # Further names the doors answer to; localhost and loopback addresses always.
    app_token: SecretRef | None = None
    connections_max: int = 4096  # Full: a new connection gets 503 and is closed.
    head_max: Size = Size(64 * 1024)
    head_timeout: Duration = Duration(10)
    body_timeout: Duration = Duration(30)
    write_timeout: Duration = Duration(60)
    keepalive_timeout: Duration = Duration(300)

    def limits(self) -> DoorLimits:
        """Give the bounds of a connection."""
        return DoorLimits(
            self.head_max, self.head_timeout, self.body_timeout, self.write_timeout, self.keepalive_timeout
        )


class Full(asyncio.Protocol):
    """Says that we are full, and closes: when even those who are to be told are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer at once, whatever the request is."""
        assert hasattr(transport, "write")
        transport.write(_FULL % (len(_FULL_BODY), _FULL_BODY))
        transport.close()


class Listener:
    """One socket, and the connections that came in by it."""

    def __init__(self, address: Address, door: Door, config: ListenConfig, handle: Handle, clock: Clock) -> None:
        self.address = address
        self.config = config
        self._answer = handle
        self._handle = partial(handle, door)
        self._limits = config.limits()
        self._clock = clock
        self._tasks = Tasks()
        self._connections: set[AppConnection] = set()
        self._cut_off = 0  # Calls that the end of the drain met under way.
        self._server: asyncio.Server | None = None

    def use(self, config: ListenConfig) -> None:
        """Take the bounds of a new generation, for the connections to come."""
        self.config = config
        self._limits = config.limits()

    def lead_to(self, door: Door) -> None:
        """Be another door from now on; who came in by the former one ends its call, and comes again."""
        self._handle = partial(self._answer, door)
        for connection in list(self._connections):
            connection.go_away()

    @property
    def url(self) -> str:
        """Where it really listens, when the port was 0."""
        if self.address.path or self._server is None:
            return f"unix:{self.address.path}"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def busy(self) -> int:
        """How many have a request that is being read or answered."""
        return sum(1 for connection in self._connections if connection.is_busy)

    async def open(self) -> None:
        """Begin to listen. Raises OSError when the address is taken or not ours."""
        loop = asyncio.get_running_loop()
        path = self.address.path
        if path:
            bound = await asyncio.to_thread(bind_unix, Path(path))
            self._server = await loop.create_unix_server(self._accept, sock=bound, backlog=BACKLOG)
        else:
            self._server = await loop.create_server(
                self._accept, self.address.host, self.address.port, backlog=BACKLOG, reuse_address=True
            )

    def _accept(self) -> asyncio.BaseProtocol:
        refusal = None
        over = len(self._connections) - self.config.connections_max
        if over >= REFUSED_MAX:
            return Full()
        if over >= 0:
            bound = self.config.connections_max
            refusal = Shed(f"listen.connections_max = {bound} connections are open", retry_after=1.0)
        connection = AppConnection(
            self._handle, self._limits, self._clock, self._tasks, self._connections.discard, refusal
        )
        self._connections.add(connection)
        return connection

    def stop_accepting(self) -> None:
        """Close the socket; idle connections close, busy ones end their call first."""
        if self._server is not None:
            self._server.close()
        if self.address.path:
            with suppress(FileNotFoundError):
                Path(self.address.path).unlink()
        for connection in list(self._connections):
            connection.go_away()

    async def drain(self, seconds: float) -> int:
        """Wait for the calls under way; give the number that had to be cut off after `seconds`."""
        await self._tasks.wait(seconds)
        self.cut_short()
        await self._tasks.stop()
        for connection in list(self._connections):
            connection.abort()
        return self._cut_off

    def cut_short(self) -> None:
        """Cut off the calls under way; a drain that waits for them is over."""
        self._cut_off = max(self._cut_off, self.busy)
        for connection in list(self._connections):
            connection.cancel()


def bind_unix(path: Path) -> socket.socket:
    """Make a Unix socket that nobody listens at yet: its mode is right before the first may connect. Raises OSError.

    It is for the app's user and group, nobody else in the pod.
    """
    remove_stale_socket(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.bind(str(path))
        path.chmod(SOCKET_MODE)
    except BaseException:
        bound.close()
        raise
    return bound


def remove_stale_socket(path: Path) -> None:
    """Remove what a killed process left; what somebody listens at, or is no socket, stays, and binding says so."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode) and not _is_served(path):
            path.unlink()


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN, a full backlog, is an answer, too; ECONNREFUSED means that nobody is there.
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED
