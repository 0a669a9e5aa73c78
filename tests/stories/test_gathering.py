"""Many reads of single things at once: the vendor is asked once for all, and every app is served as if alone."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.kit.app import App, Reply
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange, Request
from tests.kit.message import CutOff
from tests.kit.pod import Pod
from tests.kit.timed import TimedPod
from tests.kit.vendor import Vendor, answer

JSON = [(b"Content-Type", b"application/json")]
ROUTE = """
[services.vendor.routes.contact]
match = "GET /contacts/{id}"
[services.vendor.routes.contact.gather]
answer_items = "results"
id = "id"
ids_max = 5
"""
GET = ROUTE + 'request = "GET /contacts?ids={ids}"\n'
POST = (
    ROUTE
    + """request = "POST /contacts/batch/read"
body = '{"inputs":[{ids}]}'
item = '{"id":{id}}'
"""
)


def gathered(pod: Pod) -> int:
    """Give the metric."""
    return pod.sidecar._grounds.metrics.counter("sidecar_gathered_total", "vendor").value


def one(number: object, *fields: bytes) -> bytes:
    """Write a request of an app."""
    return b"GET /vendor/contacts/%b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (str(number).encode(), b"".join(fields))


def contacts(request: Request) -> bytes:
    """Give what was asked for, but for 404, in the opposite order; singly, too."""
    if request.method == "POST":
        ids = [each["id"] for each in json.loads(request.body)["inputs"]]
    else:
        path, _, query = request.target.decode().partition("?ids=")
        if not query:
            number = path.rpartition("/")[2]
            return answer(b'{"id":"%b","single":true}' % number.encode(), headers=JSON)
        ids = unquote(query).split(",")
    results = [{"id": each, "amount": 1.0} for each in reversed(ids) if each != "404"]
    return answer(json.dumps({"total": len(results), "results": results}).encode(), headers=JSON)


async def crowd_of(stack: AsyncExitStack, pod: Pod, *ids: object, begun: int = 0) -> list[App]:
    """Have an app for each id ask, on a connection of its own, and wait until all their calls are under way."""
    crowd = [await stack.enter_async_context(pod.app()) for _ in ids]
    for app, number in zip(crowd, ids, strict=True):
        await app.send(one(number))
    await pod.until(lambda: pod.snapshot()["calls_in_flight"] == begun + len(ids), "the crowd")
    return crowd


async def answers_of(crowd: list[App]) -> list[Reply]:
    """Read all answers."""
    return [await app.read_answer() for app in crowd]


@pytest.mark.parametrize(("service", "method"), [(GET, "GET"), (POST, "POST")])
async def test_reads_that_come_together_are_one_vendor_call(
    clock: ManualClock, tmp_path: Path, service: str, method: str
) -> None:
    """Each app gets its own contact under its own request id; one permit, one attempt, and a line for each."""
    service = 'rate_limit = { rate = ["100/s", "100/day"] }\n' + service
    async with (
        AsyncExitStack() as stack,
        Vendor.answering(contacts) as vendor,
        TimedPod(clock, tmp_path, vendor, service=service) as pod,
    ):
        crowd = await crowd_of(stack, pod, 1, 2, "x%40y", 2)
        replies = await pod.play(answers_of(crowd))
        assert [reply.body for reply in replies] == [
            b'{"id": "1", "amount": 1.0}', b'{"id": "2", "amount": 1.0}', b'{"id": "x@y", "amount": 1.0}',
            b'{"id": "2", "amount": 1.0}',
        ]  # fmt: skip
        assert {(reply.status, reply.value("Sidecar-Source")) for reply in replies} == {(200, "upstream")}
        assert {reply.value("Content-Length") == str(len(reply.body)) for reply in replies} == {True}
        assert len({reply.value("X-Request-ID") for reply in replies}) == 4
        assert sorted(reply.value("Sidecar-Attempts") for reply in replies) == ["0", "0", "0", "1"]
        assert [request.method for request in vendor.requests] == [method]
        assert pod.snapshot()["services"]["vendor"]["rate_limit"]["100/day"]["used"] == 1
        lines = await pod.calls(4)
        assert {line["batch"]["items"] for line in lines} == {3}
        assert {(line["route"], line["method"], line["outcome"]) for line in lines} == {("contact", "GET", "success")}
        assert gathered(pod) == 3
        await stack.pop_all().aclose()
        await pod.assert_nothing_left()


async def test_one_alone_is_the_plain_read(clock: ManualClock, tmp_path: Path) -> None:
    """Byte for byte as the app asked."""
    async with (
        Vendor.answering(contacts) as vendor,
        TimedPod(clock, tmp_path, vendor, service=GET) as pod,
        pod.app() as app,
    ):
        reply = await pod.play(app.ask("GET", "/vendor/contacts/7?full=1", "Accept-Encoding: br", "X-Mine: 1"))
        assert reply.body == b'{"id":"7?full=1","single":true}'
        [request] = vendor.requests
        assert (request.target, request.values("Accept-Encoding")) == (b"/contacts/7?full=1", [b"br"])
        [line] = await pod.calls()
        assert "batch" not in line


async def test_a_full_call_goes_at_once(clock: ManualClock, tmp_path: Path) -> None:
    """Eleven reads at five ids a call are two full calls and a plain read."""
    async with (
        AsyncExitStack() as stack,
        Vendor.answering(contacts) as vendor,
        TimedPod(clock, tmp_path, vendor, service=GET) as pod,
    ):
        crowd = [await stack.enter_async_context(pod.app()) for _ in range(11)]
        for number, app in enumerate(crowd):
            await app.send(one(number))
        replies = await pod.play(answers_of(crowd))
        assert [json.loads(reply.body)["id"] for reply in replies] == [str(number) for number in range(11)]
        assert len(vendor.requests) == 3


async def test_an_id_that_the_vendor_does_not_have_is_404_for_who_asked(clock: ManualClock, tmp_path: Path) -> None:
    """Made by the sidecar, and saying so; it is no failure of anybody's."""
    async with (
        AsyncExitStack() as stack,
        Vendor.answering(contacts) as vendor,
        TimedPod(clock, tmp_path, vendor, service=GET) as pod,
    ):
        replies = await pod.play(answers_of(await crowd_of(stack, pod, 1, 404)))
        assert [reply.status for reply in replies] == [200, 404]
        missing = replies[1]
        assert (missing.value("Sidecar-Source"), missing.value("Sidecar-Error")) == ("sidecar", "not_in_answer")
        assert json.loads(missing.body)["instance"] == missing.value("X-Request-ID")
        lines = {line["status"]: line for line in await pod.calls(2)}
        assert (lines[404]["outcome"], lines[404]["code"], lines[404]["level"]) == ("success", "not_in_answer", "info")


async def test_a_vendor_that_is_down_is_tried_again_for_all_together(clock: ManualClock, tmp_path: Path) -> None:
    """A POST that reads may be repeated; then each is told, with its own request id."""
    service = 'retry = { backoff = "1ms", attempts_max = 2 }\n' + POST
    down = answer(b"down", status=503, headers=[(b"X-Why", b"1")])
    async with (
        AsyncExitStack() as stack,
        Vendor.answering(down) as vendor,
        TimedPod(clock, tmp_path, vendor, service=service) as pod,
    ):
        replies = await pod.play(answers_of(await crowd_of(stack, pod, 1, 2, 3)))
        assert {(reply.status, reply.body, reply.value("X-Why")) for reply in replies} == {(503, b"down", "1")}
        assert len({reply.value("X-Request-ID") for reply in replies}) == 3
        assert [request.method for request in vendor.requests] == ["POST", "POST"]
        assert sorted(line["attempts"] for line in await pod.calls(3)) == [0, 0, 2]


async def test_an_open_circuit_refuses_all_of_them(clock: ManualClock, tmp_path: Path) -> None:
    """With the code and the time to the next probe, as it would one by one."""
    service = "circuit_breaker = { calls_min = 1 }\n" + GET
    async with (
        AsyncExitStack() as stack,
        Vendor.answering(answer(status=503)) as vendor,
        TimedPod(clock, tmp_path, vendor, service=service) as pod,
    ):
        async with pod.app() as app:
            assert (await pod.play(app.ask("GET", "/vendor/contacts/9"))).status == 503
        replies = await pod.play(answers_of(await crowd_of(stack, pod, 1, 2)))
        assert {reply.value("Sidecar-Error") for reply in replies} == {"circuit_open"}
        assert all(int(reply.value("Retry-After")) > 0 for reply in replies)
        assert len(vendor.requests) == 1


async def test_the_others_live_on_when_one_hangs_up(clock: ManualClock, tmp_path: Path) -> None:
    """Even the first; and when all hang up the vendor is left alone."""
    go = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await go.wait()
        assert exchange.request is not None
        await exchange.send(contacts(exchange.request))

    async with AsyncExitStack() as stack, Vendor(play) as vendor, TimedPod(clock, tmp_path, vendor, service=GET) as pod:
        crowd = await crowd_of(stack, pod, 1, 2, 3)
        await pod.advance(1)
        await vendor.wait_for_head()
        crowd[0].reset()
        await pod.until(lambda: pod.snapshot()["calls_in_flight"] == 2, "the end of the first call")
        go.set()
        assert [json.loads(reply.body)["id"] for reply in await pod.play(answers_of(crowd[1:]))] == ["2", "3"]
        assert len(vendor.requests) == 1
        go.clear()
        crowd = await crowd_of(stack, pod, 4, 5)
        await pod.advance(1)
        await vendor.wait_for_head(2)
        for app in crowd:
            app.reset()
        await stack.pop_all().aclose()
        await pod.assert_nothing_left()


async def test_each_has_its_own_deadline(clock: ManualClock, tmp_path: Path) -> None:
    """The hurried one leaves, and the vendor call goes on for the patient one."""
    go = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await go.wait()
        assert exchange.request is not None
        await exchange.send(contacts(exchange.request))

    async with (
        AsyncExitStack() as stack,
        Vendor(play) as vendor,
        TimedPod(clock, tmp_path, vendor, service=GET) as pod,
        pod.app() as hurried,
    ):
        await hurried.send(one(1, b"Sidecar-Timeout: 400ms\r\n"))
        [patient] = await crowd_of(stack, pod, 2, begun=1)
        late = await pod.play(hurried.read_answer())
        assert (late.status, late.value("Sidecar-Error")) == (504, "deadline_exceeded")
        go.set()
        assert json.loads((await pod.play(patient.read_answer())).body)["id"] == "2"
        assert [request.target for request in vendor.requests] == [b"/contacts?ids=1,2"]


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"{}", status=400),
        answer(b"<html>", headers=[(b"Content-Type", b"text/html")]),
        answer(b"\x1b\x00br", headers=[*JSON, (b"Content-Encoding", b"br")]),
        answer(headers=JSON, chunks=[b"[" * 60_000]),
        answer(b'{"results":{"results":[]}}', headers=JSON),
        answer(b'{"results":[{"id":1},{"id":2},{"id":1},{"id":"2"}]}', headers=JSON),
        answer(b" " * 2**21, headers=JSON),
    ],
    ids=["400", "html", "br", "nested", "no list", "repeated", "long"],
)
async def test_an_answer_that_cannot_be_shared_makes_each_ask_for_itself(
    clock: ManualClock, tmp_path: Path, raw: bytes
) -> None:
    """No app gets what is another's, or nobody's."""

    def play(request: Request) -> bytes:
        return raw if b"?ids=" in request.target else contacts(request)

    async with (
        AsyncExitStack() as stack,
        Vendor.answering(play) as vendor,
        TimedPod(clock, tmp_path, vendor, service=GET) as pod,
    ):
        replies = await pod.play(answers_of(await crowd_of(stack, pod, 1, 2)))
        assert [reply.body for reply in replies] == [b'{"id":"1","single":true}', b'{"id":"2","single":true}']
        assert sorted(request.target for request in vendor.requests[1:]) == [b"/contacts/1", b"/contacts/2"]
        await stack.pop_all().aclose()
        await pod.assert_nothing_left()


async def test_with_coalesce_below_it_equal_reads_still_share(clock: ManualClock, tmp_path: Path) -> None:
    """The window sees them first; both policies together change no answer."""
    service = "coalesce = {}\n" + GET
    async with (
        AsyncExitStack() as stack,
        Vendor.answering(contacts) as vendor,
        TimedPod(clock, tmp_path, vendor, service=service) as pod,
    ):
        replies = await pod.play(answers_of(await crowd_of(stack, pod, 1, 1, 2)))
        assert [json.loads(reply.body)["id"] for reply in replies] == ["1", "1", "2"]
        assert len(vendor.requests) == 1
        await stack.pop_all().aclose()
        await pod.assert_nothing_left()


async def test_a_pinned_version_stands_in_front_of_both_kinds_of_request(clock: ManualClock, tmp_path: Path) -> None:
    """Whether it goes alone or for many."""
    service = 'api_version = { value = "2026", path = true }\n' + GET
    async with (
        AsyncExitStack() as stack,
        Vendor.answering(contacts) as vendor,
        TimedPod(clock, tmp_path, vendor, service=service) as pod,
    ):
        await pod.play(answers_of(await crowd_of(stack, pod, 1, 2)))
        async with pod.app() as app:
            await pod.play(app.ask("GET", "/vendor/contacts/3"))
        assert [request.target for request in vendor.requests] == [b"/2026/contacts?ids=1,2", b"/2026/contacts/3"]


async def test_a_pod_that_stops_leaves_nobody_waiting(tmp_path: Path) -> None:
    """What does not end within the drain is cut off, as any other call is; no task is left."""
    service = GET + 'within = "1s"\n'  # As long as the drain: it ends in the window or right behind it.
    async with AsyncExitStack() as stack, Vendor.stalling(answer(), 0, asyncio.Event()) as vendor:
        async with Pod(tmp_path, vendor, service=service) as pod:
            crowd = await crowd_of(stack, pod, 1, 2)
        for app in crowd:
            with pytest.raises(CutOff):
                await app.read_answer()
        assert {line["outcome"] for line in await pod.calls(2)} == {"cancelled"}
        assert len(pod.sidecar._tasks) == 0
