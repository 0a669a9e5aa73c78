"""What the app can get wrong, or we cannot take: each row of the contract's error table, over a real socket."""

import asyncio
import json
import secrets
from pathlib import Path

import pytest

from tests.kit.app import App
from tests.kit.pod import Pod
from tests.kit.refusal import assert_refusal
from tests.kit.vendor import Vendor, answer

ESCAPES = [
    "/..", "/../", "/../x", "/a/../../x", "/a/b/../../../x", "//../x", "/a//../../x", "/./../x",
    "/%2e%2e/x", "/%2E%2e/x", "/.%2e/x", "/%2e./x", "/%252e%252e/x", "/%252E%252E/x", "/%25252e%25252e/x",
    "/..\\x", "/..%5cx", "/..%5Cx", "/a\\..\\..\\x", "/%2f..%2f..", "/%2f../x", "/a%2f..%2f..%2fx", "/..%2fx",
    "/..%252fx", "/..;/x", "/..;a=b/x", "/%2e%2e;/x", "/..?a=b", "/.%252e/x",
]  # fmt: skip
STAYS = [
    "/./x",
    "/a/../b",
    "/a/..",
    "/...",
    "/..x",
    "/x..",
    "/a%2fb",
    "/a?x=/../../y",
    "/a?b=%2e%2e/",
    "/%41",
    "//x",
    "/",
]

BAD_HOSTS = [
    "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:4000", "2130706433", "0x7f000001",
    "0177.0.0.1", "127.1", "0.0.0.0", "0", "[::]", "[fe80::1]", "169.254.169.254", "10.0.0.1", "localhost:80:80",
    "localhost@evil.example", "evil.example#localhost", "xlocalhost", "localhost,evil.example", "", "[::1", "::1",
    "localhost.", "127.0.0.1/",
]  # fmt: skip
GOOD_HOSTS = [
    "localhost", "LOCALHOST", "localhost:4000", "localhost:1", "127.0.0.1", "127.0.0.1:4000", "127.9.9.9", "[::1]",
    "[::1]:4000", "pod.internal", "POD.internal:80",
]  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        (["Sidecar-Timeout: 2"], "unit"),
        (["Sidecar-Timeout: -1s"], "unit"),
        (["Sidecar-Timeout: 0s"], "unit"),
        (["Sidecar-Timeout: soon"], "unit"),
        (["Sidecar-Timeout: nans"], "unit"),
        (["Sidecar-Timeout:"], "unit"),
        (["Sidecar-Attempts-Max: 0"], "999"),
        (["Sidecar-Attempts-Max: -1"], "999"),
        (["Sidecar-Attempts-Max: many"], "999"),
        (["Sidecar-App: \xe4"], "ASCII"),
        ([f"Sidecar-App: {'a' * 129}"], "128"),
    ],
)
async def test_a_field_for_us_that_cannot_be_read_is_told(tmp_path: Path, headers: list[str], sentence: str) -> None:
    """`Sidecar-*` that is misspelt is not guessed at: 400, and the connection serves on, for its framing is whole."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            reply = await app.ask("GET", "/vendor/x", *headers)
            detail = assert_refusal(reply, 400, "bad_request", "http_request_error", service="vendor")
            assert sentence in detail
            assert (await app.ask("GET", "/vendor/x")).status == 200
        assert len(vendor.requests) == 1
        await pod.assert_nothing_left()


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ("GET /vendor/x HTTP/1.1", "Host"),
        ("GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nHost: localhost", "Host"),
        ("GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", "Host"),
        ("GET /vendor/x#y HTTP/1.1\r\nHost: localhost", ""),
        ("GET ftp://localhost/x HTTP/1.1\r\nHost: localhost", ""),
        ("GET vendor/x HTTP/1.1\r\nHost: localhost", ""),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost", ""),
        ("GET http://user:pass@localhost/vendor/x HTTP/1.1\r\nHost: localhost", ""),
        ("GET /vendor/x y HTTP/1.1\r\nHost: localhost", ""),
        ("GET /vendor/x\r\nHost: localhost", ""),
        ("GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nno colon", "malformed"),
        ("get /vendor/x HTTP/1.1\r\nHost: localhost", "malformed"),
        ("GET /vendor/\x01 HTTP/1.1\r\nHost: localhost", ""),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ""),  # TLS to a door that speaks plain HTTP.
    ],
)
async def test_what_is_not_a_request_is_refused(tmp_path: Path, head: str, sentence: str) -> None:
    """A malformed head gets a whole 400 by the contract; the vendor hears nothing, the next app is served."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(f"{head}\r\n\r\n".encode("latin-1"))
            name = "vendor" if "#" in head else ""  # Known only where the request could be read so far.
            reply = await app.read_answer()
            assert sentence in assert_refusal(reply, 400, "bad_request", "http_request_error", service=name)
        async with pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
        assert len(vendor.requests) == 1
        await pod.assert_nothing_left()


async def test_what_the_door_refuses_is_told_under_its_service(tmp_path: Path) -> None:
    """Where the service is known, it stands in the body, the line and the metric, whoever refused the call."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            replies = [
                await app.ask("GET", "/vendor/../../x"),
                await app.ask("GET", "/vendor/x", "Sidecar-Timeout: soon"),
                await app.ask("GET", "/nobody/x"),
            ]
        assert [reply.json()["service"] for reply in replies] == ["vendor", "vendor", ""]
        assert [line["service"] for line in await pod.calls(3)] == ["vendor", "vendor", ""]
        seen = (await asyncio.to_thread(pod.sidecar._grounds.metrics.exposition))[0].decode()
        assert 'service="vendor",source="sidecar",status="400"} 2.0' in seen
        assert 'service="",source="sidecar",status="404"} 1.0' in seen
        await pod.assert_nothing_left()


async def test_a_path_that_leaves_its_base_is_refused_in_every_form(tmp_path: Path) -> None:
    """Dots however they are written, by path, host name, own listener, and through HTTP_PROXY."""
    async with Vendor.echoing() as vendor, _pod_of_four_forms(tmp_path, vendor) as pod:
        own = pod.sidecar.egress_addresses[1]
        async with pod.app() as app, pod.app(own) as own_app:
            for path in ESCAPES:
                replies = [
                    await app.ask("GET", f"/vendor{path}"),
                    await app.ask("GET", path, host="vendor.localhost"),
                    await own_app.ask("GET", path),
                    await app.ask("GET", f"{vendor.url}/v2{path}", host=f"localhost:{vendor.port}"),
                ]
                for reply in replies:
                    assert reply.values("Sidecar-Error") == [b"path_escapes"], (path, reply)
                    assert_refusal(reply, 400, "path_escapes", "http_request_error", service="vendor")
        assert vendor.requests == []
        await pod.assert_nothing_left()


async def test_a_path_that_stays_below_its_base_goes_on_byte_for_byte(tmp_path: Path) -> None:
    """Dots that lead nowhere are the vendor's business, in every form of addressing."""
    async with Vendor.echoing() as vendor, _pod_of_four_forms(tmp_path, vendor) as pod:
        own = pod.sidecar.egress_addresses[1]
        async with pod.app() as app, pod.app(own) as own_app:
            for path in STAYS:
                replies = [
                    await app.ask("GET", f"/vendor{path}"),
                    await app.ask("GET", path, host="vendor.localhost"),
                    await own_app.ask("GET", path),
                    await app.ask("GET", f"{vendor.url}/v2{path}", host=f"localhost:{vendor.port}"),
                ]
                assert [reply.json()["target"] for reply in replies] == [f"/v2{path}"] * 4, path
        await pod.assert_nothing_left()


def _pod_of_four_forms(tmp_path: Path, vendor: Vendor) -> Pod:
    return Pod(tmp_path, vendor, base_path="/v2", service='listen = ["127.0.0.1:0"]')


async def test_without_the_app_token_nobody_comes_in(tmp_path: Path) -> None:
    """401 when it is missing, wrong, or twice; it is asked before the service's name is told."""
    token = secrets.token_hex(16)
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, listen='app_token = "files:app-token"')
        pod.write_secret("app-token", token + "\n")
        async with pod:
            async with pod.app() as app:
                for headers in ([], ["Sidecar-Token:"], [f"Sidecar-Token: {token}x"], [f"Sidecar-Token: {token[:-1]}"]):
                    reply = await app.ask("GET", "/unknown/x", *headers)
                    detail = assert_refusal(reply, 401, "app_token_missing", "http_request_denied")
                    assert token not in detail
                for path in (
                    "/livez",
                    "/readyz",
                    "/metrics",
                    "/healthz",
                    "/_sidecar/x",
                    "/vendor/healthz",
                    "/vendor/a?/livez",
                ):
                    reply = await app.ask("GET", path)  # No path is spared: others let in whatever holds "/healthz".
                    assert_refusal(reply, 401, "app_token_missing", "http_request_denied")
                assert vendor.requests == []
                seen = await app.ask("GET", "/vendor/x", f"Sidecar-Token: {token}")
                assert token not in seen.body.decode(), "the vendor is not told"
            await pod.assert_nothing_left()


async def test_a_host_that_is_not_the_pods_is_refused(tmp_path: Path) -> None:
    """DNS rebinding: a web page's own name, however it is dressed, gets 403."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, listen='hosts = ["pod.internal"]') as pod:
        async with pod.app() as app:
            for host in BAD_HOSTS:
                reply = await app.ask("GET", "/vendor/x", host=host)
                if host == "localhost.":  # The same name, fully qualified.
                    assert reply.status == 200
                    continue
                assert reply.values("Sidecar-Error") == [b"host_not_allowed"], host
                assert_refusal(reply, 403, "host_not_allowed", "http_request_denied")
            assert len(vendor.requests) == 1
            for host in GOOD_HOSTS:
                assert (await app.ask("GET", "/vendor/x", host=host)).status == 200, host
            assert (await app.ask("GET", "/x", host="vendor.localhost:4000")).status == 200
            assert_refusal(
                await app.ask("GET", "/x", host="x.localhost"), 404, "unknown_service", "destination_not_found"
            )
        await pod.assert_nothing_left()


async def test_what_no_rule_allows_is_refused(tmp_path: Path) -> None:
    """`allow` lists what passes; all else is 403 and never sent, also what dots would turn into another path."""
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, service='allow = ["GET /contacts/**", "POST /contacts"]')
        async with pod, pod.app() as app:
            for method, path in [
                ("POST", "/contacts/1"), ("DELETE", "/contacts/1"), ("GET", "/contact"), ("GET", "/"),
                ("GET", "/contacts/../admin"), ("GET", "/contacts/%2e%2e/admin"), ("GET", "/x?/contacts/1"),
            ]:  # fmt: skip
                reply = await app.ask(method, f"/vendor{path}")
                assert_refusal(reply, 403, "not_allowed", "http_request_denied", service="vendor")
            assert vendor.requests == []
            assert (await app.ask("GET", "/vendor/contacts/1?x")).status == 200
            assert (await app.ask("POST", "/vendor/contacts", body=b"{}")).status == 200


async def test_a_web_page_of_another_site_is_refused(tmp_path: Path) -> None:
    """A browser says what made it send; localhost is not for pages of other sites."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        reply = await app.ask("GET", "/vendor/x", "Sec-Fetch-Site: cross-site")
        assert_refusal(reply, 403, "not_allowed", "http_request_denied", service="vendor")
        assert vendor.requests == []


async def test_an_unknown_service_is_told_with_the_known_ones(tmp_path: Path) -> None:
    """404 with the names, so that a typing error shows."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, {"stripe": vendor, "crm": vendor}) as pod, pod.app() as app:
        for target, host in [
            ("/strip/v1", "localhost"), ("/", "localhost"), ("/Stripe/", "localhost"), ("/?/stripe/", "localhost"),
            ("/v1", "strip.localhost"), ("http://api.example/v1", "api.example"), ("/%73tripe/", "localhost"),
        ]:  # fmt: skip
            reply = await app.ask("GET", target, host=host)
            assert "crm, stripe" in assert_refusal(reply, 404, "unknown_service", "destination_not_found"), target
        own = await app.ask("GET", "/_sidecar/nothing")
        assert "sidecar's own" in assert_refusal(own, 404, "unknown_service", "destination_not_found")
        assert vendor.requests == []


async def test_a_body_that_says_it_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    """413 before the vendor is asked, and before `Expect: 100-continue` lets the body come."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, service='body_max = "1KiB"') as pod:
        async with pod.app() as app:
            head = "POST /vendor/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1025\r\nExpect: 100-continue\r\n\r\n"
            await app.send(head.encode())
            reply = await app.read_answer()
            assert reply.interim == []
            assert "1KiB" in assert_refusal(reply, 413, "body_too_large", "http_request_denied", service="vendor")
            assert reply.value("Connection") == "close"
        async with pod.app() as app:
            assert (await app.ask("POST", "/vendor/x", body=bytes(1024))).status == 200
        assert len(vendor.requests) == 1
        await pod.assert_nothing_left()


async def test_a_body_that_turns_out_too_large_is_cut_off_on_the_way(tmp_path: Path) -> None:
    """A chunked body does not say its length: the bound is held as it streams, and the vendor sees it break off."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, service='body_max = "256KiB"') as pod:
        async with pod.app() as app:
            await app.send(b"POST /vendor/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            await app.send(b"10000\r\n" + bytes(65536) + b"\r\n")
            await vendor.wait_for_head()
            for _ in range(4):
                await app.send(b"10000\r\n" + bytes(65536) + b"\r\n")
            reply = await app.read_answer()
            assert_refusal(reply, 413, "body_too_large", "http_request_denied", service="vendor", attempts=1)
            assert reply.value("Connection") == "close"
        assert (await vendor.wait_for_request()).is_cut_off
        assert (await pod.calls())[0]["outcome"] == "rejected"
        await pod.assert_nothing_left()


@pytest.mark.parametrize(
    "head",
    [
        "GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nX-Long: " + "a" * 5000,
        "GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n" + "\r\n".join(f"X-{n}: {n}" for n in range(600)),
        "GET /vendor/" + "a" * 5000 + " HTTP/1.1\r\nHost: localhost",
        "GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nX" + "a" * 5000 + ": x",
        "GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n" + "X: \r\n" * 1500 + "Y: ",
    ],
    ids=["one field", "many fields", "a long URL", "a long name", "empty fields"],
)
async def test_a_head_that_is_too_large_is_refused(tmp_path: Path, head: str) -> None:
    """431 for a head over `listen.head_max`, wherever its bytes are."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, listen='head_max = "4KiB"') as pod:
        async with pod.app() as app:
            await app.send(f"{head}\r\n\r\n".encode())
            detail = assert_refusal(await app.read_answer(), 431, "headers_too_large", "http_request_denied")
            assert "4 KiB" in detail
        assert vendor.requests == []
        await pod.assert_nothing_left()


@pytest.mark.parametrize("piece", [b"a", b"X: y\r\n"], ids=["one line", "many lines"])
async def test_a_head_without_an_end_is_refused(tmp_path: Path, piece: bytes) -> None:
    """What never ends is not collected: 431, soon after the bound."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, listen='head_max = "4KiB"') as pod:
        async with pod.app() as app:
            await app.send(b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
            reading = asyncio.create_task(app.read_answer())
            for _ in range(4 * 1024):
                if reading.done():
                    break
                try:
                    await app.send(piece * 100)
                except ConnectionError:
                    break
            assert_refusal(await reading, 431, "headers_too_large", "http_request_denied")
        assert vendor.requests == []
        await pod.assert_nothing_left()


async def test_more_calls_than_the_pod_takes_are_shed(tmp_path: Path) -> None:
    """`admission.calls_max`: 503 with Retry-After at once; when the first is done, the next comes in."""
    until = asyncio.Event()
    raw = answer(b"done")
    async with (
        Vendor.stalling(raw, 0, until) as vendor,
        Pod(tmp_path, vendor, config="[admission]\ncalls_max = 1") as pod,
    ):
        async with pod.app() as first, pod.app() as second:
            await first.send(b"GET /vendor/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await vendor.wait_for_request()
            reply = await second.ask("GET", "/vendor/2")
            assert_refusal(reply, 503, "shed", "connection_limit_reached", service="vendor", retry_after=1)
            until.set()
            assert (await first.read_answer()).body == b"done"
            await pod.until(lambda: not pod.snapshot()["calls_in_flight"], "the end of the call")
            assert (await second.ask("GET", "/vendor/3")).status == 200
        assert [request.target for request in vendor.requests] == [b"/1", b"/3"]
        await pod.assert_nothing_left()


async def test_more_connections_than_the_door_takes_are_shed(tmp_path: Path) -> None:
    """`listen.connections_max`: the answer says so by the contract, and the connection closes."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, listen="connections_max = 1") as pod:
        async with pod.app() as first:
            assert (await first.ask("GET", "/vendor/x")).status == 200
            async with pod.app() as second:
                reply = await second.read_answer()
                assert reply.status == 503
                assert reply.value("Connection") == "close"
                assert_refusal(reply, 503, "shed", "connection_limit_reached", retry_after=1)
                assert await second.read_until_closed() == b""
            assert (await first.ask("GET", "/vendor/x")).status == 200
        await pod.assert_nothing_left()
        async with pod.app() as third:
            assert (await third.ask("GET", "/vendor/x")).status == 200


async def test_a_line_before_the_pool_that_is_full_sheds(tmp_path: Path) -> None:
    """`pool.waiting_max`: who would be one too many is told at once; who waits is served in turn."""
    until = asyncio.Event()
    service = "pool = { connections_max = 1, waiting_max = 1 }"
    async with Vendor.stalling(answer(b"done"), 0, until) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        async with pod.app() as first, pod.app() as second, pod.app() as third:
            await first.send(b"GET /vendor/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await vendor.wait_for_request()
            await second.send(b"GET /vendor/2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await pod.until(lambda: pod.snapshot()["services"]["vendor"]["pool"]["waiting"] == 1, "one in line")
            reply = await third.ask("GET", "/vendor/3")
            detail = assert_refusal(
                reply, 503, "shed", "connection_limit_reached", service="vendor", attempts=1, retry_after=1
            )
            assert "pool.connections_max" in detail
            until.set()
            assert [(await app.read_answer()).status for app in (first, second)] == [200, 200]
        assert [request.target for request in vendor.requests] == [b"/1", b"/2"]
        await pod.assert_nothing_left()


async def test_a_request_that_ends_after_the_drain_began_is_told(tmp_path: Path) -> None:
    """The head was on its way when the pod began to stop: 503 `draining` with Retry-After, then the end."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        await app.send(b"GET /vendor/x HTTP/1.1\r\nHost: loc")
        await pod.until(lambda: pod.sidecar._doors.busy == 1, "half a head")
        stopping = asyncio.create_task(pod.stop())
        await pod.until(lambda: pod.sidecar._exchange.is_draining, "the drain")
        await app.send(b"alhost\r\n\r\n")
        reply = await app.read_answer()
        assert_refusal(reply, 503, "draining", "destination_unavailable", service="vendor", retry_after=1)
        assert reply.value("Connection") == "close"
        assert await app.read_until_closed() == b""
        await stopping
        assert vendor.requests == []


@pytest.mark.parametrize(
    ("reference", "content", "mode", "sentence"),
    [
        ("files:key", None, 0o600, "cannot be read"),
        ("files:key", "", 0o600, "empty"),
        ("files:key", "\n", 0o600, "empty"),
        ("files:key", "CANARY", 0o602, "anyone"),
        ("files:key", "CANARY\r\nX: y", 0o600, "line break"),
        ("files:key#token", "CANARY", 0o600, "not JSON"),
        ("files:key#token", '{"token": ', 0o600, "not JSON"),
        ("files:key#token", '{"other": "CANARY"}', 0o600, "token"),
        ("files:key#token", '{"token": ["CANARY"]}', 0o600, "token"),
        ("files:key#token", '["CANARY"]', 0o600, "token"),
    ],
)
async def test_a_secret_that_cannot_be_had_is_told_by_its_step(
    tmp_path: Path, reference: str, content: str | None, mode: int, sentence: str
) -> None:
    """502 that says which step failed, and nothing of what is stored; it works as soon as the file is right."""
    canary = secrets.token_hex(16)
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, service=f'auth = {{ kind = "bearer", secret = "{reference}" }}', level="debug")
        if content is not None:
            pod.write_secret("key", content.replace("CANARY", canary), mode)
        async with pod, pod.app() as app:
            reply = await app.ask("GET", "/vendor/x")
            detail = assert_refusal(
                reply, 502, "credential_unavailable", "proxy_internal_error", service="vendor"
            )  # fmt: skip
            assert sentence in detail
            assert canary not in detail
            assert vendor.requests == []
            assert canary not in json.dumps(await pod.log_lines())
            right = secrets.token_hex(16)
            pod.write_secret("key", json.dumps({"token": right}) if "#" in reference else right + "\n")
            await pod.sidecar._generation.shared.secrets.refresh()  # type: ignore[union-attr]  # It is running.
            assert f"Bearer {right}" in (await app.ask("GET", "/vendor/x")).body.decode()
            assert right not in json.dumps(await pod.log_lines())


async def test_a_tunnel_is_refused_with_the_reason(tmp_path: Path) -> None:
    """CONNECT would hide the calls: 405, what to do instead, and the end of the connection."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        for target in ("api.example:443", f"localhost:{vendor.port}", "vendor.localhost:443"):
            async with pod.app() as app:
                await app.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode() + b"\x16\x03\x01")
                reply = await app.read_answer()
                assert "HTTP_PROXY" in assert_refusal(reply, 405, "bad_request", "http_request_denied")
                assert reply.value("Allow")
                assert reply.value("Connection") == "close"
                assert await app.read_until_closed() == b""
        assert vendor.connections_opened == 0
        await pod.assert_nothing_left()


async def test_a_refusal_keeps_the_apps_request_id(tmp_path: Path) -> None:
    """The app finds its own id in the answer and in our line; one that cannot be kept is replaced."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        for given, is_kept in [
            ("a-1", True),
            ("x" * 128, True),
            ("x" * 129, False),
            ("a b", False),
            ("\xe4", False),
            ("", False),
        ]:
            reply = await app.ask("GET", "/unknown", f"X-Request-ID: {given}")
            assert_refusal(reply, 404, "unknown_service", "destination_not_found")
            assert (reply.value("X-Request-ID") == given) is is_kept, given
        lines = await pod.calls(6)
        assert [lines[0]["request_id"], lines[0]["outcome"], lines[0]["code"]] == ["a-1", "rejected", "unknown_service"]


async def test_a_refusal_in_the_middle_of_a_body_ends_after_the_answer(tmp_path: Path) -> None:
    """The rest of an unwanted body is not taken for a request; the answer arrives all the same."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(
                b"POST /unknown HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + bytes(10_000)
            )
            reply = await app.read_answer()
            assert_refusal(reply, 404, "unknown_service", "destination_not_found")
            assert reply.value("Connection") == "close"
            await app.send(b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert vendor.requests == []
        await pod.assert_nothing_left()


async def test_head_gets_a_refusal_without_its_body(tmp_path: Path) -> None:
    """A refusal to HEAD has the head alone, and the connection is in step afterwards."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        reply = await app.ask("HEAD", "/unknown")
        assert (reply.status, reply.value("Sidecar-Error")) == (404, "unknown_service")
        assert int(reply.value("Content-Length")) > 0
        assert isinstance(app, App)
        assert (await app.ask("GET", "/vendor/x")).status == 200
