"""Both sides hang up wherever chance wants it: no connection, place, call or task is left of any of them."""

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from tests.kit.app import App
from tests.kit.certificates import Authority
from tests.kit.exchange import Exchange
from tests.kit.message import CutOff
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

CALLS = 240
AT_ONCE = 12  # With three connections to the vendor, so that some wait in line when they are given up.
SERVICE = """
circuit_breaker = false
timeout = "300ms"
idle_timeout = "300ms"
connect_timeout = "300ms"
[services.vendor.pool]
connections_max = 3
waiting_max = 6
"""
ALL = 10**6
BODY = b"b" * 70_000
ANSWERS = {
    "length": answer(b"a" * 70_000),
    "chunked": answer(chunks=[b"a" * 30_000, b"b" * 40_000], trailers=[(b"X-Sum", b"1")]),
    "close": b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 70_000,
    "interim": b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" + answer(b"late"),
    "none": answer(b"", status=204),
    "switch": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
}
HEADS = {
    "get": b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "post": b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n" + BODY,
    "chunks": b"PUT %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"11170\r\n" + BODY + b"\r\n0\r\nX-Sum: 1\r\n\r\n",
    "expects": b"POST %b HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 70000\r\n\r\n" + BODY,
    "socket": b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    "old": b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
}


async def play(exchange: Exchange) -> None:
    """Do what the path says: answer so much of it, and then leave in this way, or stay for the next request."""
    assert exchange.request is not None
    _, kind, text, end = exchange.request.target.decode().split("/")
    size = min(int(text), len(ANSWERS[kind]))
    if end != "early":
        await exchange.read_body()
    await exchange.send(ANSWERS[kind][:size])
    if end == "stall":
        await exchange.read_some()
    if end == "reset":
        exchange.reset()
    elif end != "stay" or kind in {"close", "switch"} or size < len(ANSWERS[kind]):
        await exchange.close()


async def call(address: str, chance: random.Random) -> None:
    """Make one call, or the beginning of one, and hang up somewhere."""
    kind = chance.choice(list(ANSWERS))
    size = chance.choice([0, 1, 20, 60, 30_000, 10**6, 10**6])
    end = chance.choice(["stay", "stay", "stay", "close", "reset", "stall", "early"])
    raw = HEADS[chance.choice(list(HEADS))] % f"/vendor/{kind}/{size}/{end}".encode()
    sent = chance.choice([1, 30, 90, 20_000, len(raw), len(raw), len(raw)])
    taken = chance.choice([0, 0, 1, 100, ALL])
    async with App.to(address) as app:
        with contextlib.suppress(ConnectionError):
            await app.send(raw[:sent], *chance.choice([(), (), (raw,)]))
            if sent == len(raw):
                await _take(app, taken)
            if chance.random() < 0.3:
                with contextlib.suppress(RuntimeError):  # The sidecar was faster.
                    app.half_close()
        if chance.random() < 0.5:
            app.reset()


async def _take(app: App, count: int) -> None:
    """Read some bytes, of which any answer has more, or all of it."""
    with contextlib.suppress(CutOff):
        if count == ALL:
            await app.read_answer()
    while 0 < count < ALL:
        piece = await app.read_some()
        count = count - len(piece) if piece else 0


async def _call_all(address: str, seed: int) -> None:
    chance = random.Random(seed)
    calls = [(chance.randrange(2**32), chance.random() < 0.2, chance.randrange(1, 40)) for _ in range(CALLS)]

    async def some(numbers: list[tuple[int, bool, int]]) -> None:
        for number, is_cancelled, turns in numbers:
            task = asyncio.create_task(call(address, random.Random(number)))
            if is_cancelled:
                for _ in range(turns):
                    await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop; no time passes.
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):  # The latter when the door is closed already.
                await task

    await asyncio.gather(*(some(calls[start::AT_ONCE]) for start in range(AT_ONCE)))


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_left_wherever_both_sides_hang_up(tmp_path: Path, seed: int, *, is_tls: bool) -> None:
    """In the line for a connection, in the handshake, in heads, bodies, tunnels, half-closed, reset, cancelled."""
    authority = Authority()
    ca_file = authority.write_to(tmp_path / "ca.pem")
    service = f'ca_file = "{ca_file}"\n{SERVICE}' if is_tls else SERVICE
    async with (
        Vendor(play, reads_body=False, tls=authority.server() if is_tls else None) as vendor,
        Pod(tmp_path, vendor, service=service) as pod,
    ):
        await _call_all(pod.address, seed)
        await pod.assert_nothing_left()
        async with pod.app() as app:
            assert (await app.ask("GET", "/vendor/length/1000000/stay")).status == 200
        assert vendor.connections_open <= 3


async def test_a_drain_in_the_middle_of_it_leaves_nothing_either(tmp_path: Path) -> None:
    """What does not end by itself is cut off, and given back all the same."""
    async with Vendor(play, reads_body=False) as vendor, Pod(tmp_path, vendor, service=SERVICE) as pod:
        calls = asyncio.create_task(_call_all(pod.address, 3))
        await vendor.until(lambda: len(vendor.requests) > 30)
        await pod.stop()
        await asyncio.wait([calls])
        await pod.assert_nothing_left()
