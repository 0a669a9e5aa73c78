"""So many at once: a slot is held to the last byte, whoever hangs up wherever gives back all that the call had taken.

Time is moved by hand; sockets are real.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sidecar.layers.rate_limit.announced import Announced
from sidecar.upstream.resolve import AddrInfo
from tests.kit.app import App
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange
from tests.kit.message import CutOff
from tests.kit.standing import Standing, with_circuit
from tests.kit.timed import TimedPod
from tests.kit.vendor import Vendor, answer
from tests.upstream.dialing import black_hole

OK = answer(b"done")
GET = b"GET /vendor/%b HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Downloads:
    """A vendor that sends the head and half of the body, and the rest of the one whose path is released."""

    def __init__(self) -> None:
        self.released: dict[str, asyncio.Event] = {}

    async def play(self, exchange: Exchange) -> None:
        """Answer one download."""
        assert exchange.request is not None
        path = exchange.request.target.decode().removeprefix("/")
        if path == "quick":
            await exchange.send(OK)
            return
        released = self.released.setdefault(path, asyncio.Event())
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        await released.wait()
        if path == "broken":
            exchange.reset()
        else:
            await exchange.send(b"half")

    def release(self, path: str) -> None:
        """Let one end."""
        self.released[path].set()


def held(pod: TimedPod) -> tuple[int, int]:
    """Give how many slots are taken, and how many calls wait for one."""
    shown: dict[str, Any] = pod.snapshot()["services"]["vendor"]["bulkhead"]
    return shown["in_use"], shown["waiting"]


# To the last byte.


async def test_slow_downloads_fill_the_bulkhead(clock: ManualClock, tmp_path: Path) -> None:
    """A slot is given back with the last byte, not with the head: that was linkerd2-proxy's own TODO.

    Two downloads take both slots; the third waits in line though both heads are with their apps; the fourth is told.
    """
    vendor = Downloads()
    service = "bulkhead = { slots = 2, waiting_max = 1 }"
    async with AsyncExitStack() as stack:
        pod = await stack.enter_async_context(
            TimedPod(clock, tmp_path, await stack.enter_async_context(Vendor(vendor.play)), service=service)
        )
        first, second, third, fourth = [await stack.enter_async_context(pod.app()) for _ in range(4)]
        for app, path in ((first, b"a"), (second, b"b")):
            await app.send(GET % path)
            assert (await app.read_head()).status == 200
        await pod.advance(0)
        assert held(pod) == (2, 0)

        await third.send(GET % b"quick")
        await pod.advance(1)
        assert held(pod) == (2, 1)

        refused = await fourth.ask("GET", "/vendor/quick")
        assert (refused.status, refused.value("Sidecar-Error")) == (503, "bulkhead_full")
        assert int(refused.value("Retry-After")) >= 1
        assert "all 2 slots of vendor are in use, and 1 calls wait already" in refused.json()["detail"]
        assert "error=connection_limit_reached" in refused.value("Proxy-Status")

        vendor.release("a")
        assert (await third.read_answer()).body == b"done"
        await pod.advance(0)
        assert held(pod) == (1, 0)
        vendor.release("b")
        await pod.advance(0)
        assert held(pod) == (0, 0)
        lines = await pod.calls(4)
        assert [line["code"] for line in lines if line["outcome"] == "rejected"] == ["bulkhead_full"]
        assert sorted(line["waited_slot_ms"] for line in lines) == pytest.approx([0, 0, 0, 1000], abs=1)


async def test_a_download_that_breaks_off_gives_its_slot_back(clock: ManualClock, tmp_path: Path) -> None:
    """However it ends."""
    vendor = Downloads()
    async with (
        Vendor(vendor.play) as listening,
        TimedPod(clock, tmp_path, listening, service="bulkhead = { slots = 1 }") as pod,
        pod.app() as app,
    ):
        await app.send(GET % b"broken")
        reply = await app.read_head()
        await pod.advance(0)
        assert held(pod) == (1, 0)
        vendor.release("broken")
        assert (await app.read_body(reply)).is_cut_off
        await pod.advance(0)
        assert held(pod) == (0, 0)


async def test_an_app_that_does_not_read_keeps_its_slot(clock: ManualClock, tmp_path: Path) -> None:
    """The connection to the vendor is in use for as long as the answer is."""
    big = answer(b"x" * 32 * 1024 * 1024)
    async with (
        Vendor.answering(big, OK) as vendor,
        TimedPod(clock, tmp_path, vendor, service="bulkhead = { slots = 1 }") as pod,
        pod.app() as slow,
    ):
        slow.stop_reading()
        await slow.send(GET % b"big")
        await pod.advance(2)
        assert held(pod) == (1, 0)
        slow.go_on_reading()
        assert len((await slow.read_answer()).body) == 32 * 1024 * 1024
        await pod.advance(0)
        assert held(pod) == (0, 0)


async def test_those_in_line_are_let_in_as_they_came(clock: ManualClock, tmp_path: Path) -> None:
    """Nobody overtakes."""
    async with Standing(clock, tmp_path, "bulkhead = { slots = 1 }") as it:
        it.vendor.takes = 1.0
        tasks = [await it.begin(f"/vendor/{number}") for number in range(5)]
        assert held(it.pod) == (1, 4)
        await it.finish(tasks)
        assert [request.target for request in it.vendor.requests] == [b"/%d" % number for number in range(5)]
        assert it.vendor.under_way_max == 1


async def test_there_are_never_more_at_the_vendor_than_slots(clock: ManualClock, tmp_path: Path) -> None:
    """Sixty calls over ten slots, with retries and a rate limit between them."""
    service = """timeout = "50s"
retry = { backoff = "100ms", budget_min = 100 }
rate_limit = { rate = "50/s", burst = 20, wait_max = "20s" }
bulkhead = { slots = 10 }
circuit_breaker = false
"""
    async with Standing(clock, tmp_path, service) as it:
        it.vendor.takes = 0.3
        it.vendor.says = lambda request: OK if request.number % 3 else answer(status=503)
        replies = await it.finish([asyncio.create_task(it.asking()) for _ in range(60)])
        assert sum(reply.status == 200 for reply in replies) > 50  # A call may fail three times in a row.
        assert it.vendor.under_way_max == 10


# Not while waiting for something else.


async def test_no_slot_is_held_between_attempts(clock: ManualClock, tmp_path: Path) -> None:
    """One slot: a call in its backoff lets the others through."""
    service = 'bulkhead = { slots = 1 }\nretry = { backoff = "10s" }'
    async with Standing(clock, tmp_path, service) as it:
        it.vendor.says = answer(status=503)
        waiting = await it.begin("/vendor/first")
        assert held(it.pod) == (0, 0)
        it.vendor.says = OK
        began_at = clock.now()
        assert (await it.ask()).status == 200
        assert clock.now() == began_at
        [reply] = await it.finish([waiting])
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "2")


async def test_no_slot_is_held_while_waiting_for_a_permit(clock: ManualClock, tmp_path: Path) -> None:
    """The slot is the innermost wait: two resources taken in the other order would stand still together."""
    service = 'bulkhead = { slots = 1 }\nrate_limit = { rate = "1/5s", burst = 1, wait_max = "15s" }'
    async with Standing(clock, tmp_path, service) as it:
        assert (await it.ask()).status == 200
        waiting = await it.begin()
        assert held(it.pod) == (0, 0)
        [reply] = await it.finish([waiting])
        assert reply.status == 200


async def test_a_discarded_attempt_gives_its_slot_back_before_the_next_begins(
    clock: ManualClock, tmp_path: Path
) -> None:
    """With one slot and nobody allowed to wait, a call that holds its own slot would refuse itself."""
    service = 'bulkhead = { slots = 1, waiting_max = 0 }\nretry = { backoff = "1ms" }'
    async with Standing(clock, tmp_path, service) as it:
        it.vendor.says = lambda request: OK if request.number == 3 else answer(b"x" * 100_000, status=503)
        reply = await it.ask()
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "3")


# The app hangs up.


@dataclass
class Phase:
    """Where a call is when its app hangs up."""

    name: str
    service: str  # TOML of the service.
    vendor: str  # What the vendor does with it: a word that `Place` knows.
    before: tuple[bytes, ...] = ()  # Calls that are under way when it comes.
    request: bytes = GET % b"call"
    after: float = 0.0  # Seconds before the app hangs up.
    answers: bool = False  # The head is with the app.


UPLOAD = b"PUT /vendor/call HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
PERMIT = 'rate_limit = { rate = "1/5s", burst = 1, wait_max = "20s" }'
PHASES = [
    Phase("looking up", "", "no names"),
    Phase("connecting", "", "hole"),
    Phase("shaking hands", "", "no handshake"),
    Phase("waiting for a permit", PERMIT, "silent", (b"quick",), after=1.0),
    Phase("waiting for a permit that the vendor announced", 'hints = { wait_max = "20s" }', "silent", (b"used-up",)),
    Phase("waiting for a slot", "bulkhead = { slots = 1 }", "silent", (b"stay",), after=1.0),
    Phase("waiting for a connection", "pool = { connections_max = 1 }", "silent", (b"stay",), after=1.0),
    Phase("sending", "", "deaf", request=UPLOAD + b"x" * 4_000_000),
    Phase("sending, while the app is slow", "", "deaf", request=UPLOAD + b"half"),
    Phase("waiting for the first byte", "", "silent", after=1.0),
    Phase("in the answer's head", "", "half a head"),
    Phase("streaming", "", "half a body", answers=True),
    Phase("streaming to an app that does not read", "", "flood", answers=True),
    Phase("backing off", 'retry = { backoff = "10s" }', "down", after=1.0),
    Phase("waiting as the vendor told", "retry = {}", "told", after=1.0),
    Phase("in the second attempt", 'retry = { backoff = "1s" }', "down, then silent", after=2.0),
    Phase("sharing another's answer", "coalesce = {}", "silent", (b"call",), after=1.0),
    Phase("leading others who share its answer", "coalesce = {}", "silent", after=1.0),
    Phase("hedging", 'hedge = { samples_min = 1, delay_min = "100ms" }', "silent", (b"quick",), after=1.0),
    Phase("reading the body for its key", 'idempotency = { field = "key" }', "silent",
          request=b"POST /vendor/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Content-Length: 10\r\n\r\nhalf"),
]  # fmt: skip


class Place:
    """The vendor of one phase."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.asked = 0

    async def play(self, exchange: Exchange) -> None:
        """Do what the phase wants."""
        if self.phase.vendor == "no handshake":
            await self._silence(exchange)
            return
        assert exchange.request is not None
        path = exchange.request.target.decode().removeprefix("/")
        if path in {"quick", "used-up"}:
            fields = [(b"X-RateLimit-Remaining", b"0"), (b"X-RateLimit-Limit", b"9"), (b"X-RateLimit-Reset", b"10")]
            await exchange.send(answer(b"done", headers=fields if path == "used-up" else []))
            return
        self.asked += 1
        word = self.phase.vendor if path == "call" else "silent"
        if word == "down, then silent":
            word = "down" if self.asked == 1 else "silent"
        match word:
            case "down":
                await exchange.send(answer(status=503))
            case "told":
                await exchange.send(answer(status=503, headers=[(b"Retry-After", b"10")]))
            case "half a head":
                await exchange.send(b"HTTP/1.1 200 OK\r\nX-A")
                await self._silence(exchange)
            case "half a body":
                await exchange.send(answer(b"done")[:-2])
                await self._silence(exchange)
            case "flood":
                await exchange.send(answer(b"x" * 32 * 1024 * 1024))
            case "deaf":
                await asyncio.Event().wait()
            case _:
                await self._silence(exchange)

    @staticmethod
    async def _silence(exchange: Exchange) -> None:
        with contextlib.suppress(ConnectionError, CutOff):
            while await exchange.read_some():
                pass


async def nowhere(host: str, port: int) -> Sequence[AddrInfo]:
    """Look up for ever."""
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("by_reset", [False, True])
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
async def test_an_app_that_hangs_up_gives_everything_back(
    phase: Phase, by_reset: bool, clock: ManualClock, tmp_path: Path
) -> None:
    """Slot, permit, probe, connection, place in every line: at once, and without a verdict on the vendor."""
    place = Place(phase)
    async with AsyncExitStack() as stack:
        listening = Vendor(
            place.play, reads=phase.vendor != "no handshake", reads_body=phase.vendor not in {"deaf", "silent"}
        )
        url: Vendor | str = await stack.enter_async_context(listening)
        if phase.vendor == "hole":
            url = f"http://127.0.0.1:{stack.enter_context(black_hole())}"
        elif phase.vendor == "no handshake":
            url = f"https://127.0.0.1:{listening.port}"
        elif phase.vendor == "no names":
            url = "http://api.test"
        pod = await stack.enter_async_context(TimedPod(clock, tmp_path, url, service=with_circuit(phase.service)))
        if phase.vendor == "no names":
            pod.sidecar._grounds.resolver._lookup = nowhere
        others = [await stack.enter_async_context(pod.app()) for _ in phase.before]
        for other, path in zip(others, phase.before, strict=True):
            await other.send(GET % path)
            await pod.advance(0)
        seen = len(await pod.log_lines())

        leaving = await stack.enter_async_context(pod.app())
        sending = asyncio.create_task(send(leaving, phase.request))
        await pod.advance(phase.after)
        if phase.answers:
            assert (await leaving.read_head()).status == 200
        assert pod.snapshot()["calls_in_flight"] == 1 + sum(path in {b"stay", b"call"} for path in phase.before)
        if by_reset:
            leaving.reset()
        else:
            await leaving.close()
        await asyncio.wait([sending])
        await pod.advance(0)

        lines = [line for line in (await pod.log_lines())[seen:] if line["msg"] == "call"]
        assert [line["outcome"] for line in lines] == ["cancelled"]
        assert pod.snapshot()["services"]["vendor"]["bulkhead"]["waiting"] == 0
        assert pod.snapshot()["services"]["vendor"]["rate_limit"]["waiting"] == 0
        assert pod.snapshot()["calls_in_flight"] == sum(path in {b"stay", b"call"} for path in phase.before)
        for other in others:
            await other.close()
        await pod.play(pod.assert_nothing_left())
        assert_all_given_back(pod)


async def send(app: App, raw: bytes) -> None:
    """Send as much as is taken."""
    with contextlib.suppress(ConnectionError, AssertionError):
        await app.send(raw)


def assert_all_given_back(pod: TimedPod) -> None:
    """Assert that no machine holds anything for a call that is gone, and that no vendor was blamed."""
    shown = pod.snapshot()["services"]["vendor"]
    assert (shown["bulkhead"]["in_use"], shown["bulkhead"]["waiting"]) == (0, 0)
    assert shown["rate_limit"]["waiting"] == 0
    assert (shown["circuit"]["state"], shown["circuit"]["failures"]) in {("closed", 0), ("closed", 1)}
    service = pod.sidecar._generation.services["vendor"] if pod.sidecar._generation is not None else None
    assert service is not None
    assert all(announced.in_flight == 0 for _, announced in service.policies.machines.all(Announced))


# People, and a reload in the middle.


async def test_people_see_who_is_inside(clock: ManualClock, tmp_path: Path) -> None:
    """In the admin API and in the metrics."""
    async with Standing(clock, tmp_path, "bulkhead = { slots = 2, waiting_max = 9 }") as it:
        it.vendor.takes = 1.0
        tasks = [await it.begin() for _ in range(3)]
        shown = it.snapshot["bulkhead"]
        assert (shown["in_use"], shown["slots"], shown["waiting"], shown["waiting_max"]) == (2, 2, 1, 9)
        text = await it.metrics()
        for line in ("in_use", "slots"):
            assert f'sidecar_bulkhead_{line}{{service="vendor"}} 2' in text
        assert 'sidecar_bulkhead_waiting{service="vendor"} 1' in text
        await it.finish(tasks)


async def test_a_reload_does_not_let_more_in(clock: ManualClock, tmp_path: Path) -> None:
    """Calls of the old generation count on in the new one's bulkhead, if its section is the same."""
    async with Standing(clock, tmp_path, "bulkhead = { slots = 2 }") as it:
        it.vendor.takes = 5.0
        old = [await it.begin() for _ in range(2)]
        await it.reload('bulkhead = { slots = 2 }\ntimeout = "19s"')
        new = [await it.begin() for _ in range(2)]
        assert held(it.pod) == (2, 2)
        await it.finish([*old, *new])
        assert it.vendor.under_way_max == 2
        assert held(it.pod) == (0, 0)


async def test_a_reload_that_changes_it_starts_anew_and_nobody_gives_back_twice(
    clock: ManualClock, tmp_path: Path
) -> None:
    """Calls of the old generation leave the old bulkhead, where nobody counts them any more."""
    async with Standing(clock, tmp_path, "bulkhead = { slots = 2 }") as it:
        it.vendor.takes = 5.0
        old = [await it.begin() for _ in range(2)]
        await it.reload("bulkhead = { slots = 1 }")
        new = [await it.begin() for _ in range(2)]
        assert held(it.pod) == (1, 1)
        replies = await it.finish([*old, *new])
        assert {reply.status for reply in replies} == {200}
        assert held(it.pod) == (0, 0)
