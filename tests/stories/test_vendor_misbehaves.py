"""The vendor answers garbage, stalls, closes or resets at every byte: the app gets a problem or a visible break."""

import asyncio
import contextlib
import secrets
from pathlib import Path

import pytest

from tests.kit.app import Reply
from tests.kit.exchange import Exchange
from tests.kit.message import CutOff
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

BESIDE = 8  # Calls at the same time.
CANARY = f"canary-{secrets.token_hex(8)}".encode()

ANSWERS = {
    "length": answer(b"hello", headers=[(b"X-A", b"1")]),
    "chunked": answer(chunks=[b"he", b"llo"], trailers=[(b"X-Sum", b"1")]),
    "close": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello",
}
ALWAYS = "circuit_breaker = false"  # What such a vendor would open.
PROBLEMS = {"upstream_reset": 502, "upstream_protocol": 502, "deadline_exceeded": 504}


class Faulty:
    """A vendor which sends its answer up to the position that the path names, and then does what the path names."""

    def __init__(self, sent: bytes, how: str) -> None:
        self.sent = sent
        self.how = how
        self.over = asyncio.Event()

    async def play(self, exchange: Exchange) -> None:
        """Answer one request."""
        assert exchange.request is not None
        path = exchange.request.target.removeprefix(b"/")
        if not path.isdigit():
            await exchange.send(answer(b"fine"))
            return
        await exchange.send(self.sent[: int(path)])
        if self.how == "reset":
            exchange.reset()
        elif self.how == "close":
            await exchange.close()
        else:
            with contextlib.suppress(ConnectionError):
                await exchange.read_some()  # Until the sidecar gives up.
            await exchange.close()


async def ask(pod: Pod, target: str, method: str = "GET") -> Reply:
    """Ask on a connection of its own."""
    async with pod.app() as app:
        return await app.ask(method, target)


async def ask_beside(pod: Pod, positions: range) -> dict[int, Reply]:
    """Ask for every position, some at a time."""
    replies: dict[int, Reply] = {}
    left = iter(positions)

    async def work() -> None:
        for position in left:
            replies[position] = await ask(pod, f"/vendor/{position}")

    await asyncio.gather(*(work() for _ in range(BESIDE)))
    return replies


def assert_problem(reply: Reply, code: str = "") -> None:
    """Assert that the sidecar answered for itself, in the contract's form."""
    found = reply.value("Sidecar-Error")
    assert reply.status == PROBLEMS[found]
    assert not code or found == code
    assert reply.value("Sidecar-Source") == "sidecar"
    assert reply.value("Content-Type") == "application/problem+json"
    assert not reply.is_cut_off
    problem = reply.json()
    assert problem["code"] == found
    assert problem["instance"] == reply.value("X-Request-ID")


async def assert_still_serves(pod: Pod) -> None:
    """Assert that the next call is answered, and that nothing is left of all before."""
    assert (await ask(pod, "/vendor/fine")).body == b"fine"
    await pod.assert_nothing_left()


@pytest.mark.parametrize("how", ["close", "reset", "stall"])
@pytest.mark.parametrize("framing", ANSWERS)
async def test_breaking_off_at_each_byte_is_never_a_clean_end(framing: str, how: str, tmp_path: Path) -> None:
    """Before the head's end: a problem with its code. After it: an answer that is visibly cut off."""
    sent = ANSWERS[framing]
    head_end = sent.index(b"\r\n\r\n") + 4
    faulty = Faulty(sent, how)
    service = 'timeout = "300ms"\nidle_timeout = "300ms"'
    async with Vendor(faulty.play) as vendor, Pod(tmp_path, vendor, service=f"{ALWAYS}\n{service}") as pod:
        replies = await ask_beside(pod, range(len(sent)))
        for position, reply in replies.items():
            if position < head_end:
                assert_problem(reply, "deadline_exceeded" if how == "stall" else "upstream_reset")
                if how == "stall":
                    step = "receiving the answer's head" if position else "waiting for the answer's first byte"
                    assert step in reply.json()["detail"]
            elif framing == "close" and how == "close":
                assert (reply.status, reply.is_cut_off) == (200, False)
                assert reply.body == sent[head_end:position]
            else:
                assert (reply.status, reply.is_cut_off) == (200, True), position
                assert b"hello".startswith(reply.body)
        await assert_still_serves(pod)
        lines = await pod.calls(len(sent) + 1)
        codes = {line["code"] for line in lines if line["outcome"] == "failure"}
        assert codes == {"deadline_exceeded" if how == "stall" else "upstream_reset"}


async def test_an_old_app_sees_the_break_as_well(tmp_path: Path) -> None:
    """To HTTP/1.0 the end of the connection is the end of the body, so a break is a reset."""
    sent = ANSWERS["chunked"]
    faulty = Faulty(sent, "close")
    async with Vendor(faulty.play) as vendor, Pod(tmp_path, vendor, service=ALWAYS) as pod:
        async with pod.app() as app:
            await app.send(b"GET /vendor/%d HTTP/1.0\r\nHost: localhost\r\n\r\n" % (len(sent) - 14))
            reply = await app.read_answer()
            assert reply.content.is_reset
        await assert_still_serves(pod)


MALFORMED = {
    "garbage": CANARY + b"\r\n\r\n",
    "binary": b"\x16\x03\x01\x02\x00" + CANARY,
    "http2": b"HTTP/2 200 " + CANARY + b"\r\n\r\n",
    "http1.2": b"HTTP/1.2 200 OK\r\nX: " + CANARY + b"\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nX: " + CANARY + b"\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "length and chunked": b"HTTP/1.1 200 OK\r\nX: "
    + CANARY
    + b"\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\n" + CANARY,
    "folded": b"HTTP/1.1 200 OK\r\nX: " + CANARY + b"\r\n " + CANARY + b"\r\nContent-Length: 0\r\n\r\n",
    "bare lf": b"HTTP/1.1 200 OK\nX: " + CANARY + b"\nContent-Length: 0\n\n",
    "bare cr": b"HTTP/1.1 200 OK\r\nX: a\r" + CANARY + b": b\r\nContent-Length: 0\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nX: \x00" + CANARY + b"\r\nContent-Length: 0\r\n\r\n",
    "nul in the reason": b"HTTP/1.1 200 \x00" + CANARY + b"\r\nContent-Length: 0\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\n" + CANARY + b"\r\nContent-Length: 0\r\n\r\n",
    "gzip coding": b"HTTP/1.1 200 OK\r\nX: " + CANARY + b"\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 " + CANARY + b"\r\nContent-Length: 0\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 " + CANARY + b"\r\nContent-Length: 0\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: " + CANARY + b"\r\n\r\n" + CANARY,
    "long line": b"HTTP/1.1 200 OK\r\nX: " + CANARY + b"a" * 150_000 + b"\r\n\r\n",
    "many lines": b"HTTP/1.1 200 OK\r\n" + (b"X: " + CANARY + b"\r\n") * 10_000 + b"\r\n",
    "flood of 1xx": (b"HTTP/1.1 103 Early Hints\r\nX: " + CANARY + b"\r\n\r\n") * 5_000,
}


async def test_nothing_of_a_malformed_answer_reaches_the_app(tmp_path: Path) -> None:
    """A canary in each of them: neither head nor body nor problem shows it."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        which = exchange.request.target.removeprefix(b"/").decode().replace("%20", " ")
        with contextlib.suppress(ConnectionError):
            await exchange.send(MALFORMED.get(which, answer(b"fine")))
            if which in MALFORMED:
                await exchange.close()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=ALWAYS) as pod:
        for which in MALFORMED:
            reply = await ask(pod, "/vendor/" + which.replace(" ", "%20"))
            assert_problem(reply, "upstream_protocol")
            assert CANARY not in reply.raw_head + reply.body, which
            wanted = "http_response_header_section_size" if which in {"long line", "many lines", "flood of 1xx"} else ""
            assert f"error={wanted or 'http_protocol_error'}" in reply.value("Proxy-Status"), which
            await assert_still_serves(pod)


MALFORMED_BODIES = {
    "chunk size": b"2\r\nok\r\nxyz\r\n",
    "chunk too long": b"2\r\nok\r\n2\r\nokk\r\n0\r\n\r\n",
    "trailer": b"2\r\nok\r\n0\r\nno colon\r\n\r\n",
    "oversized trailers": b"2\r\nok\r\n0\r\n" + b"X-Sum: 1234567890\r\n" * 10_000 + b"\r\n",
}


async def test_a_malformed_body_is_cut_off_where_it_went_wrong(tmp_path: Path) -> None:
    """The head is out already, so the break is the error; the line tells the code."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        which = exchange.request.target.removeprefix(b"/").decode().replace("%20", " ")
        if which not in MALFORMED_BODIES:
            await exchange.send(answer(b"fine"))
            return
        with contextlib.suppress(ConnectionError):
            await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", MALFORMED_BODIES[which])
            await exchange.close()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=ALWAYS) as pod:
        for which in MALFORMED_BODIES:
            reply = await ask(pod, "/vendor/" + which.replace(" ", "%20"))
            assert (reply.status, reply.is_cut_off) == (200, True), which
            assert reply.trailers == []
            await assert_still_serves(pod)
        lines = await pod.calls(2 * len(MALFORMED_BODIES))
        failed = [line for line in lines if line["outcome"] == "failure"]
        assert [line["code"] for line in failed] == ["upstream_protocol"] * len(MALFORMED_BODIES)


@pytest.mark.parametrize(
    "surplus", [b"surplus", answer(CANARY), b"\x00" * 100, b"0\r\n\r\n"], ids=["text", "answer", "nul", "chunk"]
)
async def test_surplus_bytes_never_reach_the_next_call(surplus: bytes, tmp_path: Path) -> None:
    """More than Content-Length, or a second answer: whoever asks next gets its own."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        own = exchange.request.target.removeprefix(b"/")
        await exchange.send(answer(own) + surplus)

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=ALWAYS) as pod:
        async with pod.app() as app:
            for turn in range(5):
                reply = await app.ask("GET", f"/vendor/{turn}")
                assert (reply.status, reply.body) == (200, str(turn).encode())
        await pod.assert_nothing_left()


async def test_bytes_while_idle_never_reach_the_next_call(tmp_path: Path) -> None:
    """The vendor speaks a moment after its answer: that connection is closed, also if the next call is there."""
    speak = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await exchange.send(answer(b"own"))
        if exchange.number == 1:
            await speak.wait()
            await exchange.send(answer(CANARY))

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=ALWAYS) as pod:
        async with pod.app() as app:
            assert (await app.ask("GET", "/vendor/")).body == b"own"
            speak.set()
            await vendor.wait_for_closed()
            for _ in range(3):
                assert (await app.ask("GET", "/vendor/")).body == b"own"
        await pod.assert_nothing_left()


async def test_an_answer_before_the_request_is_not_taken(tmp_path: Path) -> None:
    """A vendor that answers on connecting, before anything was asked: its bytes belong to no call."""

    async def play(exchange: Exchange) -> None:
        with contextlib.suppress(ConnectionError, CutOff):
            await exchange.send(answer(CANARY, headers=[(b"X", b"1")]) * 2)
            await exchange.read_some()

    async with Vendor(play, reads=False) as vendor, Pod(tmp_path, vendor, service=f'{ALWAYS}\ntimeout = "1s"') as pod:
        for _ in range(3):
            reply = await ask(pod, "/vendor/", "POST")
            # On a fresh connection nobody can tell an early answer from a very fast one; a second one must not stay.
            assert reply.status in {200, 502}
        await pod.assert_nothing_left()
        assert pod.snapshot()["services"]["vendor"]["pool"]["idle"] == 0
