"""A corporate proxy: takes CONNECT and joins the two ends, and keeps everything that it could see."""

import asyncio
from types import TracebackType
from typing import Self

from tests.kit import wire

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
REFUSED = b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="pods"\r\n\r\n'


class ConnectProxy:
    """Listens on a free port of loopback. It alone knows the `names`, as (host:port) -> port on loopback.

    With `authorization` it lets nobody through who does not show it. `stop` and `start` are an outage.
    """

    def __init__(self, names: dict[str, int], authorization: str | None = None) -> None:
        self.authorization = authorization
        self.heads: list[bytes] = []  # Of every CONNECT, in order.
        self.carried = bytearray()  # What went through the tunnels, both ways.
        self.port = 0
        self._names = names
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where it is, for `upstream_proxy`."""
        return f"http://localhost:{self.port}"

    async def start(self) -> None:
        """Listen, the second time on the port of the first."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, and cut every tunnel."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            wire.reset(writer)
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._tunnel(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # An end left; what came of it is what the test looks at.
        finally:
            self._writers.discard(writer)
            await wire.close(writer)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.authorization is not None and f"Proxy-Authorization: {self.authorization}\r\n".encode() not in head:
            await wire.send(writer, REFUSED)
            return
        port = self._names.get(head.split(b" ")[1].decode())
        if port is None:
            await wire.send(writer, b"HTTP/1.1 502 Unknown Host\r\n\r\n")
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await wire.send(writer, OK)
        back = asyncio.create_task(self._carry(far_reader, writer))
        try:
            await self._carry(reader, far_writer)
        finally:
            far_writer.transport.abort()
            back.cancel()
            await asyncio.wait([back])

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                self.carried += piece
                await wire.send(writer, piece)
        except ConnectionError:
            pass  # An end left.
        if not writer.is_closing() and writer.can_write_eof():
            writer.write_eof()
