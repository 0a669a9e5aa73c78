"""A gate on the way to a server that several tests share: shut, the server is away for one of them alone."""

import asyncio
from types import TracebackType
from typing import Self

from tests.kit import wire


class Gate:
    """Listens on a free port of loopback, and passes on to `port`; shut, it refuses, and cuts what went through."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._far_port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._plays: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Let through; always on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse, and cut."""
        if self._server is None:
            return
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        if self._plays:
            await asyncio.wait(self._plays)
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.shut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far_port)
        self._writers |= {writer, far_writer}
        for near, far in ((reader, far_writer), (far_reader, writer)):
            play = asyncio.create_task(self._carry(near, far))
            self._plays.add(play)
            play.add_done_callback(self._plays.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                await wire.send(writer, piece)
        except ConnectionError:
            pass  # An end left.
        finally:
            self._writers.discard(writer)
            await wire.close(writer)
