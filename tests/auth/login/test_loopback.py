"""The listener for the one redirect: what it answers to whom, and when it is over."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sidecar.auth.login.config import LoginConfig
from sidecar.auth.login.failed import LoginFailed, NotOurs
from sidecar.auth.login.loopback import CONNECTIONS_MAX, HEAD_TIMEOUT, Loopback
from tests.kit.clock import ManualClock


@pytest.fixture
async def loopback(clock: ManualClock) -> AsyncIterator[Loopback]:
    """Listen at a free port."""
    async with Loopback(LoginConfig(), clock) as listening:
        yield listening


def read(target: str) -> str:
    """Take what is ours."""
    if "ours" not in target:
        raise NotOurs("not ours")
    if "denied" in target:
        raise LoginFailed("denied")
    return target.partition("code=")[2]


async def get(url: str, **headers: str) -> tuple[int, str]:
    """Ask as a browser."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def raw(loopback: Loopback, request: bytes) -> bytes:
    """Ask as whoever."""
    port = int(loopback.redirect_uri.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = b""
    with contextlib.suppress(ConnectionResetError):  # It was closed before all of the request was read.
        answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()
    return answer


async def test_the_redirect_is_answered_and_its_code_given(loopback: Loopback) -> None:
    """The page says where to look, holds nothing of what came, and loads nothing."""
    waiting = asyncio.ensure_future(loopback.code(read, 600))
    await asyncio.wait([waiting], timeout=0)
    async with aiohttp.ClientSession() as session, session.get(f"{loopback.redirect_uri}?ours&code=abc<b>") as answer:
        page = await answer.text()
        assert answer.status == 200
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "the terminal tells" in page
    assert "abc" not in page
    assert await waiting == "abc%3Cb%3E"
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(loopback.redirect_uri)


async def test_a_refusal_ends_the_wait_too(loopback: Loopback) -> None:
    """The vendor said no: there is nothing more to wait for."""
    waiting = asyncio.ensure_future(loopback.code(read, 600))
    await asyncio.wait([waiting], timeout=0)
    assert (await get(f"{loopback.redirect_uri}?ours&denied"))[0] == 200
    with pytest.raises(LoginFailed, match="denied"):
        await waiting


async def test_what_is_not_the_redirect_is_answered_and_waited_past(loopback: Loopback) -> None:
    """Browsers ask for icons, and any program of the machine may ask anything."""
    waiting = asyncio.ensure_future(loopback.code(read, 600))
    await asyncio.wait([waiting], timeout=0)
    base = loopback.redirect_uri.removesuffix("/callback")
    assert (await get(f"{base}/favicon.ico"))[0] == 404
    assert (await get(f"{loopback.redirect_uri}?code=theirs"))[0] == 400
    assert (await get(f"{loopback.redirect_uri}?ours&code=x", Host="evil.example"))[0] == 403
    host = b"Host: localhost\r\n\r\n"
    assert b" 405 " in await raw(loopback, b"POST /callback?ours&code=x HTTP/1.1\r\n" + host)
    assert b" 403 " in await raw(loopback, b"GET /callback?ours&code=x HTTP/1.1\r\n\r\n")
    assert b" 404 " in await raw(loopback, b"nonsense\r\n" + host)
    assert await raw(loopback, b"x" * 40_000) == b""
    assert not waiting.done()
    assert (await get(f"{loopback.redirect_uri}?ours&code=mine"))[0] == 200
    assert await waiting == "mine"


async def test_a_redirect_before_the_wait_is_told_so(loopback: Loopback) -> None:
    """Nobody is there to read it."""
    assert (await get(f"{loopback.redirect_uri}?ours&code=x"))[0] == 410


async def test_nobody_comes_back(loopback: Loopback, clock: ManualClock) -> None:
    """The port does not stay open for ever."""
    waiting = asyncio.ensure_future(loopback.code(read, 600))
    await clock.advance(599)
    assert not waiting.done()
    await clock.advance(1)
    with pytest.raises(LoginFailed, match="within 10 minutes"):
        await waiting


async def test_a_connection_that_says_nothing_is_closed(loopback: Loopback, clock: ManualClock) -> None:
    """Browsers open some ahead of need."""
    port = int(loopback.redirect_uri.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not clock.pending:
        await asyncio.wait([asyncio.ensure_future(get(loopback.redirect_uri))])
    await clock.advance(HEAD_TIMEOUT)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_connections_have_a_bound(loopback: Loopback) -> None:
    """Full: closed at once."""
    port = int(loopback.redirect_uri.split(":")[2].split("/")[0])
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
    assert await raw(loopback, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()


async def test_a_port_that_is_taken_is_told(loopback: Loopback, clock: ManualClock) -> None:
    """With what helps."""
    port = int(loopback.redirect_uri.split(":")[2].split("/")[0])
    with pytest.raises(LoginFailed, match=r"cannot listen on 127\.0\.0\.1:.*another redirect_port"):
        async with Loopback(LoginConfig(redirect_port=port), clock):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_the_redirect_address_is_as_it_is_registered(host: str, clock: ManualClock) -> None:
    """Vendors compare it letter by letter, but for the port."""
    config = LoginConfig(redirect_host=host, redirect_path="/oauth/done")  # type: ignore[arg-type]
    try:
        async with Loopback(config, clock) as listening:
            assert listening.redirect_uri.startswith(f"http://{host}:")
            assert listening.redirect_uri.endswith("/oauth/done")
    except LoginFailed:
        assert host == "[::1]"  # A machine without IPv6.
