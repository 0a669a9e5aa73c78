"""Who is at the other end: the kernel's word on a Unix socket, nothing on TCP."""

import asyncio
import os
from pathlib import Path

from sidecar.core.peer import Peer
from sidecar.downstream.peer import peer_of


class Asking(asyncio.Protocol):
    """Asks as soon as somebody connects."""

    def __init__(self, answer: "asyncio.Future[Peer | None]") -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask, and close."""
        self._answer.set_result(peer_of(transport))
        transport.close()


async def test_on_a_unix_socket_the_kernel_says_who_it_is(tmp_path: Path) -> None:
    """The app cannot claim to be another."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Peer | None] = loop.create_future()
    path = str(tmp_path / "door.sock")
    server = await loop.create_unix_server(lambda: Asking(answer), path)
    async with server:
        _, writer = await asyncio.open_unix_connection(path)
        assert await answer == Peer(uid=os.getuid(), gid=os.getgid(), pid=os.getpid())
        writer.close()


async def test_on_tcp_nobody_knows() -> None:
    """The name in Sidecar-App is what the app says of itself."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Peer | None] = loop.create_future()
    server = await loop.create_server(lambda: Asking(answer), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await answer is None
        writer.close()
