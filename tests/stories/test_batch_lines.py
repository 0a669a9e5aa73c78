"""A batch in lines (NDJSON): items go in and results come out as they can, in memory that stays flat."""

import asyncio
import gc
import json
import random
from pathlib import Path

import pytest

from sidecar.core.body import BUFFER_MAX
from sidecar.core.call import Call
from sidecar.queue.batch.sending import Sent, Work
from tests.kit.app import App
from tests.kit.batch import LINES, URL, item, lines_of, results, send_lines
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.standing import Standing
from tests.kit.vendor import Vendor, answer

OK = answer(b'{"ok": true}', headers=[(b"Content-Type", b"application/json")])
MANY = 10_000


async def open_lines(app: App, *headers: str, url: str = URL) -> None:
    """Send the head of a batch whose lines follow as chunks."""
    lines = [f"POST {url} HTTP/1.1", "Host: localhost", LINES, "Transfer-Encoding: chunked", *headers, "", ""]
    await app.send("\r\n".join(lines).encode())


def chunk(content: bytes) -> bytes:
    """Frame a piece of the body; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(content), content)


async def read_line(app: App, held: bytearray) -> dict[str, object]:
    """Read the answer's next line; each is in a chunk of its own or shares one, so frames are dropped."""
    while True:
        while b"\n" in held:
            line, _, rest = held.partition(b"\n")
            held[:] = rest
            if line.startswith(b"{"):
                found: dict[str, object] = json.loads(line)
                return found
        held += await app.read_some()


async def test_a_result_comes_while_lines_still_go(tmp_path: Path) -> None:
    """An app may send the next item because of what the last one told."""
    async with Vendor.answering(OK) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await open_lines(app)
            held = bytearray()
            assert (await app.read_head()).value("Content-Type") == "application/x-ndjson"
            for number in range(3):
                line = lines_of([item(number)])
                await app.send(chunk(line[:9]), chunk(line[9:]))
                found = await read_line(app, held)
                assert (found["id"], found["index"], found["status"]) == (str(number), number, 200)
            await app.send(chunk(b""))
            last = await read_line(app, held)
            assert last == {"counts": {"items": 3, "success": 3, "failure": 0, "rejected": 0, "attempts": 3}}
        await pod.assert_nothing_left()


async def test_an_app_that_waits_to_be_told_gets_its_100_before_the_answer(tmp_path: Path) -> None:
    """So does curl with 1 MiB and more; a 100 in the middle of the answer's chunks would spoil them."""
    async with Vendor.answering(OK) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await open_lines(app, "Expect: 100-continue")
            assert (await app.read_interim()).status == 100
            await app.send(chunk(lines_of([item(0)])), chunk(b""))
            answered = await app.read_answer("POST")
            assert [one["status"] for one in results(answered)] == [200]
        await pod.assert_nothing_left()


async def test_a_line_that_is_no_item_hides_no_other(tmp_path: Path) -> None:
    """It has a result of its own; blank lines have none; CRLF is fine, and the last line may lack its end."""
    good = json.dumps(item("good")).encode()
    lines = [
        good, b"", b"nonsense", good + b"\r", b"  \t", b'{"id":"half"', b'{"id":7,"method":"GET","path":"/"}', good,
        b'{"id":"n","method":"GET"}', b"\xff\xfe", b'{"id":"u","method":"GET","path":"/","body":"\xff"}',
        b'{"id":"deep","method":"GET","path":"/","body":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"id":"long","method":"GET","path":"/","body":"' + b"x" * 200_000 + b'"}', good, b"[" * 5000,
        b'{"id":"good","method":"GET","path":"/../x"}', b"null", b"\x00", good + good, good,
    ]  # fmt: skip
    config = '[batch]\nline_max = "64KiB"'
    async with Vendor.answering(OK) as vendor, Pod(tmp_path, vendor, config=config) as pod:
        async with pod.app() as app:
            found = results(await send_lines(app, b"\n".join(lines)))
        told = [line for line in lines if line.strip()]
        assert len(found) == len(told)
        for one, line in zip(found, told, strict=True):
            if line.strip() == good:
                assert (one["id"], one["status"], one["body"]) == ("good", 200, {"ok": True})
            else:
                status = 413 if len(line) > 65536 else 400
                assert (one["status"], one["outcome"], one["attempts"]) == (status, "rejected", 0)
                assert one["body"]["detail"]
        by_line = {line: one for one, line in zip(found, told, strict=True)}
        assert by_line[b'{"id":"n","method":"GET"}']["id"] == "n"
        assert by_line[b"nonsense"]["id"] is None
        assert len(vendor.requests) == lines.count(good) + lines.count(good + b"\r")
        await pod.assert_nothing_left()


@pytest.mark.parametrize("seed", range(5))
async def test_each_line_has_exactly_one_result(tmp_path: Path, seed: int) -> None:
    """Whatever stands in it, however it is cut into pieces, and whatever the vendor does."""
    chance = random.Random(seed)

    async def play(exchange: Exchange) -> None:
        match chance.randrange(6):
            case 0:
                await exchange.close()
            case 1:
                await exchange.send(answer(b"later", status=503))
            case 2:
                await exchange.send(answer(b"x" * 5000)[:-1])
                await exchange.close()
            case _:
                await exchange.send(OK)

    def line() -> bytes:
        raw = bytearray(json.dumps(item(chance.randrange(50), method=chance.choice(["GET", "POST"]))).encode())
        for _ in range(chance.choice([0, 0, 0, 1, 5])):
            raw[chance.randrange(len(raw))] = chance.choice(b'{}[]":,\\\x00 a\xff')
        return bytes(raw)

    lines = [line() for _ in range(120)]
    content = b"\n".join(lines)
    service = 'retry = { backoff = "1ms" }\ncircuit_breaker = false'
    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        async with pod.app() as app:
            await open_lines(app, url=f"{URL}?concurrency=5")
            at = 0
            while at < len(content):
                size = chance.randrange(1, 400)
                await app.send(chunk(content[at : at + size]))
                at += size
            await app.send(chunk(b""))
            found = results(await app.read_answer("POST"))
        assert len(found) == len(lines)
        await pod.assert_nothing_left()


async def test_ten_thousand_items_pass_through_flat_memory(tmp_path: Path) -> None:
    """Counted: at no time are there more items and calls than places allow; nor are any left."""
    most: dict[type, int] = {Work: 0, Sent: 0, Call: 0}
    seen = 0

    def count() -> None:
        kinds = [type(one) for one in gc.get_objects()]
        for kind, before in most.items():
            most[kind] = max(before, kinds.count(kind))

    async def play(exchange: Exchange) -> None:
        nonlocal seen
        seen += 1
        if seen % 500 == 0:
            count()
        await exchange.send(OK)

    content = lines_of([item(n, method="POST", body={"n": n}) for n in range(MANY)])
    async with Vendor(play) as vendor, Pod(tmp_path, vendor, level="error") as pod:
        async with pod.app() as app:
            await open_lines(app, url=f"{URL}?concurrency=16")

            async def send() -> None:
                for at in range(0, len(content), 60_000):
                    await app.send(chunk(content[at : at + 60_000]))
                await app.send(chunk(b""))

            sending = asyncio.create_task(send())
            reply = await app.read_body(await app.read_head("POST"), within=60)
            await sending
            assert len(results(reply)) == MANY
        assert 0 < most[Work] <= 16 + 1, "those under way, and the next"
        assert 0 < most[Sent] <= 16
        assert 0 < most[Call] <= 2 * 16 + 1, "each with its attempt, and the batch's own"
        await pod.assert_nothing_left()


async def test_a_slow_reader_stops_the_reading_of_lines(tmp_path: Path) -> None:
    """Results that nobody takes keep their places; so items are not sent, and lines not read."""
    async with Vendor.answering(answer(b"x" * 50_000)) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            line = lines_of([item("a", method="POST", body="y" * 50_000)])
            total = 600
            await open_lines(app)
            app.stop_reading()
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(total):
                    await app.send(chunk(line))
                    sent += 1
                await app.send(chunk(b""))

            sending = asyncio.create_task(send())
            batch = pod.sidecar._doors.egress[0]
            connection = next(iter(batch._connections))
            await pod.until(lambda: connection.is_write_paused, "the app's socket to be full")
            await pod.until(lambda: _is_still(connection), "the request to be paused")
            assert len(vendor.requests) < total
            assert sent < total
            request = connection._current
            assert request is not None
            assert request.body._buffered <= BUFFER_MAX + 128 * 1024
            app.go_on_reading()
            reply = await app.read_answer("POST")
            await sending
            assert len(results(reply)) == total
        await pod.assert_nothing_left()


def _is_still(connection: object) -> bool:
    request = getattr(connection, "_current")  # noqa: B009 - the connection's own
    return request is not None and request.body.is_paused


async def test_the_bound_on_items_ends_the_reading(tmp_path: Path) -> None:
    """Those within it have their results; the last line says that there was more."""
    async with Vendor.answering(OK) as vendor, Pod(tmp_path, vendor, config="[batch]\nitems_max = 3") as pod:
        async with pod.app() as app:
            reply = await send_lines(app, lines_of([item(n) for n in range(10)]))
            assert [one["status"] for one in results(reply)] == [200] * 3
            last = json.loads(reply.body.splitlines()[-1])
            assert (last["code"], last["counts"]["items"]) == ("body_too_large", 3)
            assert "items_max = 3" in last["detail"]
        await pod.assert_nothing_left()


async def test_a_request_that_breaks_off_is_told_at_the_end(tmp_path: Path) -> None:
    """What came before it has its results."""
    async with Vendor.answering(OK) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await open_lines(app)
            await app.send(chunk(lines_of([item("a"), item("b")]) + b'{"id":"half'), b"no chunk\r\n")
            reply = await app.read_answer("POST")
            assert [one["id"] for one in results(reply)] == ["a", "b"]
            assert json.loads(reply.body.splitlines()[-1])["code"] == "bad_request"
        await pod.assert_nothing_left()


async def test_an_app_that_hangs_up_ends_every_item(tmp_path: Path) -> None:
    """Also those that wait to be sent again."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.target == b"/fails":
            await exchange.send(answer(status=503))
        else:
            assert await exchange.read_some() == b""

    service = 'retry = { attempts_max = 1, backoff = "1h", backoff_max = "1h" }\ncircuit_breaker = false'
    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        async with pod.app() as app:
            await open_lines(app, url=f"{URL}?concurrency=2")
            await app.send(chunk(lines_of([item("a", "/fails"), item("b", "/fails"), item("c"), item("d"), item("e")])))
            await vendor.wait_for_request(4)
            app.reset()
        await pod.assert_nothing_left()


async def test_a_batch_in_lines_may_outlast_a_call(clock: ManualClock, tmp_path: Path) -> None:
    """Each item has the time of a call from when its line was read; `Sidecar-Timeout` ends the whole."""
    sidecar = 'load_balancer_timeout = "25s"\ntimeout_margin = "5s"'
    async with Standing(clock, tmp_path, 'timeout = "9s"\nretry = false', sidecar=sidecar) as it:
        it.vendor.takes = 8.0

        async def batch(*headers: str) -> list[dict[str, object]]:
            async with it.pod.app() as app:
                url = f"{URL}?concurrency=1"
                return results(await send_lines(app, lines_of([item(n) for n in range(5)]), *headers, url=url))

        began_at = clock.now()
        assert [one["status"] for one in await it.pod.play(batch())] == [200] * 5
        assert clock.now() - began_at == pytest.approx(40.0, abs=0.1)
        found = await it.pod.play(batch("Sidecar-Timeout: 20s"))
        assert [one["status"] for one in found] == [200, 200, 504, 504, 504]
        assert clock.now() - began_at == pytest.approx(60.0, abs=0.2)


async def test_a_batch_under_way_meets_the_config_of_each_item_s_time(tmp_path: Path) -> None:
    """A reload in the middle: what comes after it goes by the new rules."""
    async with Vendor.answering(OK) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await open_lines(app)
            held = bytearray()
            await app.send(chunk(lines_of([item("a")])))
            assert (await read_line(app, held))["status"] == 200
            pod._service = 'allow = ["GET /b"]'
            pod.write_config()
            assert (await pod.sidecar.reload())["ok"]
            await app.send(chunk(lines_of([item("a"), item("b")])))
            told = [await read_line(app, held) for _ in range(2)]
            assert {one["id"]: one["status"] for one in told} == {"a": 403, "b": 200}
            await app.send(chunk(b""))
            await read_line(app, held)
        await pod.assert_nothing_left()


async def test_a_drain_cuts_a_batch_off_visibly(tmp_path: Path) -> None:
    """The answer breaks off, so that no app takes half of it for all; nothing runs on."""

    async def play(exchange: Exchange) -> None:
        assert await exchange.read_some() == b""

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, sidecar="") as pod:
        async with pod.app() as app:
            await open_lines(app)
            await app.send(chunk(lines_of([item("a"), item("b")])))
            await vendor.wait_for_request(2)
            await pod.stop()
            raw = await app.read_until_closed()
            assert not raw.endswith(b"0\r\n\r\n")
        assert {line["outcome"] for line in await pod.calls(3)} == {"cancelled"}
