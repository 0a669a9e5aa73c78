"""A raw app: sends the bytes that a test gives it to a door of the sidecar, and reads the answer strictly.

    async with App.to(sidecar.egress_url) as app:
        reply = await app.ask("GET", "/stripe/v1/charges")

Every wait is bounded; a wait in vain fails the test with what it was for.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, cast
from urllib.parse import urlsplit

from tests.kit import wire
from tests.kit.message import HEAD_MAX, Content, CutOff, Fields, Head, NotHttp, framing, read_content, read_head, values

WAIT_MAX = 15.0  # Seconds for each wait of a test; then it fails and says for what it waited.


@dataclass
class Reply:
    """An answer as it came."""

    status: int
    reason: bytes
    version: bytes
    headers: Fields
    raw_head: bytes
    interim: list[int] = field(default_factory=list)  # The 1xx before it.
    content: Content = field(default_factory=Content)

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
        """Whether the connection ended before the body did."""
        return self.content.is_cut_off

    def values(self, name: str) -> list[bytes]:
        """Give all values of a header, by its name in any spelling."""
        return values(self.headers, name)

    def value(self, name: str) -> str:
        """Give the one value of a header; it must be there exactly once."""
        found = self.values(name)
        assert len(found) == 1, f"{name} is there {len(found)} times in {self.raw_head!r}"
        return found[0].decode("latin-1")

    def json(self) -> Any:
        """Read the body as JSON."""
        return json.loads(self.body)


class App:
    """One connection to a door of the sidecar."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    def to(cls, address: str, *, tls: ssl.SSLContext | None = None) -> "_Connecting":
        """Connect to `http://host:port`, `host:port` or `unix:/path.sock`; used as `async with App.to(...) as app`."""
        return _Connecting(address, tls)

    async def send(self, *raw: bytes) -> None:
        """Send bytes as they are, each piece in a write of its own. Raises ConnectionError."""
        async with _within("room to send"):
            for piece in raw:
                await wire.send(self._writer, piece)

    async def ask(self, method: str, target: str, *headers: str, body: bytes = b"", host: str = "localhost") -> Reply:
        """Send a plain request with a `Content-Length` if there is a body, and read its answer."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return await self.read_answer(method)

    async def read_head(self, method: str = "GET") -> Reply:
        """Read a final answer's head, and the 1xx before it. Raises CutOff and NotHttp."""
        interim: list[int] = []
        async with _within("an answer's head"):
            while True:
                head = await read_head(self._reader)
                if head is None:
                    raise CutOff(b"", is_reset=False)
                reply = _reply(head)
                reply.interim = interim
                if reply.status >= 200 or reply.status == 101:
                    break
                interim.append(reply.status)
        reply.content.framing = "none" if method == "HEAD" or reply.status in {101, 204, 304} else "unread"
        return reply

    async def read_interim(self) -> Reply:
        """Read one 1xx answer, such as 100 Continue."""
        async with _within("an interim answer"):
            head = await read_head(self._reader)
        assert head is not None, "the sidecar closed instead of an interim answer"
        reply = _reply(head)
        assert 100 <= reply.status < 200, f"{reply.status} came instead of an interim answer"
        return reply

    async def read_body(
        self, reply: Reply, *, keep: bool = True, seen: Callable[[bytes], None] | None = None, within: float = WAIT_MAX
    ) -> Reply:
        """Read the body of an answer whose head was read; `seen` gets each piece; a cut is written in the reply."""
        if reply.content.framing == "unread":
            kind, length = framing(Head(reply.raw_head, b"", reply.headers), is_answer=True)
            async with _within("an answer's body", within):
                await read_content(self._reader, kind, length, reply.content, seen, keep=keep)
        return reply

    async def read_answer(self, method: str = "GET") -> Reply:
        """Read one whole answer to a request with `method`."""
        return await self.read_body(await self.read_head(method))

    async def read_some(self) -> bytes:
        """Read bytes as they come, unparsed; empty at the end. Raises ConnectionError."""
        async with _within("bytes"):
            return await self._reader.read(65536)

    async def read_until_closed(self) -> bytes:
        """Read everything until the sidecar closes or resets, unparsed."""
        raw = bytearray()
        async with _within("the end of the connection"):
            try:
                while piece := await self._reader.read(65536):
                    raw += piece
            except ConnectionError:
                pass  # A reset is an end, too; what came before it counts.
        return bytes(raw)

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Hang up with RST."""
        wire.reset(self._writer)

    def stop_reading(self) -> None:
        """Leave what comes in the kernel's buffers, as an app that is slow."""
        cast("asyncio.ReadTransport", self._writer.transport).pause_reading()  # uvloop's is none by its class.

    def go_on_reading(self) -> None:
        """Read again after `stop_reading`."""
        cast("asyncio.ReadTransport", self._writer.transport).resume_reading()  # uvloop's is none by its class.

    async def close(self) -> None:
        """Hang up in order."""
        async with _within("the close"):
            await wire.close(self._writer)


class _Connecting:
    """`async with` around a connection."""

    def __init__(self, address: str, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._tls = tls
        self._app: App | None = None

    async def __aenter__(self) -> App:
        async with _within(f"a connection to {self._address}"):
            if self._address.startswith("unix:"):
                streams = await asyncio.open_unix_connection(self._address.removeprefix("unix:"), limit=HEAD_MAX)
            else:
                parts = urlsplit(self._address if "//" in self._address else f"//{self._address}")
                streams = await asyncio.open_connection(parts.hostname, parts.port, ssl=self._tls, limit=HEAD_MAX)
        self._app = App(*streams)
        return self._app

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._app is not None
        await self._app.close()


@asynccontextmanager
async def _within(what: str, seconds: float = WAIT_MAX) -> AsyncIterator[None]:
    """Bound a wait, and say for what it was when it fails."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise AssertionError(f"the app waited {seconds:g} s in vain for {what}") from None


def _reply(head: Head) -> Reply:
    version, _, rest = head.start.partition(b" ")
    status, space, reason = rest.partition(b" ")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"} or len(status) != 3 or not status.isdigit() or not space:
        raise NotHttp(f"{head.start[:80]!r} is not a status line")
    return Reply(int(status), reason, version, head.headers, head.raw)
