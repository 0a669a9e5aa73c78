"""The scripted vendor and the raw app, with each other."""

import asyncio
from pathlib import Path

import pytest

from tests.kit.app import App
from tests.kit.certificates import Authority
from tests.kit.exchange import Exchange
from tests.kit.message import CutOff
from tests.kit.vendor import Vendor, answer

ASK = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_answers_come_in_turn_and_requests_are_recorded() -> None:
    """The last answer repeats; each request knows its number and its connection."""
    async with Vendor.answering(answer(b"one"), answer(chunks=[b"t", b"wo"])) as vendor:
        async with App.to(vendor.url) as app:
            bodies = [(await app.ask("GET", f"/{n}")).body for n in range(3)]
        async with App.to(vendor.url) as app:
            await app.ask("POST", "/3", "X-A: 1", "x-a: 2", body=b"hello")
        await vendor.wait_for_closed(2)
        assert vendor.connections_open == 0
    assert bodies == [b"one", b"two", b"two"]
    assert [(request.target, request.connection) for request in vendor.requests][2:] == [(b"/2", 1), (b"/3", 2)]
    assert vendor.requests[3].values("X-A") == [b"1", b"2"]
    assert vendor.requests[3].body == b"hello"


@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_cut_comes_at_the_byte(by_reset: bool) -> None:
    """What came before the cut is there, and how it was cut is told."""
    raw = answer(b"hello")
    async with Vendor.cutting(raw, len(raw) - 2, by_reset=by_reset) as vendor, App.to(vendor.url) as app:
        reply = await app.ask("GET", "/a")
        assert (reply.body, reply.is_cut_off, reply.content.is_reset) == (b"hel", True, by_reset)
    async with Vendor.cutting(raw, 0, by_reset=by_reset) as vendor, App.to(vendor.url) as app:
        with pytest.raises(CutOff):
            await app.ask("GET", "/a")


async def test_a_stall_lasts_until_the_event() -> None:
    """No time is involved."""
    go_on = asyncio.Event()
    raw = answer(b"hello")
    async with Vendor.stalling(raw, len(raw) - 2, go_on) as vendor, App.to(vendor.url) as app:
        await app.send(ASK)
        assert await app.read_some() == raw[:-2]
        go_on.set()
        assert await app.read_some() == raw[-2:]


async def test_expect_and_early_answers_and_interim_ones() -> None:
    """A script has the connection in its hands."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await exchange.send(answer(b"early", headers=[(b"Connection", b"close")]))
        exchange.half_close()
        await exchange.read_body()

    async with Vendor(play, reads_body=False) as vendor, App.to(vendor.url) as app:
        await app.send(b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        reply = await app.read_answer()
        assert (reply.status, reply.interim, reply.body) == (200, [103], b"early")
        await app.send(b"lo\r\n0\r\nSum: 1\r\n\r\n")
        request = await vendor.wait_for_request()
        assert (request.body, request.trailers, request.is_whole) == (b"hello", [(b"Sum", b"1")], True)
    async with Vendor.answering(answer(b"ok")) as vendor, App.to(vendor.url) as app:
        await app.send(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await app.read_interim()).status == 100
        await app.send(b"hi")
        assert (await app.read_answer("PUT")).body == b"ok"


async def test_a_vendor_speaks_tls_and_its_echo_tells_what_came(tmp_path: Path) -> None:
    """With a certificate that only this test trusts."""
    authority = Authority()
    assert b"BEGIN CERTIFICATE" in authority.write_to(tmp_path / "ca.pem").read_bytes()
    async with Vendor.echoing(tls=authority.server()) as vendor:
        assert vendor.url.startswith("https://localhost:")
        async with App.to(vendor.url, tls=authority.client()) as app:
            seen = (await app.ask("PUT", "/a%2Fb", body=b"\xff")).json()
    assert (seen["method"], seen["target"], seen["body"]) == ("PUT", "/a%2Fb", "\xff")


async def test_what_is_not_http_is_raised_when_the_vendor_is_left() -> None:
    """A fault of the sidecar's cannot hide behind an answer that looks right."""

    async def send_nonsense() -> None:
        async with Vendor.answering(answer()) as vendor, App.to(vendor.url) as app:
            await app.send(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
            await app.read_until_closed()

    with pytest.raises(AssertionError, match="Content-Length and Transfer-Encoding"):
        await send_nonsense()


async def test_a_peer_that_leaves_in_the_middle_is_no_fault() -> None:
    """Its request says that it was cut off."""
    async with Vendor.answering(answer()) as vendor:
        async with App.to(vendor.url) as app:
            await app.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhel")
            await vendor.wait_for_head()
            app.reset()
        request = await vendor.wait_for_request()
    assert (request.is_cut_off, request.is_whole, request.body) == (True, False, b"hel")
