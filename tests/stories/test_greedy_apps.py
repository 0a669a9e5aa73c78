"""Apps that send or keep more than their share: each bound holds, and the connection is not left behind."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sidecar.core.body import BUFFER_MAX
from sidecar.downstream.listener import REFUSED_MAX
from tests.kit.app import App
from tests.kit.pod import Pod
from tests.kit.refusal import assert_refusal
from tests.kit.vendor import Vendor, answer

GET = b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"POST /vendor/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
OFFER = b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"


async def _flood(app: App, piece: bytes, most: int) -> None:
    """Send a piece again and again until the other side has enough of it, `most` bytes in all."""
    for _ in range(most // len(piece)):
        try:
            await app.send(piece)
        except ConnectionError:
            return


@pytest.mark.parametrize(
    "start",
    [b"3\r\nabc\r\n0\r\nX-Long: ", b"3\r\nabc\r\n0\r\nX", b"3;a=", b"3\r\nabc\r\n0;"],
    ids=["a trailer's value", "a trailer's name", "an extension", "the last extension"],
)
async def test_what_stands_between_chunks_is_bounded(tmp_path: Path, start: bytes) -> None:
    """A trailer or extension without an end is not collected: 431 after 64 KiB of it."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(CHUNKED + start)
            flood = asyncio.create_task(_flood(app, b"a" * 10_000, 50_000_000))
            reply = await app.read_answer()
            assert_refusal(
                reply, 431, "headers_too_large", "http_request_denied", service="vendor", attempts=1
            )  # fmt: skip
            app.reset()
            await flood
        await pod.assert_nothing_left()


async def test_many_trailers_are_bounded(tmp_path: Path) -> None:
    """Each is short, together they are too much."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(CHUNKED + b"0\r\n")
            flood = asyncio.create_task(_flood(app, b"X-Sum: 1\r\n" * 1000, 50_000_000))
            assert (await app.read_answer()).status == 431
            app.reset()
            await flood
        await pod.assert_nothing_left()


async def test_a_thousand_offers_to_upgrade_are_ignored_one_by_one(tmp_path: Path) -> None:
    """In one read, each behind the other: that is a loop and no tower of calls."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            sending = asyncio.create_task(app.send(OFFER * 1000))
            for _ in range(1000):
                assert (await app.read_answer()).body == b"ok"
            await sending
        assert len(vendor.requests) == 1000
        await pod.assert_nothing_left()


async def test_a_refused_upload_in_line_does_not_stop_the_reading(tmp_path: Path) -> None:
    """It came whole and paused the reading while it waited; nobody reads it, and the next request is heard."""
    until = asyncio.Event()
    async with Vendor.stalling(answer(b"ok"), 0, until) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(GET)
            await vendor.wait_for_request()
            await app.send(
                b"POST /unknown HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (BUFFER_MAX + 1)
                + bytes(BUFFER_MAX + 1)
            )
            await pod.until(
                lambda: len(next(iter(pod.sidecar._doors.egress[0]._connections))._waiting) == 1, "the upload"
            )
            await pod.until(
                lambda: next(iter(pod.sidecar._doors.egress[0]._connections))._reader.request is None, "its last byte"
            )
            until.set()
            assert (await app.read_answer()).body == b"ok"
            assert (await app.read_answer()).status == 404
            await app.send(GET)
            assert (await app.read_answer()).body == b"ok"
        await pod.assert_nothing_left()


async def test_an_answer_that_nobody_takes_does_not_keep_a_closing_connection(tmp_path: Path) -> None:
    """The last bytes wait to be flushed when the connection closes: `write_timeout` bounds that wait, too."""
    async with (
        Vendor.answering(answer(bytes(20_000))) as vendor,
        Pod(tmp_path, vendor, listen='write_timeout = "200ms"') as pod,
    ):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        host, _, port = pod.address.rpartition(":")
        await loop.sock_connect(raw, (host, int(port)))
        with raw:
            await pod.until(lambda: pod.snapshot()["connections"] == 1, "the connection")
            connection = next(iter(pod.sidecar._doors.egress[0]._connections))
            assert connection.transport is not None
            asked = 0
            while not connection.transport.get_write_buffer_size():
                asked += 1
                assert asked < 1000
                await loop.sock_sendall(raw, GET)
                await vendor.wait_for_request(asked)
                await pod.until(lambda: not connection.is_busy, "the end of the call")
            assert not connection.is_write_paused
            await loop.sock_sendall(raw, b"GET /unknown HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await pod.assert_nothing_left()


async def test_a_refusal_arrives_although_the_app_sends_on(tmp_path: Path) -> None:
    """Closing with unread bytes would reset the connection, and the answer with it: the rest is dropped for a while."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(b"GET /vendor/x HTTP/1.1\r\nHost : localhost\r\n\r\n")
            await pod.until(lambda: not pod.sidecar._doors.busy and pod.snapshot()["connections"] == 1, "the answer")
            await app.send(*[bytes(100_000)] * 20)
            assert_refusal(await app.read_answer(), 400, "bad_request", "http_request_error")
            assert await app.read_until_closed() == b""
        await pod.assert_nothing_left()
        async with pod.app() as app:
            await app.send(CHUNKED + b"3\r\nabcGARBAGE")
            await pod.calls(2)
            await app.send(*[bytes(100_000)] * 20)
            reply = await app.read_answer()
            assert_refusal(reply, 400, "bad_request", "http_request_error", service="vendor", attempts=1)
            assert await app.read_until_closed() == b""
        await pod.assert_nothing_left()


async def test_a_rush_at_a_full_door_is_told_and_bounded(tmp_path: Path) -> None:
    """Over the bound each connection is told so; those far over it in short, without taking room; all of them end."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, listen="connections_max = 1") as pod:
        async with AsyncExitStack() as open_ones:
            inside = await open_ones.enter_async_context(pod.app())
            assert (await inside.ask("GET", "/vendor/x")).status == 200
            rush = [await open_ones.enter_async_context(pod.app()) for _ in range(REFUSED_MAX + 10)]
            for app in rush:
                reply = await app.read_answer()
                assert (reply.status, reply.value("Sidecar-Error"), reply.value("Retry-After")) == (503, "shed", "1")
                assert pod.snapshot()["connections"] <= 1 + REFUSED_MAX
            assert (await inside.ask("GET", "/vendor/x")).status == 200
        lines = [line for line in await pod.calls(2) if line["code"] == "shed"]
        assert len(lines) == REFUSED_MAX, "each that was told in full has its line"
        await pod.assert_nothing_left()
