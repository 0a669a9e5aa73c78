"""Requests in any pieces are the same requests, and garbage is never one."""

import asyncio
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sidecar.core.errors import SidecarError
from sidecar.downstream.reader import RequestReader
from sidecar.downstream.request import Request
from tests.kit.app import App
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor

HEAD_MAX = 4096
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


class Sent(NamedTuple):
    """A request, and how it is written."""

    method: bytes
    target: bytes
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    raw: bytes


VALUES = st.text('abcXYZ019 \t"\\;,:=\u00e4', max_size=12).map(lambda text: text.strip(" \t").encode("latin-1"))
TRAILERS = st.lists(st.tuples(st.sampled_from([b"X-Sum", b"x-sum", b"X-B"]), VALUES), max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """Draw a legal request: framing, fields, blanks and chunks of any kind."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"]))
    target = b"/" + draw(st.text("abc/.?=&%", max_size=12)).encode().replace(b"..", b"").replace(b"%", b"%41")
    fields = b"".join(b"X-%d: %b\r\n" % (n, value) for n, value in enumerate(draw(st.lists(VALUES, max_size=4))))
    fields += draw(st.sampled_from([b"", b"", b"", H2C]))
    body, framing, trailers = b"", b"\r\n", []
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "length":
        body = draw(st.binary(max_size=200))
        framing = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    elif kind == "chunked":
        chunks = draw(st.lists(st.binary(min_size=1, max_size=80), max_size=4))
        extension = draw(st.sampled_from([b"", b";a", b';a="b;c"']))
        body, trailers = b"".join(chunks), draw(TRAILERS)
        lines = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
        end = b"".join(b"%b: %b\r\n" % field for field in trailers)
        framing = b"Transfer-Encoding: chunked\r\n\r\n%b0\r\n%b\r\n" % (lines, end)
    blank = draw(st.sampled_from([b"", b"", b"\r\n"]))
    raw = blank + b"%b /vendor%b HTTP/1.1\r\nHost: localhost\r\n%b%b" % (method, target, fields, framing)
    return Sent(method, target, body, trailers, raw)


@st.composite
def cuts(draw: st.DrawFn, most: int = 40) -> list[float]:
    """Draw where a stream is cut, as shares of its length."""
    return sorted(draw(st.lists(st.floats(0, 1, exclude_max=True), max_size=most)))


def cut(raw: bytes, at: list[float]) -> list[bytes]:
    """Cut a stream into pieces; together they are the stream."""
    ends = [0, *sorted({int(share * len(raw)) for share in at} - {0}), len(raw)]
    return [raw[start:end] for start, end in pairwise(ends)]


class Heard:
    """A reader, and what it handed over; nothing pauses it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.reader = RequestReader(HEAD_MAX, self.requests.append, lambda: None, lambda: None)

    def shown(self) -> list[tuple[object, ...]]:
        """Give what can be compared."""
        return [
            (one.method.encode(), one.url, b"".join(one.body._pieces), one.body.trailers, one.body.is_complete)
            for one in self.requests
        ]


@given(st.lists(requests(), min_size=1, max_size=8), cuts())
def test_any_chunking_gives_the_same_requests(sent: list[Sent], at: list[float]) -> None:
    """Where the network cuts the stream is no part of the message."""
    heard = Heard()
    for piece in cut(b"".join(one.raw for one in sent), at):
        assert heard.reader.feed(piece) is None
    assert heard.shown() == [(one.method, b"/vendor" + one.target, one.body, one.trailers, True) for one in sent]
    assert heard.reader.request is None


@given(requests())
def test_byte_by_byte_is_a_chunking_too(sent: Sent) -> None:
    """The slowest of all."""
    heard = Heard()
    for byte in sent.raw * 3:
        assert heard.reader.feed(bytes([byte])) is None
    assert heard.shown() == [(sent.method, b"/vendor" + sent.target, sent.body, sent.trailers, True)] * 3


@given(st.integers(1, 40), st.integers(1, HEAD_MAX - 200), cuts())
def test_a_head_is_bounded_by_itself_not_by_what_came_before(count: int, size: int, at: list[float]) -> None:
    """However many requests share a read, each head is held against the bound alone."""
    raw = b"POST /vendor HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n" + b"a" * 5000
    raw += b"GET /vendor HTTP/1.1\r\nHost: localhost\r\nX: %b\r\n\r\n" % (b"a" * size)
    heard = Heard()
    for piece in cut(raw * count, at):
        heard.reader.feed(piece)
    assert len(heard.requests) == 2 * count


@given(st.lists(requests(), min_size=1, max_size=4), st.data())
def test_a_stream_with_bytes_changed_ends_in_order_or_by_an_answer(sent: list[Sent], data: st.DataObject) -> None:
    """Whatever is changed, the reader reads on or says why not by an error of ours; never by another."""
    raw = bytearray(b"".join(one.raw for one in sent))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.one_of(
                st.binary(max_size=3),
                st.sampled_from([b"\r", b"\n", b"\r\n", b"\x00", b" ", b":", b"chunked", b"0\r\n\r\n"]),
            )
        )
    heard = Heard()
    try:
        for piece in cut(bytes(raw), data.draw(cuts(5))):
            if heard.reader.feed(piece) is not None:
                return  # A tunnel: no longer HTTP.
    except SidecarError as error:
        assert 400 <= error.status < 500, error  # noqa: PT017 - most streams raise nothing
    assert len(heard.requests) <= len(raw) / 16


# Over real sockets.


@settings(max_examples=25)
@given(st.lists(requests(), min_size=1, max_size=6), cuts(10))
async def test_any_chunking_gives_the_same_calls_at_the_vendor(sent: list[Sent], at: list[float]) -> None:
    """From the app's socket to the vendor's, in order, answered one for one."""
    with tempfile.TemporaryDirectory() as folder:
        async with Vendor.echoing() as vendor, Pod(Path(folder), vendor) as pod:
            async with pod.app() as app:
                await app.send(*cut(b"".join(one.raw for one in sent), at))
                for one in sent:
                    reply = await app.read_answer()
                    assert (reply.status, reply.json()["body"]) == (200, one.body.decode("latin-1"))
            seen = [(one.method.encode(), one.target, one.body) for one in vendor.requests]
            wanted = [(one.method, one.target if one.target.startswith(b"/") else b"/" + one.target) for one in sent]
            assert [(method, target) for method, target, _ in seen] == wanted
            assert [body for _, _, body in seen] == [one.body for one in sent]
            await pod.assert_nothing_left()


FRAGMENTS = st.sampled_from([
    b"GET ", b"POST ", b"/", b"/unknown", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00", b" ",
    b":", b"Host: localhost", b"Host: x", b"Content-Length: 5", b"Content-Length: 99999999999",
    b"Transfer-Encoding: chunked", b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: h2c", b"hello",
    b"Expect: 100-continue", b"0\r\n\r\n", b"5\r\n", b"CONNECT x:1", b"PRI * HTTP/2.0", b"\x16\x03\x01", b"a" * 5000,
    b"\xff\xfe", b"Connection: close", b";", b"%2e%2e",
])  # fmt: skip
GARBAGE = st.one_of(st.binary(min_size=1, max_size=300), st.lists(FRAGMENTS, min_size=1, max_size=14).map(b"".join))


@settings(max_examples=15)
@given(st.lists(GARBAGE, min_size=1, max_size=20))
async def test_garbage_neither_hangs_the_pod_nor_reaches_the_vendor(garbage: list[bytes]) -> None:
    """Each connection ends within its time, whatever came; the vendor hears nothing; an app is served all the while."""
    assume(not any(b"vendor" in raw for raw in garbage))
    listen = (
        'head_max = "4KiB"\nhead_timeout = "50ms"\nbody_timeout = "50ms"\nkeepalive_timeout = "50ms"\n'
        'write_timeout = "50ms"'
    )
    with tempfile.TemporaryDirectory() as folder:
        async with Vendor.echoing() as vendor, Pod(Path(folder), vendor, listen=listen) as pod:
            answers = await asyncio.gather(*(_throw(pod, raw) for raw in garbage))
            for answer in answers:
                assert not answer or answer.startswith(b"HTTP/1.1 ")
            await pod.assert_nothing_left()
            assert vendor.connections_opened == 0
            async with pod.app() as app:
                assert (await app.ask("GET", "/vendor/x")).status == 200
            await pod.assert_nothing_left()


async def _throw(pod: Pod, raw: bytes) -> bytes:
    async with pod.app() as app:
        assert isinstance(app, App)
        try:
            await app.send(raw)
        except ConnectionError:
            pytest.fail("a short piece is always taken")
        return await app.read_until_closed()
