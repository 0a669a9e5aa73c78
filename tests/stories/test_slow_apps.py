"""Apps that are slow, or go away in the middle: nothing is kept for them, and the vendor is not blamed."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.kit.app import App
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.refusal import assert_refusal
from tests.kit.vendor import Vendor, answer

GET = b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF_HEAD = b"GET /vendor/x HTTP/1.1\r\nHost: loc"
HALF_BODY = b"POST /vendor/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"
HALF_CHUNK = b"POST /vendor/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\na\r\nabc"
LARGE = 64 * 1024 * 1024  # Bytes: more than all buffers on the way together.
SMALL = "connections_max = 1, waiting_max = 5"

HangUp = Callable[[App], Coroutine[Any, Any, None]]


async def _fin(app: App) -> None:
    app.half_close()
    await app.read_until_closed()


async def _rst(app: App) -> None:
    app.reset()


async def _close(app: App) -> None:
    await app.close()


WAYS: list[HangUp] = [_fin, _rst, _close]
IDS = ["FIN", "RST", "close"]


async def _stall(exchange: Exchange) -> None:
    """Wait until the peer is gone."""
    await exchange.read_some()


async def _stream(exchange: Exchange) -> None:
    """Send a large body, piece by piece."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
    for _ in range(LARGE // 65536):
        await exchange.send(bytes(65536))


async def _vendor_is_not_blamed(pod: Pod) -> None:
    """No attempt counts as a failure, and no circuit or page will."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{pod.sidecar.address('telemetry')}/metrics") as reply,
    ):
        text = await reply.text()
    counts = [line for line in text.splitlines() if line.startswith("sidecar_attempts_total{")]
    assert [line for line in counts if 'result="failure"' in line and not line.endswith((" 0", " 0.0"))] == []


async def _next_is_served(pod: Pod, vendor: Vendor) -> None:
    """After everything, nothing is left, and a further app gets its answer from the same pool."""
    await pod.assert_nothing_left()
    vendor._script = _answer
    async with pod.app() as app:
        assert (await app.ask("GET", "/vendor/next")).body == b"next"
    await pod.assert_nothing_left()


async def _answer(exchange: Exchange) -> None:
    await exchange.send(answer(b"next"))


# Slow.


async def test_a_head_that_trickles_in_gets_its_time_and_no_more(tmp_path: Path) -> None:
    """`head_timeout` is for the whole head: a byte now and then does not renew it; 408 and the end."""
    async with Vendor(_answer) as vendor, Pod(tmp_path, vendor, listen='head_timeout = "200ms"') as pod:
        async with pod.app() as app:
            await app.send(b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            reading = asyncio.create_task(app.read_answer())
            while not (await asyncio.wait([reading], timeout=0.02))[0]:
                await app.send(b"a")
            assert_refusal(await reading, 408, "bad_request", "http_request_error")
            assert (await reading).value("Connection") == "close"
            assert await app.read_until_closed() == b""
        line = (await pod.calls())[0]
        assert (line["outcome"], line["status"]) == ("rejected", 408)
        assert vendor.requests == []
        await _next_is_served(pod, vendor)


async def test_a_second_head_that_stops_half_way_gets_its_time_too(tmp_path: Path) -> None:
    """The bound holds for each head of a connection, not only for the first."""
    async with Vendor(_answer) as vendor, Pod(tmp_path, vendor, listen='head_timeout = "200ms"') as pod:
        async with pod.app() as app:
            await app.send(GET + HALF_HEAD)
            assert (await app.read_answer()).body == b"next"
            assert_refusal(await app.read_answer(), 408, "bad_request", "http_request_error")
            assert await app.read_until_closed() == b""
        await _next_is_served(pod, vendor)


@pytest.mark.parametrize("raw", [HALF_BODY, HALF_CHUNK], ids=["length", "chunked"])
async def test_a_body_that_stands_still_is_given_up(tmp_path: Path, raw: bytes) -> None:
    """`body_timeout` between two pieces: 408, the vendor sees a break and is not blamed for it."""
    async with Vendor(_answer) as vendor, Pod(tmp_path, vendor, listen='body_timeout = "200ms"') as pod:
        async with pod.app() as app:
            await app.send(raw)
            reply = await app.read_answer()
            assert_refusal(reply, 408, "bad_request", "http_request_error", service="vendor", attempts=1)
            assert reply.value("Connection") == "close"
            assert await app.read_until_closed() == b""
        request = await vendor.wait_for_request()
        assert (request.is_cut_off, request.body) == (True, b"abc")
        assert (await pod.calls())[0]["outcome"] == "rejected"
        await _vendor_is_not_blamed(pod)
        await _next_is_served(pod, vendor)


async def test_a_slow_body_that_goes_on_is_waited_for(tmp_path: Path) -> None:
    """`body_timeout` is between two pieces, not for the whole."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, listen='body_timeout = "300ms"') as pod:
        async with pod.app() as app:
            await app.send(b"POST /vendor/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n")
            reading = asyncio.create_task(app.read_answer())
            for _ in range(8):
                await asyncio.wait([reading], timeout=0.06)
                await app.send(b"a")
            assert (await reading).json()["body"] == "a" * 8
        await pod.assert_nothing_left()


async def test_an_app_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    """`write_timeout`: the vendor's connection is not held for who does not take the answer."""
    async with Vendor(_stream) as vendor, Pod(tmp_path, vendor, listen='write_timeout = "200ms"') as pod:
        async with pod.app() as app:
            app.stop_reading()
            await app.send(GET)
            await vendor.wait_for_closed()
            await pod.assert_nothing_left()
            line = (await pod.calls())[0]
            assert (line["outcome"], line["status"], line["code"]) == ("cancelled", 200, "")
            assert line["response_bytes"] < LARGE / 4, "back-pressure held"
            app.go_on_reading()
            assert len(await app.read_until_closed()) < LARGE
        await _vendor_is_not_blamed(pod)
        await _next_is_served(pod, vendor)


@pytest.mark.parametrize(
    "large",
    [answer(bytes(60_000)), b"HTTP/1.1 304 Not Modified\r\nX-Large: %b\r\n\r\n" % (b"a" * 30_000)],
    ids=["bodies", "heads"],
)
async def test_an_app_that_pipelines_and_does_not_read_is_cut_off(tmp_path: Path, large: bytes) -> None:
    """Answers in hand fill the same buffers as streams do: they are bounded by the same time."""
    async with Vendor.answering(large) as vendor, Pod(tmp_path, vendor, listen='write_timeout = "200ms"') as pod:
        async with pod.app() as app:
            app.stop_reading()
            sending = asyncio.create_task(app.send(*[GET * 50] * 40))
            await pod.until(lambda: len(vendor.requests) > 10, "the first requests")
            await pod.assert_nothing_left()
            assert len(vendor.requests) < 2000
            await asyncio.wait([sending])
            assert sending.exception() is None or isinstance(sending.exception(), ConnectionError)
        await pod.assert_nothing_left()


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(tmp_path: Path) -> None:
    """`keepalive_timeout` is for connections without a request: fresh ones, and those between two."""
    until = asyncio.Event()
    async with (
        Vendor.stalling(answer(b"done"), 0, until) as vendor,
        Pod(tmp_path, vendor, listen='keepalive_timeout = "200ms"') as pod,
        pod.app() as busy,
    ):
        await busy.send(GET)
        await vendor.wait_for_request()
        async with pod.app() as fresh:
            assert await fresh.read_until_closed() == b""
        until.set()
        assert (await busy.read_answer()).body == b"done"
        assert await busy.read_until_closed() == b""
        await pod.assert_nothing_left()


# Gone.


@pytest.mark.parametrize("hang_up", WAYS, ids=IDS)
@pytest.mark.parametrize(
    "raw", [b"", b"G", HALF_HEAD, GET[:-1], b"\r\n"], ids=["nothing", "a byte", "half", "all but LF", "CRLF"]
)
async def test_who_leaves_before_the_head_is_whole_leaves_nothing(tmp_path: Path, hang_up: HangUp, raw: bytes) -> None:
    """There was no call, so there is no line of a failure, and no answer."""
    async with Vendor(_answer) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            if raw:
                await app.send(raw)
            await pod.until(lambda: pod.snapshot()["connections"] == 1, "the connection")
            await hang_up(app)
            await pod.assert_nothing_left()
        assert vendor.requests == []
        assert [line for line in await pod.log_lines() if line.get("outcome") == "failure"] == []
        await _next_is_served(pod, vendor)


@pytest.mark.parametrize("hang_up", WAYS, ids=IDS)
@pytest.mark.parametrize("raw", [HALF_BODY, HALF_CHUNK], ids=["length", "chunked"])
async def test_who_leaves_in_its_body_is_cancelled(tmp_path: Path, hang_up: HangUp, raw: bytes) -> None:
    """The vendor sees a break, never a shorter body; the outcome is the app's own."""
    async with Vendor(_answer) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(raw)
            await vendor.wait_for_head()
            await hang_up(app)
            assert (await vendor.wait_for_request()).is_cut_off
            await pod.assert_nothing_left()
        await _is_cancelled(pod)
        await _next_is_served(pod, vendor)


@pytest.mark.parametrize("hang_up", WAYS, ids=IDS)
async def test_who_leaves_while_the_vendor_thinks_is_cancelled(tmp_path: Path, hang_up: HangUp) -> None:
    """The vendor's connection is closed at once: nobody waits for that answer."""
    async with Vendor(_stall) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(GET)
            await vendor.wait_for_request()
            await hang_up(app)
            await vendor.wait_for_closed()
            await pod.assert_nothing_left()
        await _is_cancelled(pod)
        await _next_is_served(pod, vendor)


@pytest.mark.parametrize("hang_up", WAYS, ids=IDS)
async def test_who_leaves_the_line_before_the_pool_is_cancelled(tmp_path: Path, hang_up: HangUp) -> None:
    """Its place in line is the next one's; the call that has the connection is not disturbed."""
    until = asyncio.Event()
    service = f"pool = {{ {SMALL} }}"
    async with Vendor.stalling(answer(b"done"), 0, until) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        async with pod.app() as first, pod.app() as second, pod.app() as third:
            await first.send(GET)
            await vendor.wait_for_request()
            for number, app in enumerate((second, third), start=1):
                await app.send(GET)
                await pod.until(_is_waiting(pod, number), "the line")
            await hang_up(second)
            await pod.until(_is_waiting(pod, 1), "one less in line")
            until.set()
            assert [(await app.read_answer()).body for app in (first, third)] == [b"done", b"done"]
        assert vendor.connections_opened == 1
        await _is_cancelled(pod, status=0)
        await _next_is_served(pod, vendor)


def _is_waiting(pod: Pod, count: int) -> Callable[[], bool]:
    return lambda: pod.snapshot()["services"]["vendor"]["pool"]["waiting"] == count


@pytest.mark.parametrize("hang_up", WAYS, ids=IDS)
async def test_who_leaves_in_the_answer_is_cancelled(tmp_path: Path, hang_up: HangUp) -> None:
    """The answer had begun: its status stands in the line, and the outcome is that nobody took it."""
    async with Vendor(_stream) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(GET)
            assert (await app.read_head()).status == 200
            await hang_up(app) if hang_up is not _fin else await _fin_unread(app)
            await vendor.wait_for_closed()
            await pod.assert_nothing_left()
        await _is_cancelled(pod, status=200)
        await _next_is_served(pod, vendor)


async def _fin_unread(app: App) -> None:
    app.half_close()


@pytest.mark.parametrize("hang_up", WAYS, ids=IDS)
async def test_who_leaves_with_requests_behind_one_another_takes_all_along(tmp_path: Path, hang_up: HangUp) -> None:
    """What waits behind the call under way is never begun."""
    async with Vendor(_stall) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(GET * 20)
            await vendor.wait_for_request()
            await hang_up(app)
            await vendor.wait_for_closed()
            await pod.assert_nothing_left()
        assert len(vendor.requests) == 1
        await _is_cancelled(pod)
        await _next_is_served(pod, vendor)


async def test_who_leaves_while_it_is_not_read_is_noticed_at_the_deadline(tmp_path: Path) -> None:
    """With more requests in line than are read ahead nobody hears it hang up; the call's own time bounds that."""
    async with Vendor(_stall) as vendor, Pod(tmp_path, vendor, service='timeout = "500ms"') as pod:
        async with pod.app() as app:
            await app.send(GET * 100)
            await vendor.wait_for_request()
            app.reset()
            await pod.assert_nothing_left()
        assert len(vendor.requests) == 1
        await _next_is_served(pod, vendor)


@pytest.mark.parametrize("hang_up", WAYS, ids=IDS)
async def test_who_leaves_with_an_unwanted_body_half_sent_leaves_nothing(tmp_path: Path, hang_up: HangUp) -> None:
    """The answer is out and the rest of the body is being dropped: that ends with the app."""
    async with Vendor(_answer) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(HALF_BODY.replace(b"/vendor/", b"/unknown/"))
            assert (await app.read_answer()).status == 404
            await hang_up(app)
            await pod.assert_nothing_left()
        await _next_is_served(pod, vendor)


async def test_a_crowd_that_hangs_up_leaves_nothing(tmp_path: Path) -> None:
    """A hundred apps at once, in all phases: the counts come back to zero."""
    async with Vendor(_stall) as vendor, Pod(tmp_path, vendor, service=f"pool = {{ {SMALL}0 }}") as pod:
        apps = [pod.app() for _ in range(100)]
        for number, connecting in enumerate(apps):
            app = await connecting.__aenter__()
            await app.send([GET, HALF_HEAD, HALF_BODY, HALF_CHUNK, GET * 3][number % 5])
            if number % 2:
                app.reset()
        for connecting in apps:
            await connecting.__aexit__(None, None, None)
        await pod.assert_nothing_left()
        assert [line for line in await pod.log_lines() if line.get("outcome") == "failure"] == []
        await _vendor_is_not_blamed(pod)
        await _next_is_served(pod, vendor)


async def _is_cancelled(pod: Pod, status: int = 0) -> None:
    """There is one line of a cancelled call, and none of a failure."""
    lines = [line for line in await pod.calls() if line["outcome"] != "success"]
    assert [(line["outcome"], line["status"], line["code"]) for line in lines] == [("cancelled", status, "")]
    await _vendor_is_not_blamed(pod)
