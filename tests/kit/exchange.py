"""One request at the scripted vendor, and the connection it came on, in the hands of a script."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.kit import wire
from tests.kit.message import Content, Fields, Head, NotHttp, framing, read_content, read_head, values


@dataclass
class Request:
    """A request as it came."""

    raw_head: bytes
    method: str
    target: bytes
    headers: Fields
    connection: int  # Counted from 1.
    number: int = 0  # Of all requests, counted from 1.
    content: Content = field(default_factory=Content)
    is_whole: bool = False

    @property
    def body(self) -> bytes:
        """The body as far as it came, without framing."""
        return bytes(self.content.body)

    @property
    def trailers(self) -> Fields:
        """The fields after the last chunk."""
        return self.content.trailers

    @property
    def is_cut_off(self) -> bool:
        """Whether the peer went away before the end."""
        return self.content.is_cut_off

    def values(self, name: str) -> list[bytes]:
        """Give all values of a header, by its name in any spelling."""
        return values(self.headers, name)


class Exchange:
    """One request and the connection it came on, in the hands of a script."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        received: Callable[["Request"], None],
        changed: Callable[[], None],
    ) -> None:
        self.number = number
        self.is_closed = False
        self.request: Request | None = None
        self._reader = reader
        self._writer = writer
        self._received = received
        self._changed = changed

    async def send(self, *raw: bytes) -> None:
        """Send bytes as they are, each piece in a write of its own."""
        for piece in raw:
            await wire.send(self._writer, piece)

    async def read_head(self) -> Request | None:
        """Read the next request's head; None when the peer closed before it."""
        head = await read_head(self._reader)
        if head is None:
            return None
        self.request = _request(head, self.number)
        self._received(self.request)
        return self.request

    async def read_body(self, *, keep: bool = True, seen: Callable[[bytes], None] | None = None) -> Request:
        """Read the body of the request whose head was read; `seen` gets each piece of it."""
        request = self.request
        assert request is not None
        kind, length = framing(Head(request.raw_head, b"", request.headers), is_answer=False)
        await read_content(self._reader, kind, length, request.content, seen, keep=keep)
        request.is_whole = not request.is_cut_off
        self._changed()
        return request

    async def read_some(self) -> bytes:
        """Read bytes as they come, unparsed; empty at the end."""
        return await self._reader.read(65536)

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self._writer.write_eof()

    async def close(self) -> None:
        """Close the connection in order."""
        self.is_closed = True
        await wire.close(self._writer)

    def abort(self) -> None:
        """Drop the connection and what was still to be sent."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Close with RST."""
        self.is_closed = True
        wire.reset(self._writer)


Script = Callable[[Exchange], Awaitable[None]]


def _request(head: Head, connection: int) -> Request:
    parts = head.start.split(b" ")
    if len(parts) != 3 or parts[2] not in {b"HTTP/1.1", b"HTTP/1.0"} or not parts[0].isalpha() or not parts[1]:
        raise NotHttp(f"{head.start[:80]!r} is not a request line")
    if parts[2] == b"HTTP/1.1" and len(head.values("Host")) != 1:
        raise NotHttp(f"there are {len(head.values('Host'))} Host fields")
    return Request(head.raw, parts[0].decode(), parts[1], head.headers, connection)
