"""TLS in front of a server that has none: it joins each connection with one to the server's port."""

import asyncio
import ssl
from types import TracebackType
from typing import Self


class TlsFront:
    """Listens on `port` of loopback, a free one if none is named, and leads to `behind`."""

    def __init__(self, context: ssl.SSLContext, behind: int, port: int = 0) -> None:
        self.port = port
        self.carried = bytearray()  # What the server would have seen in clear, both ways.
        self._context = context
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        back = asyncio.create_task(self._carry(far_reader, writer))
        try:
            await self._carry(reader, far_writer)
        except asyncio.CancelledError:
            pass  # The front is taken away.
        finally:
            far_writer.transport.abort()
            writer.transport.abort()
            back.cancel()
            await asyncio.wait([back])

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                self.carried += piece
                writer.write(piece)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass  # An end left.
        writer.transport.abort()
