"""A strict reader of HTTP/1.1 messages, for tests: what RFC 9112 does not allow is a fault, never guessed around.

The scripted vendor reads requests with it and the raw app reads answers, so whatever the sidecar sends is judged.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

Fields = list[tuple[bytes, bytes]]

HEAD_MAX = 1024 * 1024  # Longer: NotHttp.
PIECE_BYTES = 256 * 1024

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")


class NotHttp(Exception):
    """The peer sent what HTTP/1.1 does not allow."""


class CutOff(Exception):
    """The peer closed or reset in the middle; `raw` is what had come of the head or line."""

    def __init__(self, raw: bytes, *, is_reset: bool) -> None:
        super().__init__(f"cut off after {raw[-80:]!r}{' by a reset' if is_reset else ''}")
        self.raw = raw
        self.is_reset = is_reset


@dataclass
class Head:
    """A start line and its fields; order, duplicates and spelling as they came."""

    raw: bytes
    start: bytes
    headers: Fields

    def values(self, name: str) -> list[bytes]:
        """Give all values of a field, by its name in any spelling."""
        return values(self.headers, name)


@dataclass
class Content:
    """The body of a message, as far as it came."""

    framing: str = "none"  # none, length, chunked or close.
    body: bytearray = field(default_factory=bytearray)
    received_bytes: int = 0  # Counts also when the bytes are not kept.
    chunks: list[int] = field(default_factory=list)  # The sizes, as sent.
    trailers: Fields = field(default_factory=list)
    is_cut_off: bool = False
    is_reset: bool = False


def values(fields: Fields, name: str) -> list[bytes]:
    """Give all values of a field, by its name in any spelling."""
    wanted = name.lower().encode()
    return [value for key, value in fields if key.lower() == wanted]


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read a start line and fields; None when the peer closed before the first byte of them.

    Raises CutOff and NotHttp.
    """
    raw = bytearray()
    while not raw.endswith(b"\r\n\r\n"):
        line = await _read_line(reader, bytes(raw))
        if line is None:
            return None
        raw += line
        if len(raw) > HEAD_MAX:
            raise NotHttp("the head is over 1 MiB")
        if bytes(raw) == b"\r\n":
            raise NotHttp("an empty line stands where a start line should")
    lines = bytes(raw[:-4]).split(b"\r\n")
    return Head(bytes(raw), lines[0], parse_fields(lines[1:]))


def parse_fields(lines: list[bytes]) -> Fields:
    """Read field lines (RFC 9112 section 5): no folding, no space before the colon, no bytes that do not belong."""
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            raise NotHttp(f"{line[:80]!r} is not a field line")
        if not _VALUE.fullmatch(value):
            raise NotHttp(f"the value of {name!r} holds a byte that no field may hold")
        fields.append((name, value.strip(b" \t")))
    return fields


def framing(head: Head, *, is_answer: bool) -> tuple[str, int]:
    """Give how the body ends and its length (RFC 9112 section 6.3); what smuggling lives on is refused."""
    codings = [part.strip().lower() for value in head.values("Transfer-Encoding") for part in value.split(b",")]
    lengths = head.values("Content-Length")
    if codings and lengths:
        raise NotHttp("Content-Length and Transfer-Encoding stand side by side")
    if codings:
        if codings != [b"chunked"]:
            raise NotHttp(f"the transfer codings are {codings!r}, not chunked once")
        return "chunked", 0
    if lengths:
        if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
            raise NotHttp(f"Content-Length is {lengths!r}")
        return "length", int(lengths[0])
    return ("close", 0) if is_answer else ("none", 0)


Seen = Callable[[bytes], None]


async def read_content(
    reader: asyncio.StreamReader,
    kind: str,
    length: int,
    content: Content,
    seen: Seen | None = None,
    *,
    keep: bool = True,
) -> None:
    """Read a body into `content`; `seen` gets each piece. A cut is written down there and not raised.

    Raises NotHttp.
    """
    content.framing = kind

    def take(piece: bytes) -> None:
        content.received_bytes += len(piece)
        if keep:
            content.body += piece
        if seen is not None:
            seen(piece)

    try:
        if kind == "length":
            await _read_exactly(reader, length, take)
        elif kind == "chunked":
            await _read_chunks(reader, content, take)
        elif kind == "close":
            while piece := await _read_some(reader, PIECE_BYTES):
                take(piece)
    except CutOff as cut:
        content.is_cut_off, content.is_reset = True, cut.is_reset


async def _read_exactly(reader: asyncio.StreamReader, length: int, take: Seen) -> None:
    left = length
    while left:
        piece = await _read_some(reader, min(left, PIECE_BYTES))
        if not piece:
            raise CutOff(b"", is_reset=False)
        left -= len(piece)
        take(piece)


async def _read_chunks(reader: asyncio.StreamReader, content: Content, take: Seen) -> None:
    while True:
        line = await _read_line(reader, b"...")
        assert line is not None
        size = line[:-2].partition(b";")[0].rstrip(b" \t")
        if not _SIZE.fullmatch(size):
            raise NotHttp(f"{line[:80]!r} is not the size of a chunk")
        count = int(size, 16)
        if not count:
            break
        content.chunks.append(count)
        await _read_exactly(reader, count, take)
        if (end := await _read_line(reader, b"...")) != b"\r\n":
            raise NotHttp(f"{(end or b'')[:80]!r} stands where a chunk of {count} bytes should have ended")
    lines: list[bytes] = []
    while (line := await _read_line(reader, b"...")) != b"\r\n":
        assert line is not None
        lines.append(line[:-2])
    content.trailers = parse_fields(lines)


async def _read_line(reader: asyncio.StreamReader, before: bytes) -> bytes | None:
    """Read a line with its CRLF; None at the end if nothing stands `before` it."""
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        if not end.partial and not before:
            return None
        raise CutOff(before + end.partial, is_reset=False) from None
    except asyncio.LimitOverrunError:
        raise NotHttp("a line is longer than the reader's limit") from None
    except ConnectionError:
        raise CutOff(before, is_reset=True) from None
    if _BARE.search(line):
        raise NotHttp(f"{line[:80]!r} holds a bare CR or LF")
    return line


async def _read_some(reader: asyncio.StreamReader, count: int) -> bytes:
    try:
        return await reader.read(count)
    except ConnectionError:
        raise CutOff(b"", is_reset=True) from None
