"""A batch in JSON: each item is a call of its own, and one that is bad hides no other."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from tests.kit.batch import JSON, URL, item, lines_of, results, send_lines, send_whole
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange, Request
from tests.kit.pod import Pod
from tests.kit.refusal import MEMBERS, assert_refusal
from tests.kit.standing import Standing
from tests.kit.vendor import Vendor, answer

OK = answer(b'{"ok": true}', headers=[(b"Content-Type", b"application/json")])


async def test_each_item_is_a_call_of_its_own(tmp_path: Path) -> None:
    """With its own id, line, headers, body and attempts; the answer keeps the order asked."""
    secret = 'auth = { kind = "bearer", secret = "files:key" }'
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, service=secret, base_path="/v2")
        pod.write_secret("key", "vendor-key")
        async with pod:
            async with pod.app() as app:
                items = [
                    item("a", "/a?x=%2F"),
                    item("b", method="POST", body={"n": 1.50}, headers={"X-Two": ["1", "2"], "Host": "evil"}),
                    item("c", method="PUT", body="text", headers={"content-type": "text/plain"}),
                    item("d", method="PATCH", body_base64=base64.b64encode(b"\xff\x00").decode()),
                    item("e", method="HEAD"),
                    item("f", "", method="POST"),
                ]
                reply = await send_whole(app, items, "X-Request-ID: mine", "Sidecar-App: nightly")
                assert (reply.value("Sidecar-Source"), reply.value("X-Request-ID")) == ("sidecar", "mine")
                found = results(reply)
                assert (await app.ask("GET", "/vendor/on")).status == 200, "the connection serves on"
            lines = {line["request_id"]: line for line in await pod.calls(8)}
            await pod.assert_nothing_left()
    assert [(one["id"], one["status"], one["outcome"], one["attempts"]) for one in found] == [
        (name, 200, "success", 1) for name in "abcdef"
    ]
    seen = {request.values("X-Request-ID")[0].decode(): request for request in vendor.requests}
    a, b, c, d, e, f = (seen[f"mine-{index}"] for index in range(6))
    assert (a.target, b.target, f.target) == (b"/v2/a?x=%2F", b"/v2/b", b"/v2")
    assert (b.body, b.values("Content-Type"), b.values("X-Two")) == (b'{"n": 1.5}', [b"application/json"], [b"1", b"2"])
    assert (c.body, c.values("Content-Type")) == (b"text", [b"text/plain"])
    assert (d.body, d.values("Content-Type"), e.method, f.values("Content-Length")) == (b"\xff\x00", [], "HEAD", [b"0"])
    assert all(request.values("Authorization") == [b"Bearer vendor-key"] for request in (a, b, c, d, e, f))
    assert all(request.values("Accept-Encoding") == [b"identity"] for request in (a, b, c, d, e, f))
    assert found[1]["body"]["target"] == "/v2/b"
    assert found[1]["headers"]["content-type"] == "application/json"
    assert "body" not in found[4]
    for index in range(6):
        line = lines[f"mine-{index}"]
        assert (line["service"], line["outcome"], line["attempts"], line["app"]) == ("vendor", "success", 1, "nightly")
    own = lines["mine"]
    assert (own["service"], own["path_template"], own["status"]) == ("", "/_sidecar/batch/{service}", 200)


async def test_one_bad_item_hides_no_other(tmp_path: Path) -> None:
    """Of what is refused before it is sent, each says why, as it would have been told alone."""
    bad = [
        (item("escapes", "/../x"), 400, "path_escapes"),
        (item("space", "/a b"), 400, "bad_request"),
        (item("request", "/a HTTP/1.1\r\nHost: evil\r\n\r\nGET /b"), 400, "bad_request"),
        (item("method", method="GET /x HTTP/1.1\r\nX:"), 405, "bad_request"),
        (item("trace", method="TRACE"), 405, "bad_request"),
        (item("header", headers={"X": "1\r\nEvil: 1"}), 400, "bad_request"),
        (item("name", headers={"X\r\nEvil": "1"}), 400, "bad_request"),
        (item("both", method="POST", body="a", body_base64="YQ=="), 400, "bad_request"),
        (item("base64", method="POST", body_base64="?"), 400, "bad_request"),
        (item("not allowed", "/secret"), 403, "not_allowed"),
        (item("large", "/large", "POST", body="x" * 2000), 413, "body_too_large"),
        (item("head", "/ok/" + "h" * 70_000), 431, "headers_too_large"),
        (item("field", "/ok/x", headers={"Sidecar-Timeout": "soon"}), 400, "bad_request"),
    ]
    service = 'allow = ["* /ok/**", "POST /large"]\nbody_max = "1KiB"'
    async with Vendor.answering(OK) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        async with pod.app() as app:
            items = [one for index, (wrong, *_) in enumerate(bad) for one in (item(index, f"/ok/{index}"), wrong)]
            found = results(await send_whole(app, items))
        assert [(one["status"], one["body"]) for one in found[::2]] == [(200, {"ok": True})] * len(bad)
        for one, (_, status, code) in zip(found[1::2], bad, strict=True):
            assert (one["status"], one["code"], one["outcome"], one["attempts"]) == (status, code, "rejected", 0), one
            assert list(one["body"]) == MEMBERS
            assert one["body"]["instance"] == one["request_id"]
            assert one["headers"] == {"content-type": "application/problem+json", "sidecar-error": code}
        assert len(vendor.requests) == len(bad)
        assert all(request.values("Evil") == [] for request in vendor.requests)
        lines = await pod.calls(2 * len(bad) + 1)
        assert len({line["request_id"] for line in lines}) == 2 * len(bad) + 1
        await pod.assert_nothing_left()


async def test_answers_of_every_kind_are_told(tmp_path: Path) -> None:
    """Statuses are the vendor's, a break in a body is that item's, and what is too large says so."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        match exchange.request.target:
            case b"/large":
                await exchange.send(answer(chunks=[b"x" * 1000] * 5))
            case b"/declared":
                await exchange.send(answer(b"x" * 5000))
            case b"/cut":
                await exchange.send(answer(b"x" * 1000)[:-100])
                await exchange.close()
            case b"/gone":
                await exchange.close()
            case b"/gzip":
                await exchange.send(answer(b"zip", headers=[(b"Content-Encoding", b"gzip")]))
            case b"/204":
                await exchange.send(b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n")
            case path:
                cookies = [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
                await exchange.send(answer(b"text", status=int(path[1:]), headers=cookies))

    wanted = {
        "large": (200, "failure", "answer_too_large", None),
        "declared": (200, "failure", "answer_too_large", None),
        "cut": (200, "failure", "upstream_reset", None),
        "gone": (502, "failure", "upstream_reset", None),
        "gzip": (200, "success", None, None),
        "204": (204, "success", None, None),
        "200": (200, "success", None, "text"),
        "404": (404, "success", None, "text"),
        "500": (500, "failure", None, "text"),
    }
    async with Vendor(play) as vendor, Pod(tmp_path, vendor, config='[batch]\nbody_max = "4000B"') as pod:
        async with pod.app() as app:
            found = results(await send_whole(app, [item(name) for name in wanted]))
        told = {
            one["id"]: (
                one["status"],
                one["outcome"],
                one.get("code"),
                one.get("body") if one["id"] != "gone" else None,
            )
            for one in found
        }
        assert told == wanted
        by_id = {one["id"]: one for one in found}
        assert by_id["gzip"]["body_base64"] == base64.b64encode(b"zip").decode()
        assert by_id["gone"]["body"]["code"] == "upstream_reset"
        assert by_id["200"]["headers"]["set-cookie"] == ["a=1", "b=2"]
        await pod.assert_nothing_left()


async def test_so_many_go_on_at_once_and_no_more(tmp_path: Path) -> None:
    """Eight unless the batch says otherwise; the rest waits for a place."""
    go_on = asyncio.Event()
    under_way = 0
    most: list[int] = []

    async def play(exchange: Exchange) -> None:
        nonlocal under_way
        under_way += 1
        most.append(under_way)
        await go_on.wait()
        under_way -= 1
        await exchange.send(OK)

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        for url, members, places in [(URL, {}, 8), (URL, {"concurrency": 3}, 3), (URL + "?concurrency=2", {}, 2)]:
            most.clear()
            go_on.clear()
            before = len(vendor.requests)
            async with pod.app() as app:
                asking = asyncio.create_task(send_whole(app, [item(n) for n in range(20)], url=url, **members))
                await vendor.wait_for_request(before + places)
                assert pod.snapshot()["services"]["vendor"]["calls_in_flight"] == places
                go_on.set()
                assert len(results(await asking)) == 20
            assert max(most) == places
        await pod.assert_nothing_left()


async def test_what_fails_first_is_sent_again_while_the_rest_goes_on(clock: ManualClock, tmp_path: Path) -> None:
    """Only what failed, with a pause that grows, and with one key for all its sendings."""
    seen: dict[bytes, int] = {}

    def says(request: Request) -> bytes:
        seen[request.target] = seen.get(request.target, 0) + 1
        is_well = seen[request.target] > 2 or request.target.startswith(b"/good")
        return OK if is_well else answer(b"later", status=503)

    service = 'retry = { attempts_max = 1, backoff = "2s" }\nidempotency = { header = "Idempotency-Key" }\n'
    service += "circuit_breaker = false"
    async with Standing(clock, tmp_path, service) as it:
        it.vendor.says = says

        async def batch() -> list[dict[str, object]]:
            async with it.pod.app() as app:
                items = [item("bad"), item("post", method="POST", body="1"), *[item(f"good{n}") for n in range(5)]]
                return results(await send_whole(app, items, concurrency=1))

        found = await it.pod.play(batch())
        assert [(one["id"], one["status"], one["attempts"]) for one in found[:2]] == [("bad", 200, 3), ("post", 200, 3)]
        assert [(one["status"], one["attempts"]) for one in found[2:]] == [(200, 1)] * 5
        assert seen == {b"/bad": 3, b"/post": 3, **{b"/good%d" % n: 1 for n in range(5)}}
        keys = {request.values("Idempotency-Key")[0] for request in it.vendor.requests if request.target == b"/post"}
        assert len(keys) == 1


async def test_a_repeated_batch_gets_the_answers_that_are_kept(tmp_path: Path) -> None:
    """An app that was restarted sends its batch again: what was done is told from the store, the rest is done."""
    service = 'retry = false\nidempotency = { header = "Idempotency-Key", replay = "1h" }'
    async with Vendor.answering(OK, answer(status=503), OK) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        items = [item(n, method="POST", headers={"Idempotency-Key": f"k{n}"}, body={"n": n}) for n in range(2)]
        async with pod.app() as app:
            found = results(await send_whole(app, items, concurrency=1))
            assert [(one["status"], one["attempts"]) for one in found] == [(200, 1), (503, 1)]
            found = results(await send_whole(app, [*items, items[0]], concurrency=1))
        assert [(one["status"], one["attempts"]) for one in found] == [(200, 0), (200, 1), (200, 0)]
        assert [one["headers"].get("idempotency-replayed") for one in found] == ["true", None, "true"]
        assert all(one["body"] == {"ok": True} for one in found)
        assert len(vendor.requests) == 3
        await pod.assert_nothing_left()


async def test_what_is_not_safe_to_repeat_is_not_repeated(tmp_path: Path) -> None:
    """A POST without a key that failed has its answer; a GET has no more than three sendings."""
    retry = 'retry = { attempts_max = 1, backoff = "1ms" }\ncircuit_breaker = false'
    async with Vendor.answering(answer(b"down", status=503)) as vendor, Pod(tmp_path, vendor, service=retry) as pod:
        async with pod.app() as app:
            items = [
                item("post", method="POST"),
                item("get"),
                item("limited", headers={"Sidecar-Attempts-Max": "2"}),
                item("keyed", method="POST", headers={"Idempotency-Key": "k"}),
            ]
            found = results(await send_whole(app, items))
        assert [(one["id"], one["status"], one["outcome"], one["attempts"]) for one in found] == [
            ("post", 503, "failure", 1),
            ("get", 503, "failure", 3),
            ("limited", 503, "failure", 2),
            ("keyed", 503, "failure", 3),
        ]
        await pod.assert_nothing_left()


async def test_a_rate_limit_slows_the_batch_down(clock: ManualClock, tmp_path: Path) -> None:
    """What finds no permit waits as long as it is told, in its place; also a POST, for it was not sent."""
    service = 'rate_limit = { rate = "2/s", burst = 2, wait_max = "0s" }\nretry = false'
    async with Standing(clock, tmp_path, service) as it:
        began_at = clock.now()

        async def batch() -> list[dict[str, object]]:
            async with it.pod.app() as app:
                return results(await send_whole(app, [item(n, method="POST") for n in range(12)], concurrency=4))

        found = await it.pod.play(batch())
        assert [(one["status"], one["outcome"], one["attempts"]) for one in found] == [(200, "success", 1)] * 12
        assert len(it.vendor.at) == 12
        assert all(sum(1 for at in it.vendor.at if start <= at < start + 1) <= 4 for start in it.vendor.at), (
            "never over the rate"
        )
        assert clock.now() - began_at >= 5


async def test_what_is_not_done_in_time_says_so(clock: ManualClock, tmp_path: Path) -> None:
    """The batch ends at its deadline with a result for each: done, under way, refused, or never begun."""
    async with Standing(clock, tmp_path, "retry = false") as it:
        it.vendor.takes = 3.0

        async def batch() -> list[dict[str, object]]:
            async with it.pod.app() as app:
                items = [item(n) for n in range(6)]
                return results(await send_whole(app, items, "Sidecar-Timeout: 5s", concurrency=2))

        began_at = clock.now()
        found = await it.pod.play(batch())
        assert clock.now() - began_at == pytest.approx(5.0, abs=0.1)
        assert [(one["status"], one["outcome"], one.get("code"), one["attempts"]) for one in found] == [
            *[(200, "success", None, 1)] * 2,
            *[(504, "failure", "deadline_exceeded", 1)] * 2,
            *[(504, "failure", "deadline_exceeded", 0)] * 2,
        ]
        assert len(await it.calls(7)) == 7, "each has its line"


async def test_a_vendor_that_cannot_be_reached_is_not_asked_without_end(clock: ManualClock, tmp_path: Path) -> None:
    """Nothing was sent, so any method goes again; but no more than three times, although there is time."""
    service = "retry = { attempts_max = 1 }\ncircuit_breaker = false"
    async with Standing(clock, tmp_path, service) as it:
        await it.vendor.__aexit__(None, None, None)

        async def batch() -> list[dict[str, object]]:
            async with it.pod.app() as app:
                return results(await send_whole(app, [item(n, method="POST") for n in range(10)]))

        found = await it.pod.play(batch())
        assert [(one["status"], one["code"], one["attempts"]) for one in found] == [(502, "connect_failed", 3)] * 10
        assert len(await it.calls(31)) == 31


async def test_an_item_s_own_timeout_is_for_all_its_sendings(clock: ManualClock, tmp_path: Path) -> None:
    """Whoever asks for two seconds does not wait for fifty."""
    service = 'rate_limit = { rate = "1/10s", burst = 1, wait_max = "20s" }'
    async with Standing(clock, tmp_path, service) as it:

        async def batch() -> list[dict[str, object]]:
            async with it.pod.app() as app:
                hurried = item("b", headers={"Sidecar-Timeout": "2s"})
                return results(await send_whole(app, [item("a"), hurried, item("c")], concurrency=3))

        began_at = clock.now()
        found = await it.pod.play(batch())
        assert [one["status"] for one in found] == [200, 429, 200]
        assert found[1]["code"] == "rate_limited"
        assert clock.now() - began_at == pytest.approx(10.0, abs=1.5)


async def test_a_batch_never_outlives_the_load_balancer(clock: ManualClock, tmp_path: Path) -> None:
    """Nobody would be there to read its answer."""
    sidecar = 'load_balancer_timeout = "25s"\ntimeout_margin = "5s"'
    async with Standing(clock, tmp_path, 'timeout = "8s"\nretry = false', sidecar=sidecar) as it:
        it.vendor.takes = 7.0

        async def batch() -> list[dict[str, object]]:
            async with it.pod.app() as app:
                return results(await send_whole(app, [item(n) for n in range(4)], "Sidecar-Timeout: 1h", concurrency=1))

        began_at = clock.now()
        found = await it.pod.play(batch())
        assert clock.now() - began_at == pytest.approx(20.0, abs=0.1)
        assert [one["status"] for one in found] == [200, 200, 504, 504]


async def test_an_app_that_hangs_up_ends_every_item(tmp_path: Path) -> None:
    """Nothing more is sent, and nothing is left."""

    async def play(exchange: Exchange) -> None:
        assert await exchange.read_some() == b""

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            content = json.dumps({"items": [item(n) for n in range(50)]}).encode()
            head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: {len(content)}\r\n\r\n"
            await app.send(head.encode() + content)
            await vendor.wait_for_request(8)
            app.reset()
        await vendor.wait_for_closed(8)
        await pod.assert_nothing_left()
        assert len(vendor.requests) == 8
        lines = await pod.calls(9)
        assert {line["outcome"] for line in lines} == {"cancelled"}
        assert len(lines) == 9


async def test_what_is_wrong_with_the_whole_is_told_at_once(tmp_path: Path) -> None:
    """As a problem of RFC 9457 that names every place; nothing is sent."""
    async with Vendor.answering(OK) as vendor:
        async with Pod(tmp_path, vendor, config='[batch]\nitems_max = 3\nrequest_max = "1KiB"') as pod:
            async with pod.app() as app:
                reply = await send_whole(app, [item("a"), {"id": 1}, 5])
                assert (reply.status, reply.value("Sidecar-Error")) == (400, "bad_request")
                assert list(reply.json()) == [*MEMBERS, "problems"]
                assert reply.json()["problems"] == [
                    "items[1].id: expected str, got int",
                    "items[2]: expected object, got int",
                ]
                reply = await app.ask("POST", URL, JSON, body=b"{")
                assert "cannot be read" in assert_refusal(reply, 400, "bad_request", "http_request_error")
                reply = await app.ask("POST", URL, JSON)
                assert "cannot be read" in assert_refusal(reply, 400, "bad_request", "http_request_error")
                reply = await send_whole(app, [item(n) for n in range(4)])
                assert "4 items" in assert_refusal(reply, 413, "body_too_large", "http_request_denied")
                reply = await app.ask("GET", URL)
                assert_refusal(reply, 405, "bad_request", "http_request_denied")
                assert reply.value("Allow") == "POST"
                reply = await app.ask("POST", URL, body=b"{}")
                assert "ndjson" in assert_refusal(reply, 415, "bad_request", "http_request_error")
                for name in ("other", "", "vendor/x", "_sidecar", "%76endor"):
                    reply = await send_whole(app, [], url=f"/_sidecar/batch/{name}")
                    assert "vendor" in assert_refusal(reply, 404, "unknown_service", "destination_not_found")
                for query in ("concurrency=0", "concurrency=65", "concurrency=x", "a=1", "concurrency=1&concurrency=2"):
                    reply = await send_whole(app, [], url=f"{URL}?{query}")
                    assert "concurrency" in assert_refusal(reply, 400, "bad_request", "http_request_error")
                assert results(await send_whole(app, [])) == []
            for framing in ("Content-Length: 5000", "Transfer-Encoding: chunked"):
                async with pod.app() as app:
                    head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n{framing}\r\n\r\n"
                    chunk = b"800\r\n" + b" " * 2048 + b"\r\n" if "chunked" in framing else b""
                    await app.send(head.encode() + chunk)
                    reply = await app.read_answer()
                    assert_refusal(reply, 413, "body_too_large", "http_request_denied")
            await pod.assert_nothing_left()
        assert vendor.requests == []


async def test_so_many_batches_go_on_at_once(tmp_path: Path) -> None:
    """Each may hold a request and an answer in memory, so beyond the bound they are shed."""
    go_on = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.send(OK)

    async with Vendor(play) as vendor, Pod(tmp_path, vendor, config="[batch]\nbatches_max = 1") as pod:
        async with pod.app() as first, pod.app() as second:
            asking = asyncio.create_task(send_whole(first, [item("a")]))
            await vendor.wait_for_request()
            reply = await send_whole(second, [item("b")])
            assert_refusal(reply, 503, "shed", "connection_limit_reached", retry_after=1)
            go_on.set()
            assert results(await asking)[0]["status"] == 200
            assert results(await send_lines(second, lines_of([item("b")])))[0]["status"] == 200
        await pod.assert_nothing_left()


async def test_items_take_their_places_in_the_pod_one_by_one(tmp_path: Path) -> None:
    """A batch of a hundred beside a bound of two calls is slow, and not shed."""
    async with Vendor.answering(OK) as vendor, Pod(tmp_path, vendor, config="[admission]\ncalls_max = 2") as pod:
        async with pod.app() as app:
            found = results(await send_whole(app, [item(n) for n in range(100)], concurrency=2))
        assert {one["status"] for one in found} == {200}
        await pod.assert_nothing_left()


async def test_an_answer_has_a_bound_as_a_whole(tmp_path: Path) -> None:
    """What does not fit is told without its body; the app knows that the vendor did it."""
    config = '[batch]\nanswer_max = "10KiB"'
    async with Vendor.answering(answer(b"x" * 3000)) as vendor, Pod(tmp_path, vendor, config=config) as pod:
        async with pod.app() as app:
            found = results(await send_whole(app, [item(n) for n in range(8)], concurrency=1))
        assert [one.get("code") for one in found] == [None] * 3 + ["answer_too_large"] * 5
        assert {one["status"] for one in found} == {200}
        assert [one["outcome"] for one in found[3:]] == ["failure"] * 5
        assert all("body" not in one and one["headers"] == {} for one in found[3:])
        await pod.assert_nothing_left()


async def test_a_door_keeps_its_rules_for_what_is_our_own(tmp_path: Path) -> None:
    """Host and token are looked at before the batch is; a listener of a service's own leads to the vendor alone."""
    service = 'listen = ["127.0.0.1:0"]'
    async with Vendor.answering(OK) as vendor:
        pod = Pod(tmp_path, vendor, service=service, listen='app_token = "files:token"')
        pod.write_secret("token", "app-token")
        async with pod:
            async with pod.app() as app:
                reply = await send_whole(app, [item("a")])
                assert_refusal(reply, 401, "app_token_missing", "http_request_denied")
                reply = await app.ask("POST", URL, JSON, "Sidecar-Token: app-token", host="evil.example")
                assert_refusal(reply, 403, "host_not_allowed", "http_request_denied")
                assert results(await send_whole(app, [item("a")], "Sidecar-Token: app-token"))[0]["status"] == 200
                reply = await send_whole(app, [], "Sidecar-Token: app-token", "Sec-Fetch-Site: cross-site")
                assert_refusal(reply, 403, "not_allowed", "http_request_denied")
            async with pod.app(pod.sidecar.egress_addresses[1]) as app:
                assert (await app.ask("GET", URL, "Sidecar-Token: app-token")).body == b'{"ok": true}'
        assert vendor.requests[-1].target == URL.encode()
