"""A vendor that is slow by chance: a second attempt cuts the tail, and costs what it is allowed to cost."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.kit.app import App
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

HEDGE = 'hedge = { delay_min = "30ms", samples_min = 10 }\n'


class Slow:
    """A vendor whose requests with the path /slow hang, in the order given, until they are let go or given up."""

    def __init__(self, *hangs: bool, late: bytes = b"late", status: int = 200) -> None:
        self.vendor = Vendor(self._play)
        self.go = asyncio.Event()
        self.slow = 0  # Requests for the slow path.
        self._hangs = hangs
        self._late = late
        self._status = status

    async def _play(self, exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.target != b"/slow":
            await exchange.send(answer(b"quick"))
            return
        number = self.slow
        self.slow += 1
        if number < len(self._hangs) and self._hangs[number]:
            await self.go.wait()
            await exchange.send(answer(self._late, status=self._status))
        else:
            await exchange.send(answer(b"hedged"))


def counted(pod: Pod) -> tuple[int, int, int]:
    """Give started, won, refused."""
    counter = pod.sidecar._grounds.metrics.counter
    started, won, refused = (
        counter("sidecar_hedges_total", "vendor", result).value for result in ("started", "won", "refused")
    )
    return started, won, refused


async def warm_up(app: App, calls: int = 10) -> None:
    """Let the sidecar learn how long an attempt takes."""
    for _ in range(calls):
        assert (await app.ask("GET", "/vendor/quick")).status == 200


@pytest.mark.parametrize("retry", ["", "retry = false\n"])
async def test_a_late_attempt_is_overtaken_by_a_second_one(tmp_path: Path, retry: str) -> None:
    """The app waits milliseconds instead of seconds; the line tells both attempts; the loser's connection is closed."""
    slow = Slow(True)
    async with slow.vendor as vendor, Pod(tmp_path, vendor, service=(retry or "retry = {}\n") + HEDGE) as pod:
        async with pod.app() as app:
            await warm_up(app)
            began_at = time.monotonic()
            reply = await app.ask("GET", "/vendor/slow")
            assert time.monotonic() - began_at < 5
            assert (reply.status, reply.body, reply.value("Sidecar-Attempts")) == (200, b"hedged", "2")
            assert counted(pod) == (1, 1, 0)
            await vendor.until(lambda: slow.slow == 2, "both attempts")
            assert pod.snapshot()["services"]["vendor"]["pool"]["busy"] == 0
        line = (await pod.calls(11))[-1]
        assert (line["attempts"], line["outcome"]) == (2, "success")
        slow.go.set()
        await pod.assert_nothing_left()


async def test_the_first_attempt_may_still_win(tmp_path: Path) -> None:
    """The second one hangs, too; whoever answers first is taken, and the other is given up."""
    slow = Slow(True, True, late=b"first")
    async with slow.vendor as vendor, Pod(tmp_path, vendor, service=HEDGE) as pod:
        async with pod.app() as app:
            await warm_up(app)
            await app.send(b"GET /vendor/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await vendor.until(lambda: slow.slow == 2, "both attempts")
            slow.go.set()
            assert (await app.read_answer()).body == b"first"
        assert counted(pod)[0] == 1
        await pod.assert_nothing_left()


async def test_a_quick_failure_of_the_second_does_not_win(tmp_path: Path) -> None:
    """The answer that is on its way is worth waiting for."""
    go = asyncio.Event()
    slow = 0

    async def play(exchange: Exchange) -> None:
        nonlocal slow
        assert exchange.request is not None
        if exchange.request.target != b"/slow":
            await exchange.send(answer(b"quick"))
            return
        slow += 1
        if slow == 1:
            await go.wait()
            await exchange.send(answer(b"worth it"))
        else:
            await exchange.send(answer(b"down", status=503))
            go.set()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=HEDGE) as pod:
        async with pod.app() as app:
            await warm_up(app)
            reply = await app.ask("GET", "/vendor/slow")
        assert (reply.status, reply.body, counted(pod)) == (200, b"worth it", (1, 0, 0))
        await pod.assert_nothing_left()


async def test_when_both_fail_the_app_hears_of_the_first(tmp_path: Path) -> None:
    """And the line has both attempts, each with what became of it."""
    go = asyncio.Event()
    slow = 0

    async def play(exchange: Exchange) -> None:
        nonlocal slow
        assert exchange.request is not None
        if exchange.request.target != b"/slow":
            await exchange.send(answer(b"quick"))
            return
        slow += 1
        if slow == 1:
            await go.wait()
            await exchange.send(answer(b"first", status=502))
        else:
            await exchange.send(answer(b"second", status=503))
            go.set()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=HEDGE) as pod:
        async with pod.app() as app:
            await warm_up(app)
            reply = await app.ask("GET", "/vendor/slow")
        assert (reply.status, reply.body) == (502, b"first")
        line = (await pod.calls(11))[-1]
        assert [attempt["status"] for attempt in line["attempt_details"]] == [502, 503]
        await pod.assert_nothing_left()


async def test_what_is_not_safe_is_never_sent_twice(tmp_path: Path) -> None:
    """However late it is."""
    slow = Slow(True)
    async with slow.vendor as vendor, Pod(tmp_path, vendor, service=HEDGE) as pod:
        async with pod.app() as app:
            await warm_up(app)
            await app.send(b"POST /vendor/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            await vendor.until(lambda: slow.slow == 1, "the attempt")
            async with pod.app() as other:  # More than the delay goes by.
                await warm_up(other, 1)
                reply = await other.ask("GET", "/vendor/x", "Sidecar-Timeout: 1s")
                assert reply.status == 200
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.15):
                    await asyncio.Event().wait()
            assert slow.slow == 1
            slow.go.set()
            assert (await app.read_answer("POST")).body == b"late"
        assert counted(pod) == (0, 0, 0)


async def test_a_budget_that_is_used_up_refuses_the_second_attempt(tmp_path: Path) -> None:
    """A vendor that is slow altogether does not get twice the load."""
    slow = Slow(True)
    service = HEDGE + "retry = { attempts_max = 1, budget = 0.0, budget_min = 0 }\n"
    async with slow.vendor as vendor, Pod(tmp_path, vendor, service=service) as pod:
        async with pod.app() as app:
            await warm_up(app)
            await app.send(b"GET /vendor/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await pod.until(lambda: counted(pod)[2] == 1, "the refusal")
            slow.go.set()
            assert (await app.read_answer()).body == b"late"
        assert (slow.slow, counted(pod)) == (1, (0, 0, 1))


async def test_a_large_answer_of_the_winner_streams_whole(tmp_path: Path) -> None:
    """Its connection is held until the last byte, though its task is long done."""
    content = b"w" * 2_000_000
    slow = 0

    async def play(exchange: Exchange) -> None:
        nonlocal slow
        assert exchange.request is not None
        if exchange.request.target != b"/slow":
            await exchange.send(answer(b"quick"))
            return
        slow += 1
        if slow == 1:
            await exchange.read_some()  # Until it is given up.
        else:
            await exchange.send(answer(content))

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=HEDGE) as pod:
        async with pod.app() as app:
            await warm_up(app)
            assert (await app.ask("GET", "/vendor/slow")).body == content
        await pod.assert_nothing_left()


async def test_an_app_that_hangs_up_while_two_attempts_run_leaves_nothing(tmp_path: Path) -> None:
    """Both are cancelled, and neither counts as the vendor's failure."""
    slow = Slow(True, True)
    async with slow.vendor as vendor, Pod(tmp_path, vendor, service=HEDGE) as pod:
        async with pod.app() as app:
            await warm_up(app)
            await app.send(b"GET /vendor/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await vendor.until(lambda: slow.slow == 2, "both attempts")
            app.reset()
        await pod.assert_nothing_left()
        line = (await pod.calls(11))[-1]
        assert (line["outcome"], line["attempts"]) == ("cancelled", 2)
        circuit = pod.snapshot()["services"]["vendor"]["circuit"]
        assert circuit["state"] == "closed"
        slow.go.set()


async def test_the_deadline_ends_both_attempts(tmp_path: Path) -> None:
    """In time, with the step named."""
    slow = Slow(True, True)
    async with slow.vendor as vendor, Pod(tmp_path, vendor, service=HEDGE) as pod:
        async with pod.app() as app:
            await warm_up(app)
            began_at = time.monotonic()
            reply = await app.ask("GET", "/vendor/slow", "Sidecar-Timeout: 300ms")
            took = time.monotonic() - began_at
        assert (reply.status, reply.value("Sidecar-Error")) == (504, "deadline_exceeded")
        assert "first byte" in reply.json()["detail"]
        assert 0.29 < took < 1.5
        assert slow.slow == 2
        slow.go.set()
        await pod.assert_nothing_left()
