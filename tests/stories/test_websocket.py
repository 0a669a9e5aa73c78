"""A WebSocket through the sidecar: the handshake with the credential, then bytes both ways until either side closes."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from sidecar.downstream import exchange as sidecar_exchange
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)
WAIT_MAX = 10.0


def handshake(*headers: str) -> bytes:
    """Write an app's offer."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    lines = [
        "GET /vendor/live HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *headers,
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()


@asynccontextmanager
async def chat(seen: list[web.Request]) -> AsyncIterator[str]:
    """Serve a vendor that says everything back, and closes when told `bye`."""

    async def live(request: web.Request) -> web.WebSocketResponse:
        seen.append(request)
        socket = web.WebSocketResponse(protocols=("chat",))
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "bye":
                await socket.close(code=4001, message=b"as you wish")
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/live", live)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_messages_pass_both_ways_and_the_credential_is_in_the_handshake(tmp_path: Path) -> None:
    """An app with a WebSocket library of its own: text, binary, a large message, and the negotiated protocol."""
    seen: list[web.Request] = []
    token = secrets.token_hex(16)
    service = 'auth = { kind = "bearer", secret = "files:key" }'
    async with chat(seen) as url, aiohttp.ClientSession() as session:
        pod = Pod(tmp_path, url, service=service)
        pod.write_secret("key", token)
        async with pod, asyncio.timeout(WAIT_MAX):
            async with session.ws_connect(f"http://{pod.address}/vendor/live", protocols=("chat",)) as socket:
                assert socket.protocol == "chat"
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"
                large = secrets.token_bytes(1_000_000)
                await socket.send_bytes(large)
                assert await socket.receive_bytes() == large
            await pod.assert_nothing_left()
            line = (await pod.calls())[0]
            assert (line["status"], line["outcome"]) == (101, "success")
        assert seen[0].headers["Authorization"] == f"Bearer {token}"
        assert token.encode() not in pod.log_file.read_bytes()


async def test_the_vendor_may_close(tmp_path: Path) -> None:
    """Its code and its reason reach the app."""
    async with (
        chat([]) as url,
        aiohttp.ClientSession() as session,
        asyncio.timeout(WAIT_MAX),
        Pod(tmp_path, url) as pod,
    ):
        async with session.ws_connect(f"http://{pod.address}/vendor/live") as socket:
            await socket.send_str("bye")
            message = await socket.receive()
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4001, "as you wish")
        await pod.assert_nothing_left()


async def test_bytes_right_behind_the_101_are_the_apps(tmp_path: Path) -> None:
    """A vendor that speaks first, in the segment of its 101; and whatever bytes: after 101 it is not HTTP."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(SWITCHING + b"\x00\xffHTTP/1.1 200 OK\r\n\r\n")
        assert await exchange.read_some() == b"\r\n\r\nGET / HTTP/1.1\r\n\x00"
        await exchange.send(b"over")
        await exchange.close()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(handshake())
            reply = await app.read_head()
            assert reply.status == 101
            assert reply.value("Upgrade").lower() == "websocket"
            assert "upgrade" in reply.value("Connection").lower()
            assert reply.value("Sec-WebSocket-Accept") == "x"
            await app.send(b"\r\n\r\nGET / HTTP/1.1\r\n\x00")
            assert await app.read_until_closed() == b"\x00\xffHTTP/1.1 200 OK\r\n\r\nover"
        await pod.assert_nothing_left()


async def test_bytes_right_behind_the_handshake_are_the_vendors(tmp_path: Path) -> None:
    """An app that does not wait for the 101: what it sends in the same segment is kept, and goes out after it."""
    early = b"\x81\x85early frame"

    async def play(exchange: Exchange) -> None:
        await exchange.send(SWITCHING)
        got = b""
        while len(got) < len(early):
            got += await exchange.read_some()
        await exchange.send(got)
        await exchange.close()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(handshake() + early)
            assert (await app.read_head()).status == 101
            assert await app.read_until_closed() == early
        await pod.assert_nothing_left()


async def test_a_handshake_in_single_bytes_is_the_same(tmp_path: Path) -> None:
    """On both sides."""

    async def play(exchange: Exchange) -> None:
        for byte in SWITCHING + b"hello":
            await exchange.send(bytes([byte]))
        await exchange.close()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            for byte in handshake():
                await app.send(bytes([byte]))
            assert (await app.read_head()).status == 101
            assert await app.read_until_closed() == b"hello"
        await pod.assert_nothing_left()


@pytest.mark.parametrize("how", ["close", "reset", "half"])
async def test_an_app_that_leaves_ends_the_tunnel(how: str, tmp_path: Path) -> None:
    """The vendor learns of it, and nothing is left."""
    left = asyncio.Event()
    got = b""

    async def play(exchange: Exchange) -> None:
        nonlocal got
        await exchange.send(SWITCHING)
        try:
            while piece := await exchange.read_some():
                got += piece
        finally:
            left.set()
            await exchange.close()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(handshake())
            assert (await app.read_head()).status == 101
            await app.send(b"frame")
            if how == "reset":
                app.reset()
            elif how == "half":
                app.half_close()
                await asyncio.wait_for(left.wait(), WAIT_MAX)
                assert await app.read_until_closed() == b""
            else:
                await app.close()
            await asyncio.wait_for(left.wait(), WAIT_MAX)
        assert got == b"frame" or how == "reset"
        await pod.assert_nothing_left()


async def test_a_vendor_that_ignores_the_apps_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app is gone, the vendor keeps its side open and says nothing: the tunnel ends all the same."""
    monkeypatch.setattr(sidecar_exchange, "TUNNEL_LINGER", 0.2)
    over = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await exchange.send(SWITCHING)
        await over.wait()
        exchange.abort()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(handshake())
            assert (await app.read_head()).status == 101
        await pod.assert_nothing_left()
        over.set()


async def test_an_app_that_ignores_the_vendors_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same the other way round: the app sees the end, and its connection is closed if it does not close it."""
    monkeypatch.setattr(sidecar_exchange, "TUNNEL_LINGER", 0.2)

    async def play(exchange: Exchange) -> None:
        await exchange.send(SWITCHING)
        await exchange.close()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        await app.send(handshake())
        assert (await app.read_head()).status == 101
        assert await app.read_until_closed() == b""
        await pod.assert_nothing_left()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_vendor_that_leaves_ends_the_tunnel(how: str, tmp_path: Path) -> None:
    """The app learns of it, with all that came before."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(SWITCHING)
        assert await exchange.read_some() == b"frame"
        await exchange.send(b"x" * 200_000)
        if how == "close":
            await exchange.close()
        else:
            assert await exchange.read_some() == b"got it"
            exchange.reset()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(handshake())
            assert (await app.read_head()).status == 101
            await app.send(b"frame")
            got = b""
            while len(got) < 200_000:
                got += await app.read_some()
            if how == "reset":
                await app.send(b"got it")
            assert got + await app.read_until_closed() == b"x" * 200_000
        await pod.assert_nothing_left()


@pytest.mark.parametrize(("status", "reason"), [(426, b"Upgrade Required"), (400, b"Bad Request"), (200, b"OK")])
async def test_a_vendor_that_does_not_switch_answers_as_usual(status: int, reason: bytes, tmp_path: Path) -> None:
    """Its answer is the app's to read: status, body, and what it says about versions."""
    sent = answer(
        b"no", status=status, reason=reason, headers=[(b"Sec-WebSocket-Version", b"13"), (b"X-Why", b"because")]
    )
    async with Vendor.answering(sent) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(handshake())
            reply = await app.read_answer()
            assert (reply.status, reply.body, reply.value("X-Why")) == (status, b"no", "because")
        await pod.assert_nothing_left()


async def test_a_tunnel_is_held_back_by_whoever_does_not_read(tmp_path: Path) -> None:
    """An app that stops reading stops the vendor's sending; nothing piles up in the sidecar."""
    taken = 0
    stuck = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        nonlocal taken
        await exchange.send(SWITCHING)
        while True:
            sending = asyncio.create_task(exchange.send(b"x" * 65536))
            done, _ = await asyncio.wait([sending], timeout=0.5)
            if not done:
                stuck.set()
            await sending
            taken += 65536

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(handshake())
            assert (await app.read_head()).status == 101
            app.stop_reading()
            await asyncio.wait_for(stuck.wait(), WAIT_MAX)
            assert taken < 32 * 2**20
            app.go_on_reading()
            app.reset()
        await pod.assert_nothing_left()
