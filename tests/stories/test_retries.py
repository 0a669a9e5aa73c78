"""What fails is tried again where that is safe: how often, when, with what body, and what is told of it."""

import asyncio
import contextlib
import random
import secrets
import socket
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.kit.app import Reply
from tests.kit.exchange import Exchange, Request
from tests.kit.message import Fields
from tests.kit.pod import Pod
from tests.kit.vendor import Answer, Vendor, answer
from tests.upstream.dialing import black_hole

OK = answer(b"done")
DOWN = answer(b"down", status=503)
QUICK = 'retry = { backoff = "10ms" }\n'


class Arrivals(Vendor):
    """A vendor that notes when each request came, on two clocks."""

    @classmethod
    def playing(cls, *answers: Answer) -> "Arrivals":
        """Give the nth request the nth answer, and the last one to all that follow."""

        async def play(exchange: Exchange) -> None:
            assert exchange.request is not None
            vendor.at.append(time.monotonic())
            vendor.wall_at.append(time.time())
            turn = answers[min(exchange.request.number, len(answers)) - 1]
            await exchange.send(turn if isinstance(turn, bytes) else turn(exchange.request))
            vendor.answered_at.append(time.monotonic())

        vendor = cls(play)
        vendor.at, vendor.wall_at, vendor.answered_at = [], [], []
        return vendor

    at: list[float]
    wall_at: list[float]
    answered_at: list[float]


async def ask(pod: Pod, method: str = "GET", *headers: str, body: bytes = b"", target: str = "/vendor/x") -> Reply:
    """Ask on a connection of its own."""
    async with pod.app() as app:
        return await app.ask(method, target, *headers, body=body)


def even_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have chance draw the middle: a wait of 1 s at most is half a second then."""
    monkeypatch.setattr(random, "random", lambda: 0.5)


# What is tried again.


async def test_a_vendor_that_fails_once_is_asked_again_and_the_app_sees_only_the_answer(tmp_path: Path) -> None:
    """200 with `Sidecar-Attempts: 2`; the line counts both and tells the wait between them."""
    async with Vendor.answering(DOWN, OK) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.body, reply.value("Sidecar-Attempts")) == (200, b"done", "2")
        assert reply.value("Sidecar-Source") == "upstream"
        first, second = vendor.requests
        assert first.values("X-Request-ID") == second.values("X-Request-ID")
        assert first.values("traceparent") != second.values("traceparent"), "each attempt is a span of its own"
        [line] = await pod.calls()
        assert (line["outcome"], line["attempts"], line["status"]) == ("success", 2, 200)
        assert 0 <= line["backoff_ms"] < 1000
        assert "not_retried" not in line
        await pod.assert_nothing_left()


async def test_the_last_answer_goes_to_the_app_as_it_is(tmp_path: Path) -> None:
    """After three attempts: status, headers and body of the third, not a page of ours."""

    def numbered(request: Request) -> bytes:
        return answer(b"down %d" % request.number, status=503, headers=[(b"X-Try", b"%d" % request.number)])

    async with Vendor.answering(numbered) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.body, reply.value("X-Try")) == (503, b"down 3", "3")
        assert reply.value("Sidecar-Attempts") == "3"
        assert reply.values("Sidecar-Error") == []
        assert len(vendor.requests) == 3
        await pod.assert_nothing_left()


async def test_an_attempt_that_is_too_slow_is_followed_by_another(tmp_path: Path) -> None:
    """`attempt_timeout` ends it, and its connection with it."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.number == 1:
            with contextlib.suppress(ConnectionError):
                await exchange.read_some()
            return
        await exchange.send(OK)

    service = QUICK + 'attempt_timeout = "200ms"'
    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "2")
        assert vendor.connections_opened == 2
        await pod.assert_nothing_left()


async def test_a_vendor_that_breaks_off_is_asked_again_and_its_connection_is_not_used_again(tmp_path: Path) -> None:
    """A reset before the answer, for a method that may be done twice."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.number < 3:
            exchange.reset()
        else:
            await exchange.send(OK)

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod, "PUT", body=b"all of it")
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "3")
        assert [request.body for request in vendor.requests] == [b"all of it"] * 3
        assert vendor.connections_opened == 3
        await pod.assert_nothing_left()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 501])
async def test_what_would_end_the_same_way_is_not_asked_again(status: int, tmp_path: Path) -> None:
    """The app's own mistakes, and what the vendor cannot do."""
    async with Vendor.answering(answer(status=status)) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.value("Sidecar-Attempts")) == (status, "1")
        assert len(vendor.requests) == 1
        await pod.assert_nothing_left()


async def test_a_route_has_its_own_word(tmp_path: Path) -> None:
    """What may not be done twice here, and what may be tried more often there."""
    service = """retry = { backoff = "10ms", budget_min = 100 }
[services.vendor.routes.once]
match = "GET /once"
retry = false
[services.vendor.routes.often]
match = "GET /often"
retry = { attempts_max = 5, backoff = "1ms", budget_min = 100, statuses = [418] }
"""
    async with (
        Vendor.answering(lambda request: answer(status=418 if request.target == b"/often" else 503)) as vendor,
        Pod(tmp_path, vendor, service=service) as pod,
    ):
        for target, attempts in (("/vendor/once", "1"), ("/vendor/often", "5"), ("/vendor/else", "3")):
            assert (await ask(pod, target=target)).value("Sidecar-Attempts") == attempts
        await pod.assert_nothing_left()


async def test_the_app_may_ask_for_fewer_attempts(tmp_path: Path) -> None:
    """`Sidecar-Attempts-Max` lowers and never raises; it does not reach the vendor."""
    async with Vendor.answering(DOWN) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        for asked, had in (("1", "1"), ("2", "2"), ("99", "3")):
            assert (await ask(pod, "GET", f"Sidecar-Attempts-Max: {asked}")).value("Sidecar-Attempts") == had
        assert len(vendor.requests) == 6
        assert all(not request.values("Sidecar-Attempts-Max") for request in vendor.requests)
        assert [line["not_retried"] for line in await pod.calls(3)] == [
            "one attempt is all that is allowed", "attempts_max = 2", "attempts_max = 3"
        ]  # fmt: skip
        await pod.assert_nothing_left()


# What is not done twice.


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_post_is_never_replayed_without_a_key(method: str, by_reset: bool, tmp_path: Path) -> None:
    """Meshes did so by default (istio 13851, envoy 2747), and customers were charged twice."""

    async def play(exchange: Exchange) -> None:
        if by_reset:
            exchange.reset()
        else:
            await exchange.send(DOWN)

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod, method, body=b"charge")
        assert reply.status == (502 if by_reset else 503)
        assert reply.value("Sidecar-Attempts") == "1"
        assert len(vendor.requests) == 1
        [line] = await pod.calls()
        assert line["not_retried"] == f"{method} without an idempotency key might be done twice"
        await pod.assert_nothing_left()


@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_post_with_a_key_of_the_apps_is_tried_again_with_the_same_key(by_reset: bool, tmp_path: Path) -> None:
    """The vendor sees that they are one."""
    key = secrets.token_hex(16)

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.number == 3:
            await exchange.send(OK)
        elif by_reset:
            exchange.reset()
        else:
            await exchange.send(DOWN)

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod, "POST", f"Idempotency-Key: {key}", body=b"charge")
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "3")
        assert [request.values("Idempotency-Key") for request in vendor.requests] == [[key.encode()]] * 3
        assert [request.body for request in vendor.requests] == [b"charge"] * 3
        await pod.assert_nothing_left()


async def test_a_key_that_the_sidecar_makes_is_the_same_on_every_attempt_and_another_for_each_call(
    tmp_path: Path,
) -> None:
    """And the app is told which it was."""
    service = QUICK + 'idempotency = { header = "X-Operation" }'
    async with Vendor.answering(DOWN, DOWN, OK, DOWN, OK) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        told = [(await ask(pod, "POST", body=b"charge")).value("Idempotency-Key") for _ in range(2)]
        sent = [request.values("X-Operation") for request in vendor.requests]
        assert sent == [[told[0].encode()]] * 3 + [[told[1].encode()]] * 2
        assert told[0] != told[1]
        await pod.assert_nothing_left()


async def test_a_refused_connection_lets_even_a_post_go_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody saw it. The vendor comes up between two attempts, and gets it once."""
    even_chance(monkeypatch)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        service = 'retry = { backoff = "600ms" }'
        async with Pod(tmp_path, f"http://127.0.0.1:{port}", service=service) as pod:
            asked = asyncio.create_task(ask(pod, "POST", body=b"charge"))
            await pod.until(lambda: retries(pod, "started") == 1, "the first attempt to fail")
            got: list[bytes] = []

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                got.append(await reader.readuntil(b"charge"))
                writer.write(OK)
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(serve, sock=held)
            reply = await asked
            assert (reply.status, reply.value("Sidecar-Attempts"), len(got)) == (200, "2", 1)
            await pod.assert_nothing_left()
            server.close()
            await server.wait_closed()


def retries(pod: Pod, result: str) -> int:
    """Read `sidecar_retries_total`."""
    counter = pod.sidecar._grounds.metrics.counter("sidecar_retries_total", "vendor", result)
    return int(counter.value)


async def test_a_connection_that_is_never_taken_lets_even_a_post_go_again(tmp_path: Path) -> None:
    """`connect_timeout` ends each attempt; the answer names it."""
    service = QUICK + 'connect_timeout = "150ms"\ntimeout = "5s"'
    with black_hole() as port:
        async with Pod(tmp_path, f"http://127.0.0.1:{port}", service=service) as pod:
            reply = await ask(pod, "POST", body=b"charge")
            assert (reply.status, reply.value("Sidecar-Error")) == (502, "connect_failed")
            assert reply.value("Sidecar-Attempts") == "3"
            assert reply.json()["attempts"] == 3
            await pod.assert_nothing_left()


async def test_a_committed_reply_is_never_retried(tmp_path: Path) -> None:
    """Its first byte is out: an answer that breaks off does so for the app, too, and the vendor is not asked again."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        exchange.half_close()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.body, reply.is_cut_off) == (200, b"half", True)
        [line] = await pod.calls()
        assert (line["attempts"], line["code"], line["outcome"]) == (1, "upstream_reset", "failure")
        assert len(vendor.requests) == 1
        await pod.assert_nothing_left()


async def test_a_failed_answer_that_does_not_end_is_left_for_the_next_attempt(tmp_path: Path) -> None:
    """A 503 is judged by its head: nobody waits for a page that nobody will see."""
    never = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.number == 1:
            await exchange.send(b"HTTP/1.1 503 Down\r\nContent-Length: 100\r\n\r\nhalf")
            await never.wait()
        await exchange.send(OK)

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "2")
        assert vendor.connections_opened == 2
        await pod.assert_nothing_left()


# The body.


async def test_a_chunked_upload_is_sent_whole_on_each_attempt(tmp_path: Path) -> None:
    """It was kept while it streamed for the first time."""
    async with Vendor.answering(DOWN, DOWN, OK) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        async with pod.app() as app:
            await app.send(b"PUT /vendor/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            await vendor.wait_for_head()
            for piece in (b"5\r\nhello\r\n", b"6\r\n world\r\n", b"0\r\n\r\n"):
                await app.send(piece)
            reply = await app.read_answer("PUT")
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "3")
        assert [request.body for request in vendor.requests] == [b"hello world"] * 3
        assert [request.values("Transfer-Encoding") for request in vendor.requests] == [[b"chunked"]] * 3
        await pod.assert_nothing_left()


async def test_an_upload_that_the_vendor_refused_early_goes_to_the_next_attempt_as_it_comes(tmp_path: Path) -> None:
    """The first attempt saw a part; the second has that part at once, and the rest when the app sends it."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.number == 1:
            await exchange.send(DOWN)
            await exchange.close()
        else:
            await exchange.read_body()
            await exchange.send(OK)

    async with Vendor(play, reads_body=False) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        async with pod.app() as app:
            await app.send(b"PUT /vendor/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\nhello")
            await vendor.wait_for_head(2)
            await app.send(b" world")
            reply = await app.read_answer("PUT")
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "2")
        assert vendor.requests[1].body == b"hello world"
        await pod.assert_nothing_left()


async def test_an_app_that_waits_for_the_go_ahead_gets_one_whatever_number_of_attempts(tmp_path: Path) -> None:
    """`100 Continue` comes when an attempt wants the body, and once only."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.number == 1:
            await exchange.send(DOWN)
            await exchange.close()
        else:
            await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await exchange.read_body()
            await exchange.send(OK)

    async with Vendor(play, reads_body=False) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        async with pod.app() as app:
            head = b"PUT /vendor/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            await app.send(head)
            assert (await app.read_interim()).status == 100
            await app.send(b"hello")
            reply = await app.read_answer("PUT")
        assert (reply.status, reply.interim, vendor.requests[1].body) == (200, [], b"hello")
        await pod.assert_nothing_left()


async def test_a_body_over_replay_max_streams_once_and_the_line_says_so(tmp_path: Path) -> None:
    """Whole streams must not be buffered for the sake of retries (Dapr 1.17.2)."""
    body = b"x" * 5000
    service = 'retry = { backoff = "10ms", replay_max = "4KiB" }'
    async with Vendor.answering(DOWN) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        reply = await ask(pod, "PUT", body=body)
        assert (reply.status, reply.value("Sidecar-Attempts")) == (503, "1")
        assert [request.body for request in vendor.requests] == [body]
        [line] = await pod.calls()
        assert "over replay_max = 4096 bytes" in line["not_retried"]
        await pod.assert_nothing_left()


# When.


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Retry-After", b"1")],
        [(b"Retry-After", b"0.4")],
        [(b"retry-after-ms", b"400")],
        [(b"Retry-After", b"30"), (b"retry-after-ms", b"400")],
    ],
)
async def test_a_told_wait_is_obeyed_and_never_cut_short(fields: Fields, tmp_path: Path) -> None:
    """Whole, decimal, in milliseconds. Others ignored it (dapr 5872), or came up to 11 ms early (dotnet 7001)."""
    told = 1.0 if fields[0][1] == b"1" else 0.4
    down = answer(status=503, headers=fields)
    async with Arrivals.playing(down, OK) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "2")
        waited = vendor.at[1] - vendor.at[0]
        assert told <= waited < told + 1.0
        [line] = await pod.calls()
        assert line["backoff_ms"] >= told * 1000
        await pod.assert_nothing_left()


async def test_a_told_date_is_obeyed_and_never_cut_short(tmp_path: Path) -> None:
    """An HTTP-date, which has whole seconds: the vendor's clock has to show it when we come again."""
    promised: list[float] = []

    def down(_: Request) -> bytes:
        promised.append(int(time.time()) + 2.0)
        date = format_datetime(datetime.fromtimestamp(promised[0], UTC), usegmt=True)
        return answer(status=503, headers=[(b"Retry-After", date.encode())])

    async with Arrivals.playing(down, OK) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        assert (await ask(pod)).value("Sidecar-Attempts") == "2"
        assert promised[0] <= vendor.wall_at[1] < promised[0] + 1.5
        await pod.assert_nothing_left()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_told_wait_that_does_not_fit_gives_the_answer_to_the_app_at_once(status: int, tmp_path: Path) -> None:
    """With the vendor's Retry-After, so that the app knows: no call hangs for a promise (Nango: uncapped)."""
    down = answer(b"later", status=status, headers=[(b"Retry-After", b"600")])
    async with Vendor.answering(down) as vendor, Pod(tmp_path, vendor, service=QUICK + 'timeout = "5s"') as pod:
        began_at = time.monotonic()
        reply = await ask(pod)
        assert time.monotonic() - began_at < 2.0
        assert (reply.status, reply.body, reply.value("Retry-After")) == (status, b"later", "600")
        assert (reply.value("Sidecar-Attempts"), reply.value("Sidecar-Source")) == ("1", "upstream")
        assert len(vendor.requests) == 1
        if status == 503:  # For the line a 429 is a good answer, which says itself what is to be done.
            assert "do not fit into" in (await pod.calls())[0]["not_retried"]
        await pod.assert_nothing_left()


@pytest.mark.parametrize(("word", "attempts"), [(b"true", "3"), (b"false", "1")])
async def test_the_vendors_own_word_goes_over_the_status(word: bytes, attempts: str, tmp_path: Path) -> None:
    """`x-should-retry`, as several vendors' SDKs read it."""
    status = 409 if word == b"true" else 503
    said = answer(status=status, headers=[(b"x-should-retry", word)])
    async with Vendor.answering(said) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        assert (await ask(pod)).value("Sidecar-Attempts") == attempts
        await pod.assert_nothing_left()


async def test_no_attempt_outlives_the_call(tmp_path: Path) -> None:
    """Attempts and waits share the call's one budget of time (linkerd2 2369: retries for five hours)."""
    service = 'retry = { attempts_max = 100, backoff = "50ms", budget = 1.0, budget_min = 100 }\ntimeout = "600ms"'
    async with Vendor.answering(DOWN) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        began_at = time.monotonic()
        reply = await ask(pod)
        assert time.monotonic() - began_at < 2.0
        assert reply.status == 503
        assert 1 < len(vendor.requests) < 100
        await pod.assert_nothing_left()
        seen = len(vendor.requests)
        assert (await pod.calls())[0]["attempts"] == seen
        assert "do not fit into" in (await pod.calls())[0]["not_retried"]


async def test_a_vendor_that_is_down_is_not_asked_three_times_as_often(tmp_path: Path) -> None:
    """The budget holds over all calls (Polly 2348, resilience4j 172): a fifth more, and the floor, not three times."""
    service = 'circuit_breaker = false\nretry = { backoff = "1ms", budget = 0.2, budget_min = 1 }'
    async with Vendor.answering(DOWN) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        began_at = time.monotonic()
        replies = [await ask(pod) for _ in range(50)]
        seconds = time.monotonic() - began_at
        extra = len(vendor.requests) - 50
        assert 1 <= extra <= 50 * 0.2 + 1 + seconds
        assert sum(int(reply.value("Sidecar-Attempts")) for reply in replies) == len(vendor.requests)
        reasons = {line["not_retried"] for line in await pod.calls(50)}
        assert "the service's retry budget is used up" in reasons
        await pod.assert_nothing_left()


# What is told.


async def test_one_line_tells_every_attempt(tmp_path: Path) -> None:
    """What was asked and what came, redacted, with timings, for each, and why there was no fourth."""
    key = secrets.token_hex(16)
    fields: Fields = [(b"X-Vendor-Id", b"v-1"), (b"Connection", b"close")]
    turns: list[Any] = [
        answer(b'{"error": "first", "token": "t-1"}', status=503, headers=fields),
        "reset",
        answer(b'{"error": "third"}', status=500),
    ]

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        turn = turns[exchange.request.number - 1]
        if turn == "reset":
            exchange.reset()
        else:
            await exchange.send(turn)

    service = QUICK + 'auth = { kind = "bearer", secret = "files:key" }'
    async with Vendor(play) as vendor:
        pod = Pod(tmp_path, vendor, service=service)
        pod.write_secret("key", key)
        async with pod:
            reply = await ask(pod, target="/vendor/plans?token=t-2")
            assert (reply.status, reply.value("Sidecar-Attempts")) == (500, "3")
            [line] = await pod.calls()
            await pod.assert_nothing_left()
        assert len(vendor.requests) == 3
    assert (line["attempts"], line["not_retried"], line["outcome"]) == (3, "attempts_max = 3", "failure")
    first, second, third = line["attempt_details"]
    assert [one.get("status", 0) for one in (first, second, third)] == [503, 0, 500]
    assert "X-Vendor-Id: v-1" in first["response_head"]
    assert '"token": "***"' in first["response_start"]
    assert "closed the connection" in second["error"]
    assert '"third"' in third["response_start"]
    for one in (first, second, third):
        assert "Authorization: Bearer ***" in one["request_head"]
        assert one["target"] == "/plans?token=***"
        assert one["total_ms"] > 0
    assert first["connect_ms"] > 0
    assert line["upstream_ms"] == pytest.approx(sum(one["total_ms"] for one in (first, second, third)), abs=0.01)
    assert line["total_ms"] >= line["upstream_ms"] + line["backoff_ms"]
    assert key not in str(line)
    assert "t-1" not in str(line)


async def test_an_error_of_ours_tells_how_many_attempts_there_were(tmp_path: Path) -> None:
    """In the header and in the problem's `attempts`."""

    async def play(exchange: Exchange) -> None:
        exchange.reset()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=QUICK) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.value("Sidecar-Error")) == (502, "upstream_reset")
        assert (reply.value("Sidecar-Attempts"), reply.json()["attempts"]) == ("3", 3)
        await pod.assert_nothing_left()
