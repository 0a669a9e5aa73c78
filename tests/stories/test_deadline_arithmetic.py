"""Deadline arithmetic: whatever waits for whatever, no call passes its deadline, and the answer names what used it up.

Time is moved by hand, so that "by no more than 50 ms" is meant to the millisecond on any machine; sockets are real.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from sidecar.core.units import Duration
from sidecar.layers.service import ServiceConfig
from sidecar.upstream.resolve import AddrInfo
from tests.kit.app import App, Reply
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange
from tests.kit.message import CutOff
from tests.kit.timed import TimedPod
from tests.kit.vendor import Vendor, answer
from tests.upstream.dialing import black_hole

LATE_MAX = 0.05  # Seconds past the deadline.
TIMEOUT = 2.0  # Seconds that the call under test has, in each case.

RETRY = 'retry = { backoff = "200ms" }'  # Chance draws the middle: 0.1 s, then 0.2 s.
DOWN = answer(status=503)
TOLD = answer(status=503, headers=[(b"Retry-After", b"1")])
LATER = answer(status=503, headers=[(b"Retry-After", b"10")])
USED_UP = answer(headers=[(b"X-RateLimit-Limit", b"9"), (b"X-RateLimit-Remaining", b"0"), (b"X-RateLimit-Reset", b"1")])


@dataclass
class Case:
    """One combination: what is configured, what the vendor does, and when and with what the call ends."""

    name: str
    service: str  # TOML of the service, beside `timeout`.
    vendor: str  # What the vendor does with the call under test: a word that `Vendors` knows.
    at: float  # Seconds after its start at which the call has its answer.
    status: int
    code: str = ""  # Empty: the vendor's own answer goes to the app.
    step: str = ""  # What `detail` and `Proxy-Status` say.
    attempts: int = 1
    before: tuple[str, ...] = ()  # Calls that are under way when it comes, by their paths.
    request: str = "get"  # How the app sends it: a word that `send` knows.
    waited: str = ""  # The line's field that has the wait.


CASES = [
    # One limit alone.
    Case("total", "", "silent", 2.0, 504, "deadline_exceeded", "waiting for the answer's first byte"),
    Case("attempt", 'attempt_timeout = "700ms"', "silent", 0.7, 504, "deadline_exceeded", "attempt_timeout = 0.7 s"),
    Case("first byte", 'first_byte_timeout = "1s"', "silent", 1.0, 504, "deadline_exceeded", "first_byte_timeout = 1"),
    Case("connect", 'connect_timeout = "500ms"', "hole", 0.5, 502, "connect_failed", "connect_timeout = 0.5s"),
    Case("look-up", 'dns_timeout = "400ms"', "no names", 0.4, 502, "dns_failed", "dns_timeout = 0.4s"),
    Case("handshake", 'tls_timeout = "600ms"', "no handshake", 0.6, 502, "tls_failed", "tls_timeout = 0.6s"),
    # Each step under a limit of its own that is longer than the call.
    Case("long attempt", 'attempt_timeout = "9s"', "silent", 2.0, 504, "deadline_exceeded", "first byte"),
    Case("long connect", 'connect_timeout = "9s"', "hole", 2.0, 504, "deadline_exceeded", "connecting"),
    Case("long look-up", 'dns_timeout = "9s"', "no names", 2.0, 504, "deadline_exceeded", "resolving the vendor's"),
    Case("long handshake", 'tls_timeout = "9s"', "no handshake", 2.0, 504, "deadline_exceeded", "the TLS handshake"),
    Case("trickle", "", "trickle", 2.0, 504, "deadline_exceeded", "receiving the answer's head"),
    Case("upload not taken", "", "deaf", 2.0, 504, "deadline_exceeded", "sending the request", request="flood"),
    Case("upload not sent", "", "reading", 2.0, 504, "deadline_exceeded", "sending the request", request="half"),
    # Attempts and the waits between them.
    Case("three attempts", f'{RETRY}\nattempt_timeout = "700ms"', "silent", 2.0, 504, "deadline_exceeded",
         "the call's time is used up; the step was: waiting for the answer's first byte", attempts=3),
    Case("two attempts", 'retry = { backoff = "200ms", attempts_max = 2 }\nattempt_timeout = "700ms"', "silent", 1.5,
         504, "deadline_exceeded", "attempt_timeout = 0.7 s", attempts=2),
    Case("attempts of refused time", f'{RETRY}\nconnect_timeout = "500ms"', "hole", 1.8, 502, "connect_failed",
         "connect_timeout", attempts=3),
    Case("no room for a third", f'{RETRY}\nconnect_timeout = "900ms"', "hole", 1.9, 502, "connect_failed",
         "connect_timeout", attempts=2),
    Case("a last attempt that does not connect", f'{RETRY}\nattempt_timeout = "900ms"\nconnect_timeout = "5s"', "hole",
         1.9, 504, "deadline_exceeded", "connecting", attempts=2),
    Case("backoff", 'retry = { backoff = "3s" }', "down", 1.5, 503, attempts=2, waited="backoff_ms"),
    Case("long backoff", 'retry = { backoff = "10s" }', "down", 0.0, 503),
    Case("backoff, then silence", 'retry = { backoff = "3s" }', "down once", 2.0, 504, "deadline_exceeded",
         "first byte", attempts=2, waited="backoff_ms"),
    # What the vendor asks for.
    Case("told wait", RETRY, "told", 1.07, 503, attempts=2, waited="backoff_ms"),
    Case("told wait that does not fit", RETRY, "later", 0.0, 503),
    Case("told wait, then silence", RETRY, "told once", 2.0, 504, "deadline_exceeded", "first byte", attempts=2),
    Case("announced wait, then silence", 'hints = { wait_max = "9s" }', "silent", 2.0, 504, "deadline_exceeded",
         "first byte", before=("/used-up",), waited="waited_rate_ms"),
    Case("announced wait over wait_max", 'hints = { wait_max = "500ms" }', "silent", 0.0, 429, "rate_limited",
         "announced", attempts=0, before=("/used-up",)),
    # Permits.
    Case("permit", 'rate_limit = { rate = "1/s", burst = 1, wait_max = "9s" }', "silent", 2.0, 504, "deadline_exceeded",
         "first byte", before=("/done",), waited="waited_rate_ms"),
    Case("permit too far", 'rate_limit = { rate = "1/s", burst = 1, wait_max = "9s" }', "silent", 0.0, 429,
         "rate_limited", "a permit is free in 3.00 s", attempts=0, before=("/done", "/stay", "/stay")),
    Case("permit over wait_max", 'rate_limit = { rate = "1/s", burst = 1, wait_max = "500ms" }', "silent", 0.0, 429,
         "rate_limited", "wait_max", attempts=0, before=("/done",)),
    Case("a permit for each attempt", f'{RETRY}\nrate_limit = {{ rate = "2/3s", burst = 1, wait_max = "9s" }}', "down",
         1.7, 429, "rate_limited", "attempt 2 failed, and the next was refused", attempts=2, waited="waited_rate_ms"),
    # Slots and connections.
    Case("slot", "bulkhead = { slots = 1 }", "silent", 2.0, 504, "deadline_exceeded", "waiting for a slot", attempts=0,
         before=("/stay",), waited="waited_slot_ms"),
    Case("slot over wait_max", 'bulkhead = { slots = 1, wait_max = "500ms" }', "silent", 0.5, 503, "bulkhead_full",
         "wait_max = 0.5 s", attempts=0, before=("/stay",), waited="waited_slot_ms"),
    Case("slot, then silence", "bulkhead = { slots = 1 }", "silent", 2.0, 504, "deadline_exceeded", "first byte",
         before=("/one-second",), waited="waited_slot_ms"),
    Case("connection", "pool = { connections_max = 1 }", "silent", 2.0, 504, "deadline_exceeded",
         "waiting for one of 1 connections", before=("/stay",), waited="waited_slot_ms"),
    Case("connection, with an attempt's time", 'attempt_timeout = "600ms"\npool = { connections_max = 1 }\n'
         '[services.vendor.routes.long]\nmatch = "GET /stay-long"\nattempt_timeout = "40s"', "silent", 0.6,
         504, "deadline_exceeded", "waiting for one of 1 connections", before=("/stay-long",)),
    Case("permit, slot, then silence", 'bulkhead = { slots = 1 }\n'
         'rate_limit = { rate = "1/s", burst = 1, wait_max = "9s" }', "silent", 2.0, 504, "deadline_exceeded",
         "waiting for a slot", attempts=0, before=("/stay",), waited="waited_rate_ms"),
    # The others that wait.
    Case("an equal call's answer", "coalesce = {}", "silent", 2.0, 504, "deadline_exceeded", "equal", attempts=0,
         before=("/call",)),
    Case("a hedge", 'hedge = { samples_min = 1, delay_min = "500ms" }', "silent", 2.0, 504, "deadline_exceeded",
         "first byte", attempts=2, before=("/done",)),
    Case("a key in the body", 'idempotency = { field = "key" }', "reading", 2.0, 504, "deadline_exceeded", "body",
         attempts=0, request="half json"),
]  # fmt: skip


class Vendors:
    """The vendor of one case."""

    def __init__(self, case: Case, clock: ManualClock) -> None:
        self.case = case
        self.clock = clock
        self.asked = 0  # How often by the call under test.

    async def play(self, exchange: Exchange) -> None:
        """Do what the case wants."""
        if self.case.vendor == "no handshake":
            await silence(exchange)
            return
        request = exchange.request
        assert request is not None
        path = request.target.decode()
        if path != "/call" or "/call" in self.case.before:
            await self._play_before(exchange, path)
            return
        self.asked += 1
        word, _, once = self.case.vendor.partition(" ")
        if once == "once" and self.asked > 1:
            word = "silent"
        match word:
            case "down" | "told" | "later":
                await exchange.send({"down": DOWN, "told": TOLD, "later": LATER}[word])
            case "trickle":
                await exchange.send(b"HTTP/1.1 200 OK\r\n")
                for _ in range(50):
                    await self.clock.sleep(0.1)
                    await exchange.send(b"X: y\r\n")
            case "deaf":
                await self.clock.sleep(3)
                exchange.reset()
            case _:
                await silence(exchange)

    async def _play_before(self, exchange: Exchange, path: str) -> None:
        """Answer a call that was there before."""
        match path:
            case "/done":
                await exchange.send(answer())
            case "/used-up":
                await exchange.send(USED_UP)
            case "/one-second":
                await self.clock.sleep(1)
                await exchange.send(answer())
            case _:
                await silence(exchange)


async def silence(exchange: Exchange) -> None:
    """Say nothing until the sidecar leaves."""
    with contextlib.suppress(ConnectionError, CutOff):
        while await exchange.read_some():
            pass


async def nowhere(host: str, port: int) -> Sequence[AddrInfo]:
    """Look up for ever."""
    await asyncio.Event().wait()
    raise AssertionError


@asynccontextmanager
async def standing(case: Case, clock: ManualClock, tmp_path: Path) -> AsyncIterator[TimedPod]:
    """Give the pod of one case, with its vendor; the service's own time is long, the call under test shortens it."""
    async with AsyncExitStack() as stack:
        vendors = Vendors(case, clock)
        listening = Vendor(
            vendors.play, reads=case.vendor != "no handshake", reads_body=case.vendor not in {"deaf", "reading"}
        )
        await stack.enter_async_context(listening)
        vendor: Vendor | str = listening
        if case.vendor == "hole":
            vendor = f"http://127.0.0.1:{stack.enter_context(black_hole())}"
        elif case.vendor == "no names":
            vendor = "http://api.test"
        elif case.vendor == "no handshake":
            vendor = f"https://127.0.0.1:{listening.port}"
        pod = TimedPod(clock, tmp_path, vendor, service=f'timeout = "50s"\n{case.service}')
        await stack.enter_async_context(pod)
        if case.vendor == "no names":
            pod.sidecar._grounds.resolver._lookup = nowhere
        yield pod


async def send(app: App, how: str, service: str) -> asyncio.Task[None] | None:
    """Send the call under test; gives the task that goes on sending, if one does."""
    head = f"Host: localhost\r\nSidecar-Timeout: {TIMEOUT:g}s\r\n"
    match how:
        case "half":
            await app.send(f"PUT /{service}/call HTTP/1.1\r\n{head}Content-Length: 10\r\n\r\nhalf".encode())
        case "half json":
            fields = "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n"
            await app.send(f'POST /{service}/call HTTP/1.1\r\n{head}{fields}{{"a"'.encode())
        case "flood":
            await app.send(f"PUT /{service}/call HTTP/1.1\r\n{head}Content-Length: 1000000000\r\n\r\n".encode())
            return asyncio.create_task(flood(app))
        case _:
            await app.send(f"GET /{service}/call HTTP/1.1\r\n{head}\r\n".encode())
    return None


async def flood(app: App) -> None:
    """Send until nothing more is taken."""
    with contextlib.suppress(ConnectionError, AssertionError):
        while True:
            await app.send(b"x" * 256 * 1024)


async def ask(pod: TimedPod, how: str, service: str = "vendor") -> tuple[Reply, float]:
    """Send the call under test; gives its answer, and the instant at which it was there."""
    async with pod.app() as app:
        sending = await send(app, how, service)
        try:
            reply = await app.read_answer()
            return reply, pod.clock.now()
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])


async def begin(pod: TimedPod, path: str, service: str = "vendor") -> "asyncio.Task[Any]":
    """Send a call that is there before; it is under way, or over, when this returns."""

    async def stay() -> None:
        async with pod.app() as app:
            with contextlib.suppress(CutOff, ConnectionError, AssertionError):
                await app.ask("GET", f"/{service}{path}")

    task = asyncio.create_task(stay())
    await pod.advance(0)
    return task


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_no_combination_of_waits_passes_the_deadline(case: Case, clock: ManualClock, tmp_path: Path) -> None:
    """Each limit ends the call at its time, the deadline ends all of them, and the answer names the step."""
    async with standing(case, clock, tmp_path) as pod:
        others = [await begin(pod, path) for path in case.before]
        began_at = clock.now()
        reply, ended_at = await pod.play(ask(pod, case.request))
        took = ended_at - began_at
        assert took <= TIMEOUT + LATE_MAX
        assert case.at - 0.001 <= took <= case.at + LATE_MAX, f"{took:.3f} s: {reply.body!r}"
        assert (reply.status, reply.value("Sidecar-Attempts")) == (case.status, str(case.attempts)), reply.body
        if case.code:
            assert_named(reply, case)
        else:
            assert reply.value("Sidecar-Source") == "upstream"
        lines = await pod.calls(1 + sum(path in {"/done", "/used-up"} for path in case.before))
        [line] = [line for line in lines if line["request_id"] == reply.value("X-Request-ID")]
        assert (line["total_ms"], line["code"]) == (pytest.approx(took * 1000, abs=1), case.code)
        if case.waited:
            assert line[case.waited] > 0
        assert sum(line[field] for field in ("waited_rate_ms", "backoff_ms")) <= took * 1000 + 1
        for other in others:
            other.cancel()
        if others:
            await asyncio.wait(others)
        await pod.play(pod.assert_nothing_left())


def assert_named(reply: Reply, case: Case) -> None:
    """Assert that the answer says by whom and by which step the time was used up, in both places."""
    assert reply.value("Sidecar-Error") == case.code, reply.body
    detail = reply.json()["detail"]
    assert case.step in detail
    status = reply.value("Proxy-Status")
    assert status.startswith("sidecar; error=")
    assert case.step.replace('"', '\\"') in status


# All of them at once: each line may be there or not.
WAITS = (
    RETRY,
    'attempt_timeout = "700ms"',
    'rate_limit = { rate = "1/s", burst = 1, wait_max = "9s" }',
    "bulkhead = { slots = 1 }",
    'pool = { connections_max = 1 }\nconnect_timeout = "900ms"',
)
STEPS = (
    "waiting for the answer's first byte", "attempt_timeout = 0.7 s", "connect_timeout = 0.9s", "connect_timeout = 2s",
    "connecting",
    "a permit is free in", "waiting for a slot", "waiting for one of 1 connections",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["silent", "down", "down once", "told", "told once", "hole"])
async def test_all_waits_together_do_not_pass_the_deadline_either(
    kind: str, clock: ManualClock, tmp_path: Path
) -> None:
    """Thirty-two services, one for each choice of waits, while others hold what there is of permits, slots, places."""
    settings = {
        f"s{number}": "\n".join(wait for bit, wait in enumerate(WAITS) if number >> bit & 1)
        for number in range(2 ** len(WAITS))
    }
    async with AsyncExitStack() as stack:
        vendors: dict[str, Vendor | str] = {}
        for name in settings:
            if kind == "hole":
                vendors[name] = f"http://127.0.0.1:{stack.enter_context(black_hole())}"
            else:
                scripted = Vendors(Case("", "", kind, 0.0, 0), clock)
                vendors[name] = await stack.enter_async_context(Vendor(scripted.play))
        services = {name: f'timeout = "50s"\n{text}' for name, text in settings.items()}
        pod = await stack.enter_async_context(TimedPod(clock, tmp_path, vendors, service=services))
        others = [await begin(pod, "/one-second", name) for name in settings]
        began_at = clock.now()
        asked = [asyncio.create_task(ask(pod, "get", name)) for name in settings]
        await pod.play(until_done(asked))
        for name, (reply, ended_at) in zip(settings, [task.result() for task in asked], strict=True):
            what = f"{settings[name]!r}: {ended_at - began_at:.3f} s, {reply.body!r}"
            assert ended_at - began_at <= TIMEOUT + LATE_MAX, what
            if reply.value("Sidecar-Source") == "sidecar":
                detail = reply.json()["detail"]
                assert any(step in detail for step in STEPS), what
                assert detail in reply.value("Proxy-Status"), what
            else:
                assert reply.status in {200, 503}, what
        for other in others:
            other.cancel()
        await asyncio.wait(others)
        await pod.play(pod.assert_nothing_left())


async def until_done(tasks: list[asyncio.Task[Any]]) -> None:
    """Wait for all of them."""
    await asyncio.wait(tasks)


# Lengths of time in a service's settings that no call of this table meets, each with its reason.
NOT_WAITED_FOR = {
    "idle_timeout": "begins with the answer's body, or when a connection is idle: after the deadline's time",
    "window": "what is counted together", "open_for": "an open circuit refuses at once", "open_max": "the same",
    "slow_after": "only judged", "backoff_max": "a bound of backoff", "hint_max": "a bound of announced waits",
    "settle": "a part of announced waits",
    "within": "the few milliseconds in which reads gather, inside of the deadline",
    "replay": "how long an answer is kept", "schedule": "of jobs, for which no app waits", "age_max": "the same",
    "keep_for": "the same", "dead_for": "the same",
    "assertion_life": "of a JWT", "token_life": "of a token", "wait": "what a signal says of an answer, as Retry-After",
}  # fmt: skip


def test_the_table_has_every_setting_that_makes_a_call_wait() -> None:
    """A length of time that is added to a service's settings wants its row here, or its reason there."""
    written = {word for case in CASES for word in case.service.replace("{", " ").split()}
    found = set(durations(ServiceConfig))
    assert {"timeout", "attempt_timeout", "connect_timeout", "backoff", "wait_max"} <= found
    assert found - written - set(NOT_WAITED_FOR) == {"timeout"}


def durations(kind: object) -> Iterator[str]:
    """Give the names of all fields below a section that are lengths of time."""
    if get_origin(kind) is not None:
        for inner in get_args(kind):
            yield from durations(inner)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for name, inner in get_type_hints(kind).items():
            if inner is Duration or Duration in get_args(inner):
                yield name
            else:
                yield from durations(inner)
