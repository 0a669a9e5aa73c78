"""The strict reader: what it takes, and what it takes for a fault."""

import asyncio

import pytest

from tests.kit.message import Content, CutOff, NotHttp, framing, read_content, read_head


def stream(raw: bytes) -> asyncio.StreamReader:
    """Give a reader that holds `raw` and then the end."""
    reader = asyncio.StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    return reader


async def read(raw: bytes, *, is_answer: bool = True) -> tuple[list[tuple[bytes, bytes]], Content]:
    """Read one message."""
    reader = stream(raw)
    head = await read_head(reader)
    assert head is not None
    content = Content()
    kind, length = framing(head, is_answer=is_answer)
    await read_content(reader, kind, length, content)
    return head.headers, content


async def test_order_duplicates_and_spelling_survive() -> None:
    """The tests of the sidecar look at exactly these."""
    headers, _ = await read(b"HTTP/1.1 200 OK\r\nb: 2\r\nA:1\r\nB:  3 \r\nContent-Length: 0\r\n\r\n")
    assert headers == [(b"b", b"2"), (b"A", b"1"), (b"B", b"3"), (b"Content-Length", b"0")]


async def test_chunks_and_trailers_are_told() -> None:
    """How a body was cut into chunks, and what came after it."""
    _, content = await read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nSum: 1\r\n\r\n"
    )
    assert (bytes(content.body), content.chunks, content.trailers) == (
        b"hello0123456789",
        [5, 10],
        [(b"Sum", b"1")],
    )
    assert not content.is_cut_off


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
async def test_a_body_without_its_end_is_cut_off(raw: bytes) -> None:
    """A short body must never pass for a whole one."""
    _, content = await read(raw)
    assert content.is_cut_off


async def test_a_body_that_ends_with_the_connection_is_whole_only_for_an_answer() -> None:
    """RFC 9112 section 6.3: a request without length has no body."""
    _, answer = await read(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert (bytes(answer.body), answer.framing, answer.is_cut_off) == (b"hello", "close", False)
    _, request = await read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nhello", is_answer=False)
    assert (bytes(request.body), request.framing) == (b"", "none")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\nA: 1\n\n",
        b"HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\rB: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    ],
)
async def test_what_rfc_9112_does_not_allow_is_a_fault(raw: bytes) -> None:
    """Whatever the sidecar sends is judged without mercy."""
    with pytest.raises(NotHttp):
        await read(raw)


async def test_an_end_before_the_first_byte_is_no_fault_and_later_it_is() -> None:
    """An idle connection may close; a head that was begun may not end."""
    assert await read_head(stream(b"")) is None
    with pytest.raises(CutOff) as cut:
        await read_head(stream(b"HTTP/1.1 200 OK\r\nA: 1\r\n"))
    assert cut.value.raw == b"HTTP/1.1 200 OK\r\nA: 1\r\n"
