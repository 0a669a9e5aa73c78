"""A crowd asks the same thing: the vendor is asked once, and every app is served as if it had been alone."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.kit.app import App, Reply
from tests.kit.exchange import Exchange
from tests.kit.message import CutOff
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

ON = "coalesce = {}\n"
GET = b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
CROWD = 20


def coalesced(pod: Pod) -> int:
    """Give the metric."""
    return pod.sidecar._grounds.metrics.counter("sidecar_coalesced_total", "vendor").value


async def gather_crowd(stack: AsyncExitStack, pod: Pod, size: int, raw: bytes = GET) -> list[App]:
    """Have so many apps ask, each on a connection of its own, and wait until all their calls are under way."""
    crowd = [await stack.enter_async_context(pod.app()) for _ in range(size)]
    for app in crowd:
        await app.send(raw)
    await pod.until(lambda: pod.snapshot()["calls_in_flight"] == size, "the crowd")
    return crowd


async def answers_of(crowd: list[App]) -> list[Reply]:
    """Read all answers."""
    return [await app.read_answer() for app in crowd]


async def test_a_crowd_shares_one_call_and_each_has_an_answer_and_a_line_of_its_own(tmp_path: Path) -> None:
    """The sum of the attempts over all lines is what the vendor saw; each keeps its own request id."""
    go = asyncio.Event()
    raw = answer(b"hello", headers=[(b"ETag", b'"1"')])
    async with (
        AsyncExitStack() as stack,
        Vendor.stalling(raw, 0, go) as vendor,
        Pod(tmp_path, vendor, service=ON) as pod,
    ):
        crowd = await gather_crowd(stack, pod, CROWD)
        go.set()
        replies = await answers_of(crowd)
        assert {(reply.status, reply.body, reply.value("ETag")) for reply in replies} == {(200, b"hello", '"1"')}
        assert len({reply.value("X-Request-ID") for reply in replies}) == CROWD
        assert sorted(reply.value("Sidecar-Attempts") for reply in replies) == ["0"] * (CROWD - 1) + ["1"]
        assert {reply.value("Sidecar-Source") for reply in replies} == {"upstream"}
        lines = await pod.calls(CROWD)
        assert sum(line["attempts"] for line in lines) == len(vendor.requests) == 1
        assert coalesced(pod) == CROWD - 1
        await stack.pop_all().aclose()
        await pod.assert_nothing_left()


async def test_each_app_gets_urls_that_lead_back_by_its_own_address(tmp_path: Path) -> None:
    """The vendor's Location is shared, and rewritten for each by how it called."""
    go = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await go.wait()
        await exchange.send(answer(status=302, reason=b"Found", headers=[(b"Location", vendor.url.encode() + b"/y")]))

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=ON) as pod, pod.app() as one, pod.app() as two:
        await one.send(GET)
        await two.send(b"GET /x HTTP/1.1\r\nHost: vendor.localhost\r\n\r\n")
        await pod.until(lambda: pod.snapshot()["calls_in_flight"] == 2, "both calls")
        go.set()
        assert (await one.read_answer()).value("Location").endswith("/vendor/y")
        assert (await two.read_answer()).value("Location").endswith("vendor.localhost/y")
        assert len(vendor.requests) == 1


@pytest.mark.parametrize("by_reset", [True, False])
async def test_the_others_live_on_when_the_first_app_hangs_up(tmp_path: Path, *, by_reset: bool) -> None:
    """The call goes on with the vendor, and is not made a second time."""
    go = asyncio.Event()
    async with (
        AsyncExitStack() as stack,
        Vendor.stalling(answer(b"hello"), 0, go) as vendor,
        Pod(tmp_path, vendor, service=ON) as pod,
    ):
        leader = (await gather_crowd(stack, pod, 1))[0]
        await vendor.wait_for_head()
        followers = [await stack.enter_async_context(pod.app()) for _ in range(3)]
        for app in followers:
            await app.send(GET)
        await pod.until(lambda: pod.snapshot()["calls_in_flight"] == 4, "the followers")
        if by_reset:
            leader.reset()
        else:
            await leader.close()
        await pod.until(lambda: pod.snapshot()["calls_in_flight"] == 3, "the end of the first call")
        go.set()
        assert [reply.body for reply in await answers_of(followers)] == [b"hello"] * 3
        assert len(vendor.requests) == 1
        outcomes = sorted(line["outcome"] for line in await pod.calls(4))
        assert outcomes == ["cancelled", "success", "success", "success"]


async def test_when_all_hang_up_the_vendor_is_left_alone(tmp_path: Path) -> None:
    """Nobody waits for the answer, so the connection is closed."""
    never = asyncio.Event()
    async with (
        AsyncExitStack() as stack,
        Vendor.stalling(answer(b""), 0, never) as vendor,
        Pod(tmp_path, vendor, service=ON) as pod,
    ):
        crowd = await gather_crowd(stack, pod, 3)
        await vendor.wait_for_head()
        for app in crowd:
            app.reset()
        await pod.assert_nothing_left()
        never.set()
        await vendor.wait_for_closed()
        lines = await pod.calls(3)
        assert {line["outcome"] for line in lines} == {"cancelled"}
        assert len(vendor.requests) == 1


async def test_an_event_stream_is_each_apps_own(tmp_path: Path) -> None:
    """The first event is there while the second is not yet written; the others have streams of their own."""
    go = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"9\r\ndata: 1\n\n\r\n",
        )
        await go.wait()
        await exchange.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    async with AsyncExitStack() as stack, Vendor(play) as vendor, Pod(tmp_path, vendor, service=ON) as pod:
        crowd = await gather_crowd(stack, pod, 3)
        await vendor.wait_for_request(3)
        for app in crowd:
            reply = await app.read_head()
            assert reply.value("Content-Type") == "text/event-stream"
            assert b"data: 1" in await app.read_some()
        go.set()
        for app in crowd:
            assert b"data: 2" in await app.read_some()
        assert coalesced(pod) == 0


async def test_a_stream_that_does_not_say_so_is_passed_on_after_a_moment(tmp_path: Path) -> None:
    """Lines that trickle are not held until the last one comes."""
    go = asyncio.Event()
    raw = answer(chunks=[b"line 1\n", b"line 2\n"])
    at = raw.index(b"line 1\n") + 9
    async with (
        Vendor.stalling(raw, at, go) as vendor,
        Pod(tmp_path, vendor, service=ON) as pod,
        pod.app() as app,
    ):
        await app.send(GET)
        await app.read_head()
        assert b"line 1" in await app.read_some()
        assert not go.is_set()
        go.set()
        assert b"line 2" in await app.read_some()


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_an_answer_that_is_too_long_to_be_kept_reaches_everybody_whole(
    tmp_path: Path, *, is_chunked: bool
) -> None:
    """One gets the shared call's, the others make calls of their own."""
    content = random.Random(1).randbytes(3 * 2**20)
    pieces = [content[at : at + 100_000] for at in range(0, len(content), 100_000)]
    raw = answer(chunks=pieces) if is_chunked else answer(content)
    go = asyncio.Event()
    async with (
        AsyncExitStack() as stack,
        Vendor.stalling(raw, 0, go) as vendor,
        Pod(tmp_path, vendor, service=ON) as pod,
    ):
        crowd = await gather_crowd(stack, pod, 3)
        go.set()
        replies = await asyncio.gather(*(app.read_answer() for app in crowd))
        assert [reply.body == content for reply in replies] == [True] * 3
        assert coalesced(pod) == 0
        await stack.pop_all().aclose()
        await pod.assert_nothing_left()


async def test_a_slow_app_does_not_hold_up_the_others_nor_the_vendors_connection(tmp_path: Path) -> None:
    """The answer is in our hands as soon as the vendor has sent it."""
    go = asyncio.Event()
    content = b"x" * 900_000
    async with (
        AsyncExitStack() as stack,
        Vendor.stalling(answer(content), 0, go) as vendor,
        Pod(tmp_path, vendor, service=ON) as pod,
    ):
        slow, quick = await gather_crowd(stack, pod, 2)
        slow.stop_reading()
        go.set()
        assert (await quick.read_answer()).body == content
        assert pod.snapshot()["services"]["vendor"]["pool"]["busy"] == 0
        slow.go_on_reading()
        assert (await slow.read_answer()).body == content
        assert len(vendor.requests) == 1


async def test_a_vendor_that_breaks_off_is_told_to_all(tmp_path: Path) -> None:
    """Each has its own problem with its own request id; nobody asks again because of the others."""
    go = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await go.wait()
        exchange.reset()

    async with AsyncExitStack() as stack, Vendor(play) as vendor, Pod(tmp_path, vendor, service=ON) as pod:
        crowd = await gather_crowd(stack, pod, 3)
        go.set()
        replies = await answers_of(crowd)
        assert {(reply.status, reply.value("Sidecar-Error")) for reply in replies} == {(502, "upstream_reset")}
        assert [reply.json()["instance"] for reply in replies] == [reply.value("X-Request-ID") for reply in replies]
        assert len({reply.json()["instance"] for reply in replies}) == 3
        assert len(vendor.requests) == 1


async def test_an_app_with_less_time_leaves_and_the_others_get_the_answer(tmp_path: Path) -> None:
    """Its deadline is its own, and names what it waited for."""
    go = asyncio.Event()
    async with (
        Vendor.stalling(answer(b"late"), 0, go) as vendor,
        Pod(tmp_path, vendor, service=ON) as pod,
        pod.app() as patient,
        pod.app() as hurried,
    ):
        await patient.send(GET)
        await vendor.wait_for_head()
        reply = await hurried.ask("GET", "/vendor/x", "Sidecar-Timeout: 50ms")
        assert (reply.status, reply.value("Sidecar-Error")) == (504, "deadline_exceeded")
        assert "equal call" in reply.json()["detail"]
        go.set()
        assert (await patient.read_answer()).body == b"late"


async def test_when_the_first_runs_out_of_time_the_next_asks_for_itself(tmp_path: Path) -> None:
    """It has time left, and gets its answer."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.number > 1:
            await exchange.send(answer(b"in time"))
        else:
            await exchange.read_some()

    async with (
        Vendor(play) as vendor,
        Pod(tmp_path, vendor, service=ON) as pod,
        pod.app() as hurried,
        pod.app() as patient,
    ):
        await hurried.send(GET.replace(b"localhost\r\n", b"localhost\r\nSidecar-Timeout: 150ms\r\n"))
        await vendor.wait_for_head()
        await patient.send(GET)
        assert (await hurried.read_answer()).status == 504
        assert (await patient.read_answer()).body == b"in time"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_is_left_wherever_the_apps_of_a_crowd_hang_up(tmp_path: Path, seed: int) -> None:
    """Before the head, in it, in a body that is shared, in one that streams; now and then the vendor breaks off."""
    chance = random.Random(seed)
    answers = [
        answer(b"s" * 5000),
        answer(chunks=[b"c" * 20_000, b"d" * 20_000]),
        answer(chunks=[b"e" * 700_000, b"f" * 700_000]),
        answer(b"data: 1\n\n" * 100, headers=[(b"Content-Type", b"text/event-stream")]),
    ]

    async def play(exchange: Exchange) -> None:
        raw = chance.choice(answers)
        if chance.random() < 0.2:
            await exchange.send(raw[: chance.randrange(len(raw))])
            exchange.reset()
        else:
            await exchange.send(raw)

    async def one(app_chance: random.Random) -> None:
        async with pod.app() as app:
            await app.send(GET.replace(b"/x", app_chance.choice([b"/x", b"/y"])))
            if app_chance.random() < 0.5:
                try:
                    await app.read_answer()
                except (CutOff, ConnectionError):
                    return
            elif app_chance.random() < 0.5:
                await app.read_some()
                app.reset()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=f'timeout = "3s"\n{ON}') as pod:
        for _ in range(8):
            await asyncio.gather(*(one(random.Random(chance.randrange(2**32))) for _ in range(12)))
        await pod.assert_nothing_left()
        assert len(vendor.requests) < 96
