"""A batch that the app does not wait for: its items are jobs, so that a kill costs none of them."""

import asyncio
import gc
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.core.call import Call
from sidecar.queue.batch.intake import ITEMS_AT_ONCE
from sidecar.queue.batch.telling import IN_HAND, ItemResult
from sidecar.store.backlog import Entry, NewEntry
from tests.kit.app import App, Reply
from tests.kit.batch import LINES, URL, item, lines_of, results, send_lines, send_whole
from tests.kit.exchange import Exchange, Request
from tests.kit.kept import KINDS, end_leases, kept_store
from tests.kit.pod import Pod
from tests.kit.process import Process
from tests.kit.servers import Servers
from tests.kit.valkey import Valkey
from tests.kit.vendor import Vendor, answer

LATER = "Prefer: respond-async"
STORE = '[store]\nkind = "sqlite"\n'
QUICK = 'queue = { schedule = ["10ms", "50ms"], rate = "2000/s" }\ncircuit_breaker = false'
LINE = "vendor.~items"
COUNT = 200
CONCURRENCY = 4  # Of the queue, unless it says otherwise.


class Counting:
    """A vendor that counts what it did by idempotency key; `then` is called after so many."""

    def __init__(self, after: int = 0, then: Callable[[], None] = lambda: None) -> None:
        self.done: dict[bytes, list[bytes]] = {}  # What came with each key, each time.
        self.seen = 0
        self.is_down = False
        self._after = after
        self._then = then

    def __call__(self, request: Request) -> bytes:
        """Do it once for each key."""
        self.seen += 1
        if self.seen == self._after:
            self._then()
        if self.is_down:
            return answer(b"down", status=503)
        self.done.setdefault(request.values("Idempotency-Key")[0], []).append(request.body)
        return answer(request.body, headers=[(b"Content-Type", b"application/json")])


async def place_of(reply: Reply, count: int) -> str:
    """Give where an accepted batch is."""
    assert reply.status == 202, reply.body
    place = reply.value("Location")
    assert (reply.value("Preference-Applied"), reply.value("Sidecar-Source")) == ("respond-async", "queue")
    told = reply.json()
    assert place == f"/_sidecar/jobs/{told['id']}"
    assert (told["state"], told["service"], told["items"]) == ("waiting", "vendor", count)
    assert told["results"] == f"{place}/items"
    return place


def assert_refused(reply: Reply, status: int, code: str) -> None:
    """Assert that it is an error of the sidecar's."""
    assert (reply.status, reply.value("Sidecar-Error")) == (status, code), reply.body


async def until(app: App, place: str, *states: str) -> dict[str, Any]:
    """Ask for a batch until it is in one of these states; each look is a question."""
    async with asyncio.timeout(40):
        while True:
            reply = await app.ask("GET", place)
            assert reply.status == 200, reply.body
            batch: dict[str, Any] = reply.json()
            assert sum(batch["counts"].values()) == batch["items"]
            if batch["state"] in states:
                return batch


async def items_of(app: App, place: str, query: str = "") -> list[dict[str, Any]]:
    """Read what came of the items."""
    reply = await app.ask("GET", f"{place}/items{query}")
    assert (reply.status, reply.value("Content-Type")) == (200, "application/x-ndjson")
    assert not reply.is_cut_off
    return [json.loads(line) for line in reply.body.splitlines()]


async def left(pod: Pod) -> dict[str, int]:
    """Count what is in the line of items."""
    tally = await pod.sidecar._storing.store.backlog.tally(LINE)
    return {state: count for state, count in tally.states.items() if count}


def posts(count: int) -> list[dict[str, object]]:
    """Make items with a body of their own."""
    return [item(f"own-{n}", "/orders", method="POST", body={"n": n}) for n in range(count)]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> str:
    """A `[store]` that outlives the process."""
    return kept_store(request.param, servers, tmp_path)


def config_for(vendor: Vendor, store: str, service: str = QUICK) -> str:
    """A whole config with one service."""
    return (
        f'{store}\n[services.vendor]\nbase_url = "{vendor.url}"\nallow_private = true\nretry = false\n'
        f'idempotency = {{ header = "Idempotency-Key" }}\n{service}\n'
    )


@pytest.mark.parametrize("send", [send_whole, lambda app, items, *h: send_lines(app, lines_of(items), *h)])
async def test_a_batch_is_accepted_done_and_told_in_order(tmp_path: Path, send: Callable[..., Any]) -> None:
    """202 with a place to look; each item is a job with the app's own name, and the vendor's answer."""

    def play(request: Request) -> bytes:
        if request.target == b"/none":
            return answer(b"no such thing", status=404)
        return answer(b'{"n": 1}', headers=[(b"Content-Type", b"application/json"), (b"X-Two", b"1"), (b"X-Two", b"2")])

    async with Vendor.answering(play) as vendor, Pod(tmp_path, vendor, service=QUICK, config=STORE) as pod:
        async with pod.app() as app:
            items = [item("a", method="POST", body={"x": 1}), item("b", "/none"), item("a", "/again?x=%2F")]
            place = await place_of(await send(app, items, LATER, "X-Request-ID: mine", "Sidecar-App: nightly"), 3)
            batch = await until(app, place, "failed")
            assert (batch["counts"], batch["service"]) == ({"succeeded": 2, "failed": 1}, "vendor")
            told = await items_of(app, place)
            assert [(one["id"], one["index"], one["state"], one["status"]) for one in told] == [
                ("a", 0, "succeeded", 200), ("b", 1, "failed", 404), ("a", 2, "succeeded", 200),
            ]  # fmt: skip
            assert [one["body"] for one in told] == [{"n": 1}, "no such thing", {"n": 1}]
            assert told[0]["headers"]["x-two"] == ["1", "2"]
            assert [one["request_id"] for one in told] == ["mine-0", "mine-1", "mine-2"]
            assert [one["index"] for one in await items_of(app, place, "?after=0")] == [1, 2]
            assert await items_of(app, place, "?after=2") == []
            assert_refused(await app.ask("GET", f"{place}/items?after=x"), 400, "bad_request")
            job = (await app.ask("GET", f"{place}-1")).json()
            assert (job["item"], job["state"], job["why"]) == ("b", "failed", "batch")
            assert job["batch"] == batch["id"]
            assert job["answer"]["status"] == 404
            assert (await app.ask("GET", f"{place}-3")).status == 404
            seen = {request.target: request for request in vendor.requests}
            assert seen[b"/a"].values("Content-Type") == [b"application/json"]
            assert seen[b"/again?x=%2F"].values("Accept-Encoding") == [b"identity"]
        lines = [line for line in await pod.log_lines() if line["msg"] == "call" and line.get("job")]
        assert {line["app"] for line in lines} == {"nightly"}
        await pod.assert_nothing_left()


async def test_after_a_kill_only_the_unfinished_items_run_again(tmp_path: Path, store: str, servers: Servers) -> None:
    """Killed in the middle: the next process does the rest, and each item is done once at a vendor that knows keys."""
    middle = asyncio.Event()
    vendor_of = Counting(COUNT // 3, middle.set)
    async with Vendor.answering(vendor_of) as vendor:
        config = config_for(vendor, store)
        async with Process(tmp_path, config) as first, App.to(first.egress_url) as app:
            place = await place_of(await send_whole(app, posts(COUNT), LATER), COUNT)
            async with asyncio.timeout(20):
                await middle.wait()
            await first.kill()
        before = vendor_of.seen
        assert before < COUNT, "in the middle"
        if "valkey" in store:
            await asyncio.to_thread(end_leases, servers.get(Valkey.serving))
        async with Process(tmp_path, config) as second, App.to(second.egress_url) as app:
            batch = await until(app, place, "succeeded", "failed")
            assert batch["counts"] == {"succeeded": COUNT}
            told = await items_of(app, place)
        assert [(one["id"], one["body"]) for one in told] == [(f"own-{n}", {"n": n}) for n in range(COUNT)]
        assert len(vendor_of.done) == COUNT
        wanted = sorted(b'{"n": %d}' % n for n in range(COUNT))
        assert sorted(bodies[0] for bodies in vendor_of.done.values()) == wanted
        again = [bodies for bodies in vendor_of.done.values() if len(bodies) > 1]
        assert len(again) <= CONCURRENCY, "only what was under way was made again"
        assert all(bodies == bodies[:1] * 2 for bodies in again)


async def test_a_batch_that_was_never_acknowledged_never_runs(tmp_path: Path, store: str, servers: Servers) -> None:
    """Killed while its items were being stored: they are put away, none of them made."""
    vendor_of = Counting()
    async with Vendor.answering(vendor_of) as vendor:
        config = config_for(vendor, store)
        async with Process(tmp_path, config) as first, App.to(first.egress_url) as app:
            lines = lines_of(posts(ITEMS_AT_ONCE + 1))
            head = [f"POST {URL} HTTP/1.1", "Host: localhost", LINES, LATER, f"Content-Length: {len(lines) + 9}"]
            await app.send("\r\n".join([*head, "", ""]).encode() + lines)
            await listed(first, "waiting", 200)
            await first.kill()
        await asyncio.to_thread(end_records, tmp_path, servers.get(Valkey.serving) if "valkey" in store else None)
        async with Process(tmp_path, config) as second, App.to(second.egress_url) as app:
            jobs = await listed(second, "cancelled", 200)
            assert "not accepted" in jobs[0]["error"]
            batch = jobs[0]["batch"]
            assert_refused(await app.ask("GET", f"/_sidecar/jobs/{batch}"), 404, "unknown_job")
            assert_refused(await app.ask("GET", f"/_sidecar/jobs/{batch}/items"), 404, "unknown_job")
    assert vendor_of.seen == 0


async def listed(sidecar: Process, state: str, count: int) -> list[dict[str, Any]]:
    """Ask for the jobs in a state until there are so many."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{sidecar.admin_url}/api/jobs?state={state}&limit={count}") as reply:
                jobs: list[dict[str, Any]] = (await reply.json())["jobs"]
            if len(jobs) >= count:
                return jobs


def end_records(folder: Path, valkey: Valkey | None) -> None:
    """Let the time of what is on record of a batch pass."""
    if valkey is not None:
        with valkey.client as client:
            keys = list(client.scan_iter("*batch:*"))
            assert keys
            client.delete(*keys)
        return
    with sqlite3.connect(folder / "state.db") as connection:
        assert connection.execute("UPDATE records SET ends_at = 0 WHERE key LIKE 'batch:%'").rowcount == 1
    connection.close()


async def test_an_app_that_hangs_up_has_accepted_nothing(tmp_path: Path) -> None:
    """What was stored of the batch is taken away again."""
    vendor_of = Counting()
    async with Vendor.answering(vendor_of) as vendor, Pod(tmp_path, vendor, service=QUICK, config=STORE) as pod:
        async with pod.app() as app:
            lines = lines_of(posts(ITEMS_AT_ONCE + 1))
            head = [f"POST {URL} HTTP/1.1", "Host: localhost", LINES, LATER, f"Content-Length: {len(lines) + 9}"]
            await app.send("\r\n".join([*head, "", ""]).encode() + lines)
            async with asyncio.timeout(10):
                while sum((await left(pod)).values()) < ITEMS_AT_ONCE:
                    pass
            app.reset()
        await pod.assert_nothing_left()
        assert await left(pod) == {}
    assert vendor_of.seen == 0


async def test_a_full_line_leaves_nothing_of_the_batch(tmp_path: Path) -> None:
    """503 with Retry-After; not one of its items stays, though some were stored before it was full."""
    service = f"queue = {{ length_max = {ITEMS_AT_ONCE + 50} }}"
    vendor_of = Counting()
    async with Vendor.answering(vendor_of) as vendor, Pod(tmp_path, vendor, service=service, config=STORE) as pod:
        async with pod.app() as app:
            for reply in (
                await send_whole(app, posts(ITEMS_AT_ONCE + 51), LATER),
                await send_lines(app, lines_of(posts(ITEMS_AT_ONCE + 51)), LATER),
            ):
                assert_refused(reply, 503, "queue_full")
                assert reply.value("Retry-After")
                assert await left(pod) == {}
        await pod.assert_nothing_left()
    assert vendor_of.seen == 0


async def test_what_is_malformed_is_refused_at_once(tmp_path: Path) -> None:
    """In JSON the whole, with each reason; nothing of it is stored."""
    service = """
forward = ["Authorization"]
queue = { body_max = "1KiB" }
[services.vendor.routes.now]
match = "* /now"
queue = false
"""
    vendor_of = Counting()
    async with Vendor.answering(vendor_of) as vendor, Pod(tmp_path, vendor, service=service, config=STORE) as pod:
        async with pod.app() as app:
            bad = [
                item("good"), item("escapes", "/../x"), item("space", "/a b"), item("trace", method="TRACE"),
                item("header", headers={"X": "1\r\nEvil: 1"}),
                item("both", method="POST", body="a", body_base64="YQ=="),
                item("large", method="POST", body="x" * 1025), item("now"), item("own", headers={"X-Api-Key": "k"}),
                item("login", headers={"Authorization": "Bearer k"}),
            ]  # fmt: skip
            reply = await send_whole(app, bad, LATER)
            assert_refused(reply, 400, "bad_request")
            problems = reply.json()["problems"]
            assert [problem.partition(":")[0] for problem in problems] == [f"items[{n}]" for n in range(1, 10)]
            for number, words in ((6, "queue.body_max"), (7, "queue = false"), (8, "credential"), (9, "credential")):
                assert words in problems[number - 1]
            shape = await send_whole(app, [item("a"), {"id": "b"}], LATER)
            assert (shape.status, len(shape.json()["problems"])) == (400, 1)
            assert await left(pod) == {}
        await pod.assert_nothing_left()
    assert vendor_of.seen == 0


async def test_a_line_that_is_no_item_fails_by_itself(tmp_path: Path) -> None:
    """The others are made; it says what was wrong. Too many lines are too many."""
    config = f"{STORE}[batch]\nitems_max = 4"
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor, service=QUICK, config=config) as pod:
        async with pod.app() as app:
            lines = lines_of([item("a")]) + b"nonsense\n" + lines_of([{"id": "half"}, item("out", "/../x")])
            place = await place_of(await send_lines(app, lines, LATER), 4)
            await until(app, place, "failed")
            told = await items_of(app, place)
            assert [(one["id"], one["state"]) for one in told] == [
                ("a", "succeeded"), (None, "failed"), ("half", "failed"), ("out", "failed"),
            ]  # fmt: skip
            codes = [one["error"].partition(":")[0] for one in told[1:]]
            assert codes == ["bad_request", "bad_request", "path_escapes"]
            assert (await app.ask("GET", f"{place}-1")).json()["state"] == "failed"
            reply = await send_lines(app, lines_of([item(n) for n in range(5)]), LATER)
            assert_refused(reply, 413, "body_too_large")
            assert await left(pod) == {"succeeded": 1, "failed": 3}
        await pod.assert_nothing_left()


async def test_the_items_that_wait_can_be_cancelled(tmp_path: Path) -> None:
    """What has begun may have been done."""
    open_now = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await open_now.wait()
        await exchange.send(answer(b"ok"))

    async with (
        Vendor(slow) as vendor,
        Pod(tmp_path, vendor, service="queue = { concurrency = 1 }", config=STORE) as pod,
        pod.app() as app,
    ):
        place = await place_of(await send_whole(app, [item(n) for n in range(40)], LATER), 40)
        await vendor.wait_for_request(1)
        batch = (await app.ask("DELETE", place)).json()
        assert (batch["state"], batch["counts"]) == ("running", {"running": 1, "cancelled": 39})
        open_now.set()
        assert (await until(app, place, "cancelled"))["counts"] == {"succeeded": 1, "cancelled": 39}
        assert (await app.ask("POST", place)).status == 405
        assert (await app.ask("DELETE", f"{place}/items")).status == 405
    assert len(vendor.requests) == 1


async def test_people_retry_an_item_that_is_dead(tmp_path: Path) -> None:
    """It is a job of its line; its batch is well again afterwards."""
    vendor_of = Counting()
    vendor_of.is_down = True
    service = 'idempotency = { header = "Idempotency-Key" }\ncircuit_breaker = false\n'
    service += 'queue = { schedule = ["10ms"], age_max = "100ms" }'
    async with Vendor.answering(vendor_of) as vendor, Pod(tmp_path, vendor, service=service, config=STORE) as pod:
        async with pod.app() as app, aiohttp.ClientSession() as session:
            place = await place_of(await send_whole(app, posts(2), LATER), 2)
            assert (await until(app, place, "failed"))["counts"] == {"dead": 2}
            vendor_of.is_down = False
            api = f"http://{pod.sidecar.address('admin')}/api/jobs"
            async with session.get(f"{api}?service=vendor&state=dead") as reply:
                jobs = (await reply.json())["jobs"]
            assert sorted((job["item"], job["error"]) for job in jobs) == [
                ("own-0", "status 503"), ("own-1", "status 503"),
            ]  # fmt: skip
            for job in jobs:
                async with session.post(f"{api}/{job['id']}/retry") as reply:
                    assert reply.status == 200
            await until(app, place, "succeeded")
            async with session.delete(f"{api}/{jobs[0]['id']}") as reply:
                assert (await reply.json())["state"] == "discarded"
            assert (await until(app, place, "failed"))["counts"] == {"succeeded": 1, "discarded": 1}
            assert {one["state"] for one in await items_of(app, place)} == {"succeeded", "discarded"}
        await pod.assert_nothing_left()


async def test_items_with_a_key_keep_their_order(tmp_path: Path) -> None:
    """As jobs do."""
    headers = {"Sidecar-Queue-Key": "customer-7"}
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor, service=QUICK, config=STORE) as pod:
        async with pod.app() as app:
            items = [item(n, headers=headers) for n in range(20)]
            await until(app, await place_of(await send_whole(app, items, LATER), 20), "succeeded")
        await pod.assert_nothing_left()
    assert [request.target for request in vendor.requests] == [b"/%d" % n for n in range(20)]


@pytest.mark.parametrize(("config", "service"), [("", ""), (STORE, "queue = false")])
async def test_without_a_place_for_jobs_the_batch_is_done_now(tmp_path: Path, config: str, service: str) -> None:
    """The preference is one, and no demand (RFC 7240)."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor, service=service, config=config) as pod:
        async with pod.app() as app:
            for reply in (
                await send_whole(app, [item("a")], LATER), await send_lines(app, lines_of([item("a")]), LATER),
            ):  # fmt: skip
                assert [one["status"] for one in results(reply)] == [200]
                assert reply.values("Preference-Applied") == []
        await pod.assert_nothing_left()


async def test_a_key_of_the_app_s_own_in_the_vendor_s_place_is_kept(tmp_path: Path) -> None:
    """Another beside it would be one too many."""
    service = 'idempotency = { header = "Request-Id" }\n' + QUICK
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor, service=service, config=STORE) as pod:
        async with pod.app() as app:
            items = [
                item("a", method="POST", headers={"Request-Id": "mine"}),
                item("b", method="POST", headers={"Idempotency-Key": "mine-too"}),
            ]
            await until(app, await place_of(await send_whole(app, items, LATER), 2), "succeeded")
        await pod.assert_nothing_left()
    seen = {request.target: request.values("Request-Id") for request in vendor.requests}
    assert seen == {b"/a": [b"mine"], b"/b": [b"mine-too"]}


async def test_ten_thousand_items_go_in_and_out_with_flat_memory(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Counted: at no time is more in hand than one append, and a few results."""
    most: dict[type, int] = {NewEntry: 0, Entry: 0, ItemResult: 0, Call: 0}
    count = 10_000

    def look() -> None:
        kinds = [type(one) for one in gc.get_objects()]
        for kind, before in most.items():
            most[kind] = max(before, kinds.count(kind))

    gc.freeze()  # What other tests left is not gone through: each look would take longer than an append.
    request.addfinalizer(gc.unfreeze)
    content = lines_of(posts(count))
    service = 'queue = { rate = "1/s", concurrency = 1 }'
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor, service=service, config=STORE) as pod:
        async with pod.app() as app, pod.app() as beside:
            sending = asyncio.create_task(send_lines(app, content, LATER))
            while not sending.done():
                await beside.ask("GET", "/_sidecar/jobs/vendor.none")
                look()
            place = await place_of(await sending, count)
            assert 0 < most[NewEntry] <= 3 * ITEMS_AT_ONCE, "those of one append, as they pass through the store"
            assert most[Call] <= 6, "the batch's, and that of the item that is read; a turn's, and who asks beside"
            pieces = 0

            def seen(_: bytes) -> None:
                nonlocal pieces
                pieces += 1
                if pieces % 1000 == 0:
                    look()

            await app.send(f"GET {place}/items HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            reply = await app.read_body(await app.read_head(), seen=seen, within=60)
            told = [json.loads(line) for line in reply.body.splitlines()]
            assert [(one["id"], one["index"]) for one in told] == [(f"own-{n}", n) for n in range(count)]
            assert pieces > 1000
            assert 0 < most[Entry] <= 4 * IN_HAND
            assert most[ItemResult] <= 1
            assert sum((await app.ask("GET", place)).json()["counts"].values()) == count
        await pod.assert_nothing_left()
