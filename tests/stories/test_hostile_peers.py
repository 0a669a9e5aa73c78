"""Apps and vendors that want this pod's memory: what has no end is stopped, what is remembered is small."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from sidecar.core.body import BUFFER_MAX
from sidecar.core.hosts import ANSWERS_MAX, HOST_MAX, _is_local, is_local_host
from sidecar.downstream.connection import PIPELINED_MAX
from sidecar.downstream.respond import REASON_MAX, _known_line, status_line
from sidecar.upstream.answer import TRAILERS_MAX
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (CHUNKED + b"0\r\nX: ", b"a" * 65536),
        (CHUNKED + b"0\r\n", b"X: a\r\n" * 10_000),
        (CHUNKED + b"0\r\nX", b"a" * 65536),
        (CHUNKED + b"5;x=", b"a" * 65536),
        (CHUNKED, b"0" * 65536),
    ],
    ids=["a trailer's value", "trailers", "a trailer's name", "an extension", "a size"],
)
async def test_what_a_vendor_sends_between_pieces_of_a_body_has_an_end(
    tmp_path: Path, start: bytes, piece: bytes
) -> None:
    """The parser keeps a trailer until it is whole, so one without end would be kept without end."""
    sent = 0

    async def play(exchange: Exchange) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            await exchange.send(start)
            while True:
                await exchange.send(piece)
                sent += len(piece)

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            reply = await app.ask("GET", "/vendor/x")
            assert (reply.status, reply.is_cut_off) == (200, True)
        assert (await pod.calls())[0]["code"] == "upstream_protocol"
        await pod.assert_nothing_left()
    assert sent < 16 * 2**20  # What the kernel took on both sides, and far from the end that it does not have.


async def test_trailers_within_the_bound_come_through(tmp_path: Path) -> None:
    """In pieces, too."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(CHUNKED + b"0\r\nX-Sum: ", *[b"a" * 1000] * 20, b"\r\n", b"\r\n")

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        reply = await app.ask("GET", "/vendor/x")
        assert not reply.is_cut_off
        assert reply.trailers == [(b"X-Sum", b"a" * 20_000)]
        assert TRAILERS_MAX > 20_000


async def test_bodies_of_pipelined_requests_wait_in_the_kernel(tmp_path: Path) -> None:
    """Thirty-two requests may wait behind another, but not each with as many bytes as one may have."""
    size = BUFFER_MAX // 2
    gate = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await gate.wait()
        await exchange.send(answer(b"ok"))

    count = PIPELINED_MAX - 2
    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            head = f"POST /vendor/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()
            raw = (head + bytes(size)) * count
            app._writer.write(raw)
            await vendor.wait_for_head()
            (connection,) = pod.sidecar._doors.egress[0]._connections
            await pod.until(lambda: connection._is_held, "the reading to stop")
            held = sum(request.body.received_bytes for request in connection._waiting)
            assert held <= 2 * BUFFER_MAX
            gate.set()
            for _ in range(count):
                assert (await app.read_answer("POST")).status == 200
        await pod.assert_nothing_left()


def test_what_is_remembered_is_small() -> None:
    """Names of hosts and reasons are the peers' words: long ones are worked out each time."""
    _is_local.cache_clear()
    _known_line.cache_clear()
    for number in range(2 * ANSWERS_MAX):
        assert not is_local_host(f"{number}" + "x" * HOST_MAX)
        reason = f"{number}".encode() + b"x" * REASON_MAX
        assert status_line(200, reason) == b"HTTP/1.1 200 " + reason + b"\r\n"
    assert _is_local.cache_info().currsize == _known_line.cache_info().currsize == 0


async def test_hosts_at_a_unix_socket_are_remembered_only_if_short(tmp_path: Path) -> None:
    """Any name is good there, so the table must not hold what the app likes to send."""
    path = f"unix:{tmp_path}/app.sock"
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, egress=f'"{path}"') as pod:
        async with pod.app(path) as app:
            assert (await app.ask("GET", "/vendor/x", host="h" * 60_000)).status == 200
            assert (await app.ask("GET", "/vendor/x", host="short")).status == 200
        assert list(pod.sidecar._exchange.router._by_host) == [(b"short", True)]
