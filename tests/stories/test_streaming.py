"""Bodies of any length pass through flat memory, piece by piece; whoever does not read holds the other side back."""

import asyncio
import contextlib
import re
from pathlib import Path

import pytest

from tests.kit.app import App
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.process import Process
from tests.kit.vendor import Vendor, answer

WAIT_MAX = 10.0
LARGE = 2**30  # Bytes.
PIECE = bytes(range(256)) * 1024  # 256 KiB.
GROWTH_MAX = 8 * 2**20
IN_FLIGHT_MAX = 32 * 2**20  # What the kernel's buffers of two connections may hold, and ours.


def resident(process: Process) -> int:
    """Give the resident memory of a process, in bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def config(vendor: Vendor) -> str:
    """Write the config of a sidecar process."""
    return f'[services.vendor]\nbase_url = "{vendor.url}"\nallow_private = true\n'


class Peak:
    """The most memory that the process had while bytes went by."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._left = 0
        self.bytes = 0

    def seen(self, piece: bytes) -> None:
        """Look once in 8 MiB."""
        self._left -= len(piece)
        if self._left <= 0:
            self._left = 8 * 2**20
            self.bytes = max(self.bytes, resident(self._process))


async def send_large(exchange: Exchange, *, is_chunked: bool) -> None:
    """Send LARGE bytes as an answer."""
    if is_chunked:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    else:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if is_chunked else PIECE
    for _ in range(LARGE // len(PIECE)):
        await exchange.send(piece)
    if is_chunked:
        await exchange.send(b"0\r\n\r\n")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_large_download_takes_no_memory(framing: str, tmp_path: Path) -> None:
    """What is read is written, and nothing piles up."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.target == b"/warm":
            await exchange.send(answer(PIECE * 16))
        else:
            await send_large(exchange, is_chunked=framing == "chunked")

    async with Vendor(play) as vendor, Process(tmp_path, config(vendor)) as sidecar:
        async with App.to(sidecar.egress_url) as app:
            await app.ask("GET", "/vendor/warm")
            before, peak = resident(sidecar), Peak(sidecar)
            await app.send(b"GET /vendor/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            reply = await app.read_body(await app.read_head(), keep=False, seen=peak.seen, within=50)
            assert (reply.content.received_bytes, reply.is_cut_off) == (LARGE, False)
            assert 0 < peak.bytes <= before + GROWTH_MAX
        line = await sidecar.wait_for_line(lambda line: line.get("response_bytes") == LARGE)
        assert line["outcome"] == "success"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_large_upload_takes_no_memory(framing: str, tmp_path: Path) -> None:
    """The same in the other direction."""
    is_chunked = framing == "chunked"

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        request = await exchange.read_body(keep=False, seen=seen)
        await exchange.send(answer(b"%d" % request.content.received_bytes))

    def seen(piece: bytes) -> None:
        if peak is not None:
            peak.seen(piece)

    peak: Peak | None = None
    service = 'timeout = "50s"\n'
    async with (
        Vendor(play, reads_body=False) as vendor,
        Process(tmp_path, config(vendor) + service) as sidecar,
        App.to(sidecar.egress_url) as app,
    ):
        assert (await app.ask("POST", "/vendor/", body=PIECE * 16)).status == 200
        before, peak = resident(sidecar), Peak(sidecar)
        how = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {LARGE}"
        await app.send(f"POST /vendor/ HTTP/1.1\r\nHost: localhost\r\n{how}\r\n\r\n".encode())
        piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if is_chunked else PIECE
        for _ in range(LARGE // len(PIECE)):
            await app.send(piece)
        if is_chunked:
            await app.send(b"0\r\n\r\n")
        reply = await app.read_answer("POST")
        assert (reply.status, reply.body) == (200, b"%d" % LARGE)
        assert 0 < peak.bytes <= before + GROWTH_MAX


class Flow:
    """Sends pieces until the other side does not take them any more."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.is_stuck = asyncio.Event()
        self.go_on = asyncio.Event()

    async def run(self, exchange: Exchange | App, count: int) -> None:
        """Send `count` pieces; note when one is not taken within half a second."""
        for _ in range(count):
            sending = asyncio.create_task(exchange.send(PIECE))
            done, _ = await asyncio.wait([sending], timeout=0.5)
            if not done:
                self.is_stuck.set()
            await sending
            self.sent_bytes += len(PIECE)


async def test_an_app_that_stops_reading_stops_the_vendor(tmp_path: Path) -> None:
    """What the vendor can send stays bounded; and it all arrives when the app reads on."""
    flow = Flow()
    count = 4 * IN_FLIGHT_MAX // len(PIECE)

    async def play(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count * len(PIECE)))
        await flow.run(exchange, count)

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(b"GET /vendor/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            reply = await app.read_head()
            app.stop_reading()
            await asyncio.wait_for(flow.is_stuck.wait(), WAIT_MAX)
            assert flow.sent_bytes <= IN_FLIGHT_MAX
            app.go_on_reading()
            await app.read_body(reply, keep=False)
            assert (reply.content.received_bytes, reply.is_cut_off) == (count * len(PIECE), False)
        await pod.assert_nothing_left()


async def test_a_vendor_that_stops_reading_stops_the_app(tmp_path: Path) -> None:
    """The same in the other direction."""
    flow = Flow()
    count = 4 * IN_FLIGHT_MAX // len(PIECE)

    async def play(exchange: Exchange) -> None:
        await flow.is_stuck.wait()
        assert flow.sent_bytes <= IN_FLIGHT_MAX
        request = await exchange.read_body(keep=False)
        await exchange.send(answer(b"%d" % request.content.received_bytes))

    async with Vendor(play, reads_body=False) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            head = f"POST /vendor/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {count * len(PIECE)}\r\n\r\n"
            await app.send(head.encode())
            await flow.run(app, count)
            assert (await app.read_answer("POST")).body == b"%d" % (count * len(PIECE))
        await pod.assert_nothing_left()


async def test_an_app_that_leaves_while_it_is_held_back_leaves_nothing(tmp_path: Path) -> None:
    """The vendor is cut off as soon as nobody reads any more, and its connection is not lent again."""
    flow = Flow()

    async def play(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % 10**12)
        with contextlib.suppress(ConnectionError):
            await flow.run(exchange, 10**6)
        exchange.abort()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(b"GET /vendor/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await app.read_head()
            app.stop_reading()
            await asyncio.wait_for(flow.is_stuck.wait(), WAIT_MAX)
            app.reset()
        await vendor.wait_for_closed()
        await pod.assert_nothing_left()
        assert (await pod.calls())[0]["outcome"] == "cancelled"


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_each_event_arrives_before_the_next_is_sent(framing: str, tmp_path: Path) -> None:
    """Server-sent events: nothing is held back until there is more of it."""
    arrived = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        is_chunked = framing == "chunked"
        how = b"Transfer-Encoding: chunked\r\n" if is_chunked else b""
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + how + b"\r\n")
        for number in range(20):
            event = b"data: %d\n\n" % number
            await exchange.send(b"%x\r\n%b\r\n" % (len(event), event) if is_chunked else event)
            await asyncio.wait_for(arrived.wait(), WAIT_MAX)
            arrived.clear()
        if is_chunked:
            await exchange.send(b"0\r\n\r\n")
        else:
            await exchange.close()

    seen: list[bytes] = []

    def take(piece: bytes) -> None:
        seen.append(piece)
        arrived.set()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(b"GET /vendor/ HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            reply = await app.read_body(await app.read_head(), seen=take)
            assert not reply.is_cut_off
            assert seen == [b"data: %d\n\n" % number for number in range(20)]
        await pod.assert_nothing_left()


async def test_each_piece_of_a_request_arrives_before_the_next_is_sent(tmp_path: Path) -> None:
    """Upwards, too: an app that streams its request is heard at once, and answered before it ends."""
    pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def play(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

        def echo(piece: bytes) -> None:
            pieces.put_nowait(piece)

        reading = asyncio.create_task(exchange.read_body(seen=echo))
        for _ in range(10):
            piece = await asyncio.wait_for(pieces.get(), WAIT_MAX)
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await reading
        await exchange.send(b"0\r\n\r\n")

    async with Vendor(play, reads_body=False) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(b"POST /vendor/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            reply = await app.read_head()
            for number in range(10):
                await app.send(b"1\r\n%d\r\n" % number)
                assert await app.read_some() == b"1\r\n%d\r\n" % number
            await app.send(b"0\r\n\r\n")
            assert await app.read_some() == b"0\r\n\r\n"
            assert reply.status == 200
        await pod.assert_nothing_left()


async def test_trailers_pass_both_ways(tmp_path: Path) -> None:
    """After the last chunk, in order; framing and what is the sidecar's own do not."""
    sent = answer(chunks=[b"he", b"llo"], trailers=[(b"X-Sum", b"1"), (b"x-sum", b"2"), (b"Sidecar-Error", b"x")])
    async with Vendor.answering(sent) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(
                b"POST /vendor/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n"
                b"Connection: TE\r\n\r\n"
                b"5\r\nhello\r\n0\r\nX-Up: a\r\nX-Up: b\r\nSidecar-Token: c\r\nAuthorization: d\r\nHost: e\r\n\r\n"
            )
            reply = await app.read_answer("POST")
            assert (reply.body, reply.trailers) == (b"hello", [(b"X-Sum", b"1"), (b"x-sum", b"2")])
        request = vendor.requests[0]
        assert (request.body, request.trailers) == (b"hello", [(b"X-Up", b"a"), (b"X-Up", b"b")])
        assert request.values("TE") == [b"trailers"]
        await pod.assert_nothing_left()
