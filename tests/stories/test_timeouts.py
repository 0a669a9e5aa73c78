"""The vendor is slow, in every step there is: each limit ends the call at its time, and the answer names the step."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sidecar.upstream.resolve import AddrInfo
from tests.kit.app import Reply
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer
from tests.upstream.dialing import black_hole

LATE_MAX = 1.5  # Seconds that a busy machine may be late.
EARLY_MAX = 0.02


async def ask(pod: Pod, *headers: str, method: str = "GET", target: str = "/vendor/") -> tuple[Reply, float]:
    """Ask on a connection of its own; gives the answer and the seconds it took."""
    async with pod.app() as app:
        began_at = time.monotonic()
        reply = await app.ask(method, target, *headers)
        return reply, time.monotonic() - began_at


def assert_ended(reply: Reply, took: float, at: float, status: int, code: str, *words: str) -> None:
    """Assert that the sidecar ended the call at its time, with a sentence that says which step it was in."""
    assert (reply.status, reply.value("Sidecar-Error")) == (status, code), reply.body
    detail = reply.json()["detail"]
    for word in words:
        assert word in detail
    assert at - EARLY_MAX <= took <= at + LATE_MAX, f"{took:.3f} s, not {at} s: {detail}"


async def silence(exchange: Exchange) -> None:
    """Say nothing until the sidecar leaves."""
    with contextlib.suppress(ConnectionError):
        while await exchange.read_some():
            pass


@pytest.fixture
def held() -> Iterator[contextlib.ExitStack]:
    """Hold what a test opens until it is over."""
    with contextlib.ExitStack() as stack:
        yield stack


class Trickle:
    """Sends a byte now and then: driven by the pace of the sidecar's own clock, never longer than it."""

    def __init__(self, sent: bytes, every: float) -> None:
        self.sent = sent
        self.every = every

    async def play(self, exchange: Exchange) -> None:
        """Send it."""
        left = asyncio.create_task(exchange.read_some())
        for byte in self.sent:
            with contextlib.suppress(ConnectionError):
                await exchange.send(bytes([byte]))
            done, _ = await asyncio.wait([left], timeout=self.every)
            if done:
                break
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await left
        await exchange.close()


async def test_a_name_server_that_does_not_answer(tmp_path: Path) -> None:
    """dns_timeout ends it: 502 dns_failed."""

    async def lookup(host: str, port: int) -> Sequence[AddrInfo]:
        await asyncio.Event().wait()
        raise AssertionError

    service = 'dns_timeout = "200ms"\ntimeout = "5s"'
    async with Pod(tmp_path, "http://api.test", service=service) as pod:
        pod.sidecar._grounds.resolver._lookup = lookup
        assert_ended(*await ask(pod), 0.2, 502, "dns_failed", "api.test", "dns_timeout")
        await pod.assert_nothing_left()


async def test_a_vendor_that_does_not_take_the_connection(tmp_path: Path) -> None:
    """connect_timeout ends it: 502 connect_failed."""
    service = 'connect_timeout = "300ms"\ntimeout = "5s"'
    with black_hole() as port:
        async with Pod(tmp_path, f"http://127.0.0.1:{port}", service=service) as pod:
            assert_ended(*await ask(pod), 0.3, 502, "connect_failed", "127.0.0.1", "connect_timeout = 0.3s")
            await pod.assert_nothing_left()


async def test_a_vendor_that_does_not_shake_hands(tmp_path: Path) -> None:
    """tls_timeout ends it: 502 tls_failed."""
    async with Vendor(silence, reads=False) as vendor:
        url = f"https://localhost:{vendor.port}"
        async with Pod(tmp_path, url, service='tls_timeout = "300ms"\ntimeout = "5s"') as pod:
            assert_ended(*await ask(pod), 0.3, 502, "tls_failed", "localhost", "tls_timeout = 0.3s")
            await pod.assert_nothing_left()


@pytest.mark.parametrize("service", ['dns_timeout = "5s"', 'connect_timeout = "5s"', 'tls_timeout = "5s"'])
async def test_the_calls_deadline_bounds_every_step(service: str, tmp_path: Path, held: contextlib.ExitStack) -> None:
    """A step's own limit may be longer; the deadline names the step in which the time ran out."""

    async def lookup(host: str, port: int) -> Sequence[AddrInfo]:
        await asyncio.Event().wait()
        raise AssertionError

    async with Vendor(silence, reads=False) as vendor:
        port = held.enter_context(black_hole())
        url, step = {
            "dns": ("http://api.test", "resolving"),
            "con": (f"http://127.0.0.1:{port}", "connecting"),
            "tls": (f"https://localhost:{vendor.port}", "the TLS handshake"),
        }[service[:3]]
        async with Pod(tmp_path, url, service=service) as pod:
            if service.startswith("dns"):
                pod.sidecar._grounds.resolver._lookup = lookup
            assert_ended(*await ask(pod, "Sidecar-Timeout: 300ms"), 0.3, 504, "deadline_exceeded", step)
            await pod.assert_nothing_left()


@pytest.mark.parametrize(
    ("service", "at", "words"),
    [
        ('first_byte_timeout = "200ms"\ntimeout = "5s"', 0.2, "first_byte_timeout = 0.2 s"),
        ('attempt_timeout = "200ms"\ntimeout = "5s"', 0.2, "attempt_timeout = 0.2 s"),
        ('timeout = "200ms"', 0.2, "the call's time is used up"),
    ],
)
async def test_a_vendor_that_does_not_answer(service: str, at: float, words: str, tmp_path: Path) -> None:
    """The first byte's limit, the attempt's, the call's: 504 with the step."""
    async with Vendor(silence) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        reply, took = await ask(pod)
        assert_ended(reply, took, at, 504, "deadline_exceeded", words, "waiting for the answer's first byte")
        assert "error=http_response_timeout" in reply.value("Proxy-Status")
        await vendor.wait_for_closed()
        await pod.assert_nothing_left()
        assert (await pod.calls())[0]["code"] == "deadline_exceeded"


async def test_a_head_that_trickles_in(tmp_path: Path) -> None:
    """No byte of it lengthens the call: the deadline covers the head."""
    trickle = Trickle(answer(b"hello"), 0.05)
    async with Vendor(trickle.play) as vendor, Pod(tmp_path, vendor, service='timeout = "300ms"') as pod:
        assert_ended(*await ask(pod), 0.3, 504, "deadline_exceeded", "receiving the answer's head")
        await pod.assert_nothing_left()


async def test_a_body_that_stops_is_cut_off_after_idle_timeout(tmp_path: Path) -> None:
    """Nothing else can be told to the app then; the line has the code and the limit."""
    sent = answer(b"hello")

    async def play(exchange: Exchange) -> None:
        await exchange.send(sent[:-2])
        await silence(exchange)

    service = 'idle_timeout = "300ms"\ntimeout = "5s"'
    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        reply, took = await ask(pod)
        assert (reply.status, reply.body, reply.is_cut_off) == (200, b"hel", True)
        assert 0.3 - EARLY_MAX <= took <= 0.3 + LATE_MAX
        await pod.assert_nothing_left()
        assert (await pod.calls())[0]["code"] == "deadline_exceeded"


async def test_a_stream_may_last_longer_than_the_timeout(tmp_path: Path) -> None:
    """The deadline covers the head, the idle timeout the body: server-sent events live as long as they come."""
    events = b"".join(b"data: %d\n\n" % number for number in range(12))
    step = len(events) // 12

    async def play(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        left = asyncio.create_task(exchange.read_some())
        for at in range(0, len(events), step):
            piece = events[at : at + step]
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert not (await asyncio.wait([left], timeout=0.1))[0], "the sidecar left"
        left.cancel()
        await asyncio.wait([left])
        await exchange.send(b"0\r\n\r\n")

    service = 'timeout = "300ms"\nidle_timeout = "2s"'
    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        reply, took = await ask(pod)
        assert (reply.status, reply.body, reply.is_cut_off) == (200, events, False)
        assert took > 1.0
        await pod.assert_nothing_left()
        assert (await pod.calls())[0]["outcome"] == "success"


async def test_the_app_may_shorten_its_call(tmp_path: Path) -> None:
    """Sidecar-Timeout: 200ms under a timeout of five seconds."""
    async with Vendor(silence) as vendor, Pod(tmp_path, vendor, service='timeout = "5s"') as pod:
        assert_ended(*await ask(pod, "Sidecar-Timeout: 200ms"), 0.2, 504, "deadline_exceeded", "first byte")
        assert vendor.requests[0].values("Sidecar-Timeout") == []
        await pod.assert_nothing_left()


async def test_the_app_may_not_lengthen_its_call(tmp_path: Path) -> None:
    """What stands in front of the app would give up first."""
    async with Vendor(silence) as vendor, Pod(tmp_path, vendor, service='timeout = "200ms"') as pod:
        assert_ended(*await ask(pod, "Sidecar-Timeout: 20s"), 0.2, 504, "deadline_exceeded")
        await pod.assert_nothing_left()


@pytest.mark.parametrize("value", ["2", "soon", "-1s", "1s, 2s", "", "1e3s", "nan", "0s"])
async def test_a_timeout_that_cannot_be_read_is_refused(value: str, tmp_path: Path) -> None:
    """A bare number has no unit; a guess would be wrong by a thousand."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        reply, _ = await ask(pod, f"Sidecar-Timeout: {value}")
        assert (reply.status, reply.value("Sidecar-Error")) == (400, "bad_request"), reply.body
        assert not vendor.requests
        await pod.assert_nothing_left()


async def test_waiting_for_a_connection_counts_too(tmp_path: Path) -> None:
    """The pool's line is a step like any other."""
    service = 'timeout = "300ms"\npool = { connections_max = 1 }'
    async with Vendor(silence) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        first = asyncio.create_task(ask(pod, target="/vendor/first"))
        await vendor.wait_for_head()
        reply, took = await ask(pod, "Sidecar-Timeout: 100ms")
        assert_ended(reply, took, 0.1, 504, "deadline_exceeded", "waiting for one of 1 connections")
        await first
        await pod.assert_nothing_left()


async def test_an_upload_that_the_vendor_does_not_take(tmp_path: Path) -> None:
    """The deadline covers the sending: 504, and the app's connection is not left hanging."""
    over = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await over.wait()
        exchange.reset()

    service = 'timeout = "400ms"'
    async with Vendor(play, reads_body=False) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        async with pod.app() as app:
            began_at = time.monotonic()
            await app.send(b"POST /vendor/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
            sending = asyncio.create_task(send_on(app.send))
            reply = await app.read_answer("POST")
            took = time.monotonic() - began_at
            assert_ended(reply, took, 0.4, 504, "deadline_exceeded", "sending the request")
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        over.set()
        await pod.assert_nothing_left()


async def send_on(send: object) -> None:
    """Send until nothing more is taken."""
    assert callable(send)
    with contextlib.suppress(ConnectionError, AssertionError):
        while True:
            await send(b"x" * 256 * 1024)
