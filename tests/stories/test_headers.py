"""What of a message's head goes on, in both directions, judged by the raw bytes at either end."""

import re
from pathlib import Path

import pytest

from sidecar import __version__
from tests.kit.app import Reply
from tests.kit.exchange import Request
from tests.kit.message import Fields
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"

DROPPED = [
    "Connection: keep-alive, X-Private, TE",
    "X-Private: between the app and us",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic cGxhY2U6aG9sZGVy",
    "TE: gzip",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "X-Forwarded-For: 10.1.2.3",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Host: shop.internal",
    "X-Forwarded-Client-Cert: By=spiffe://cluster/ns/shop",
    "Forwarded: for=10.1.2.3",
    "Via: 1.1 ingress",
    "X-Envoy-Attempt-Count: 1",
    "X-B3-TraceId: 80f198ee56343ba864fe8b2a57d3eff7",
    "l5d-dst-canonical: shop.svc",
    "X-Istio-Attributes: abc",
    "Sidecar-App: checkout",
    "Sidecar-Timeout: 5s",
    "Sidecar-Anything: else",
    "Authorization: Bearer placeholder",
    "Cookie: session=1",
]


async def sent(tmp_path: Path, *headers: str, service: str = "", body: bytes = b"", method: str = "GET") -> Request:
    """Call with these headers, and give what the vendor saw."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        async with pod.app() as app:
            reply = await app.ask(method, "/vendor/x", *headers, body=body)
        assert reply.status == 200, reply.body
        return vendor.requests[0]


async def came(tmp_path: Path, *fields: tuple[bytes, bytes], service: str = "") -> Reply:
    """Have the vendor answer with these fields, and give what the app saw."""
    async with (
        Vendor.answering(answer(b"ok", headers=list(fields))) as vendor,
        Pod(tmp_path, vendor, service=service) as pod,
        pod.app() as app,
    ):
        return await app.ask("GET", "/vendor/x")


def names(fields: Fields) -> set[str]:
    """Give the names that occur, in lower case."""
    return {name.decode().lower() for name, _ in fields}


# Towards the vendor.


async def test_the_vendor_sees_nothing_but_what_the_app_meant_for_it(tmp_path: Path) -> None:
    """Hop-by-hop fields, those of meshes and proxies, ours, and the app's own credentials stay in the pod."""
    request = await sent(tmp_path, *DROPPED)
    assert names(request.headers) == {"host", "user-agent", "x-request-id", "traceparent"}


@pytest.mark.parametrize("line", DROPPED)
async def test_each_of_these_fields_stays_here(line: str, tmp_path: Path) -> None:
    """Also when it comes alone, so that no other field is the reason."""
    request = await sent(tmp_path, line)
    name, _, value = line.partition(": ")
    if name != "X-Private":  # Nothing but `Connection` makes that one special.
        assert not request.values(name)
        assert len(value) < 4 or value.encode() not in request.raw_head


async def test_duplicates_order_and_spelling_survive(tmp_path: Path) -> None:
    """A signature over headers, and vendors that read them by position, depend on it."""
    lines = ["X-b: 1", "x-A: 2", "X-B: 3", "X-Empty:", "Accept: a, b", "accept: c", "X-Utf8: caf\xc3\xa9", "x-B: 1"]
    request = await sent(tmp_path, *lines)
    wanted = [tuple(line.encode("latin-1").split(b":", 1)) for line in lines]
    assert [(name, b" " + value if value else b"") for name, value in request.headers][1 : len(lines) + 1] == wanted


async def test_a_body_keeps_its_type_and_gets_one_length(tmp_path: Path) -> None:
    """Framing is each connection's own; everything that describes the content goes through."""
    lines = ["Content-Type: application/json", "Content-Encoding: identity", "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg=="]
    request = await sent(tmp_path, *lines, body=b"{}", method="POST")
    for line in lines:
        name, _, value = line.partition(": ")
        assert request.values(name) == [value.encode()]
    assert request.values("Content-Length") == [b"2"]
    assert request.values("Transfer-Encoding") == []


@pytest.mark.parametrize("wanted", ["Authorization", "Cookie"])
async def test_the_apps_own_credentials_go_on_where_the_service_says_so(wanted: str, tmp_path: Path) -> None:
    """`forward` names them one by one."""
    lines = ("Authorization: Bearer placeholder", "Cookie: a=1", "Cookie: b=2")
    request = await sent(tmp_path, *lines, service=f'forward = ["{wanted}"]')
    assert request.values("Authorization") == ([b"Bearer placeholder"] if wanted == "Authorization" else [])
    assert request.values("Cookie") == ([b"a=1", b"b=2"] if wanted == "Cookie" else [])


async def test_the_user_agent_is_ours_only_when_the_app_sends_none(tmp_path: Path) -> None:
    """SDKs say who they are, and vendors look at it."""
    assert (await sent(tmp_path)).values("User-Agent") == [f"sidecar/{__version__}".encode()]


async def test_the_apps_user_agent_is_kept(tmp_path: Path) -> None:
    """It is not replaced and not added to."""
    assert (await sent(tmp_path, "User-Agent: Shop/1 (x)")).values("User-Agent") == [b"Shop/1 (x)"]


async def test_respond_async_is_taken_out_of_prefer_and_the_rest_goes_on(tmp_path: Path) -> None:
    """The preference (RFC 7240) is asked of us; others are the vendor's."""
    lines = ("Prefer: respond-async, return=minimal", "Prefer: Respond-Async; x=1", "prefer: wait=10")
    assert (await sent(tmp_path, *lines)).values("Prefer") == [b"return=minimal", b"wait=10"]


async def test_an_idempotency_key_of_the_apps_goes_on(tmp_path: Path) -> None:
    """Without a policy of ours it is the vendor's business."""
    assert (await sent(tmp_path, "Idempotency-Key: order-1")).values("Idempotency-Key") == [b"order-1"]


async def test_trailers_are_offered_only_if_the_app_takes_them(tmp_path: Path) -> None:
    """`TE: trailers` is the one value of a hop-by-hop field that is the app's wish, so we make it ours."""
    request = await sent(tmp_path, "TE: trailers, deflate", "Connection: TE")
    assert request.values("TE") == [b"trailers"]
    assert request.values("Connection") == [b"TE"]


# Request id and trace.


@pytest.mark.parametrize("given", ["a", "order-17/2:x~!", "x" * 128])
async def test_a_request_id_of_visible_ascii_is_kept(given: str, tmp_path: Path) -> None:
    """It is the same at the vendor, at the app and in the log line."""
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        Pod(tmp_path, vendor) as pod,
        pod.app() as app,
    ):
        reply = await app.ask("GET", "/vendor/x", f"X-Request-ID: {given}")
        assert reply.value("X-Request-ID") == given
        assert vendor.requests[0].values("X-Request-ID") == [given.encode()]
        assert (await pod.calls())[0]["request_id"] == given


@pytest.mark.parametrize("lines", [[], ["x" * 129], ["two words"], [""], ["caf\xe9"], ["one", "two"], ["tab\tbed"]])
async def test_any_other_request_id_is_replaced_by_one_of_ours(lines: list[str], tmp_path: Path) -> None:
    """What an app sends may come from its own users, and ends up in logs here and at the vendor."""
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        Pod(tmp_path, vendor) as pod,
        pod.app() as app,
    ):
        reply = await app.ask("GET", "/vendor/x", *(f"X-Request-ID: {line}" for line in lines))
        made = reply.value("X-Request-ID")
        assert re.fullmatch("[0-9a-f]{32}", made)
        assert vendor.requests[0].values("X-Request-ID") == [made.encode()]


async def test_a_trace_is_continued_with_a_span_of_ours(tmp_path: Path) -> None:
    """The vendor's parent is this hop, in the app's trace; `tracestate` goes on as it came."""
    lines = (f"traceparent: 00-{TRACE}-{SPAN}-01", "tracestate: rojo=00f067aa0ba902b7", "tracestate: congo=t61rcWkgMzE")
    request = await sent(tmp_path, *lines)
    version, trace, span, flags = request.values("traceparent")[0].decode().split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != SPAN
    assert re.fullmatch("[0-9a-f]{16}", span)
    assert b",".join(request.values("tracestate")).replace(b" ", b"") == b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"


@pytest.mark.parametrize(
    "given", ["", "nonsense", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{SPAN}-01"]
)
async def test_a_trace_is_started_where_there_is_none(given: str, tmp_path: Path) -> None:
    """What does not parse is no trace; then a `tracestate` belongs to nothing and stays here."""
    lines = [f"traceparent: {given}"] if given else []
    request = await sent(tmp_path, *lines, "tracestate: rojo=1")
    version, trace, span, flags = request.values("traceparent")[0].decode().split("-")
    assert (version, flags) == ("00", "00")
    assert re.fullmatch("[0-9a-f]{32}", trace)
    assert trace != TRACE
    assert re.fullmatch("[0-9a-f]{16}", span)
    assert request.values("tracestate") == []


# Towards the app.


async def test_every_answer_says_its_request_id_its_source_and_its_attempts(tmp_path: Path) -> None:
    """From the vendor, and made by the sidecar after an attempt and before any."""
    async with (
        Vendor.answering(answer(b"ok"), b"garbage\r\n\r\n") as vendor,
        Pod(tmp_path, vendor, service='allow = ["GET /**"]') as pod,
        pod.app() as app,
    ):
        for method, target, source, attempts, status in (
            ("GET", "/vendor/x", "upstream", "1", 200),
            ("GET", "/vendor/x", "sidecar", "1", 502),
            ("POST", "/vendor/x", "sidecar", "0", 403),
            ("GET", "/unknown", "sidecar", "0", 404),
        ):
            reply = await app.ask(method, target)
            assert reply.status == status
            assert reply.value("Sidecar-Source") == source
            assert reply.value("Sidecar-Attempts") == attempts
            assert len(reply.value("X-Request-ID")) == 32
            if source == "sidecar":
                assert reply.value("Content-Type") == "application/problem+json"
                assert reply.json()["code"] == reply.value("Sidecar-Error")
                assert reply.json()["instance"] == reply.value("X-Request-ID")
                assert reply.json()["attempts"] == int(attempts)
                assert reply.value("Proxy-Status").startswith("sidecar; error=")


async def test_what_is_of_the_vendors_connection_does_not_reach_the_app(tmp_path: Path) -> None:
    """Hop-by-hop fields, also those that `Connection` names."""
    reply = await came(
        tmp_path,
        (b"Connection", b"X-Hop, keep-alive"),
        (b"X-Hop", b"between the vendor and us"),
        (b"Keep-Alive", b"timeout=7"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Upgrade", b"h2c"),
        (b"X-Kept", b"1"),
    )
    ours = {"x-request-id", "sidecar-source", "sidecar-attempts"}
    assert names(reply.headers) == {"x-kept", "content-length"} | ours


async def test_a_vendor_cannot_speak_for_the_sidecar(tmp_path: Path) -> None:
    """An app branches on `Sidecar-Error`, so only ours may be there; the request id is the call's own."""
    reply = await came(
        tmp_path,
        (b"Sidecar-Source", b"cache"),
        (b"Sidecar-Attempts", b"9"),
        (b"Sidecar-Error", b"circuit_open"),
        (b"X-Request-ID", b"of-the-vendor"),
    )
    assert reply.value("Sidecar-Source") == "upstream"
    assert reply.value("Sidecar-Attempts") == "1"
    assert reply.values("Sidecar-Error") == []
    assert re.fullmatch("[0-9a-f]{32}", reply.value("X-Request-ID"))


async def test_the_answers_duplicates_order_and_spelling_survive(tmp_path: Path) -> None:
    """Two cookies are two fields; they cannot be joined."""
    fields = [
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"x-Rate", b"5"),
        (b"set-cookie", b"b=2"),
        (b"Vary", b"a"),
        (b"Vary", b"b"),
        (b"X-Latin", b"caf\xe9"),
        (b"X-Empty", b""),
    ]
    reply = await came(tmp_path, *fields)
    assert reply.headers[: len(fields)] == fields


async def test_header_rules_work_in_both_directions(tmp_path: Path) -> None:
    """Removed, set and added, towards the vendor and towards the app."""
    service = """
headers = { set = { "X-Team" = "checkout" }, add = { "Accept" = "text/plain" }, remove = ["X-Debug"] }
response_headers = { set = { "Cache-Control" = "no-store" }, remove = ["Server", "X-Team"] }
api_version = { value = "2026-04-01", header = "Api-Version" }
"""
    async with (
        Vendor.answering(answer(b"ok", headers=[(b"Server", b"v"), (b"cache-control", b"private")])) as vendor,
        Pod(tmp_path, vendor, service=service) as pod,
        pod.app() as app,
    ):
        reply = await app.ask("GET", "/vendor/x", "x-team: 1", "Accept: */*", "x-debug: 1", "api-version: 1")
        request = vendor.requests[0]
        assert request.values("X-Team") == [b"checkout"]
        assert request.values("Accept") == [b"*/*", b"text/plain"]
        assert request.values("X-Debug") == []
        assert request.values("Api-Version") == [b"2026-04-01"]
        assert reply.values("Server") == []
        assert reply.values("Cache-Control") == [b"no-store"]


# At the door.


async def test_a_browser_on_another_site_is_refused(tmp_path: Path) -> None:
    """The pod's credentials are for the app, not for a page that somebody has open."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        reply = await app.ask("POST", "/vendor/x", "Sec-Fetch-Site: cross-site", "Origin: https://evil.example")
        assert (reply.status, reply.value("Sidecar-Error")) == (403, "not_allowed")
        for kind in ("same-origin", "same-site", "none"):
            assert (await app.ask("GET", "/vendor/x", f"Sec-Fetch-Site: {kind}")).status == 200
        assert len(vendor.requests) == 3


@pytest.mark.parametrize(
    "line", ["Sidecar-Timeout: 2", "Sidecar-Timeout: 0s", "Sidecar-Attempts-Max: 0", "Sidecar-App: caf\xe9"]
)
async def test_what_cannot_be_read_is_told(line: str, tmp_path: Path) -> None:
    """A wish that would silently do nothing is worse than a refusal."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        reply = await app.ask("GET", "/vendor/x", line)
        assert (reply.status, reply.value("Sidecar-Error")) == (400, "bad_request")
        assert line.partition(":")[0] in reply.json()["detail"]
        assert not vendor.requests


async def test_an_app_token_is_asked_for_and_goes_nowhere(tmp_path: Path) -> None:
    """With `listen.app_token` only the app that knows it is served; the vendor never sees it."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, listen='app_token = "files:app"')
        pod.write_secret("app", "made-at-run-time\n")
        async with pod, pod.app() as app:
            for lines in ([], ["Sidecar-Token: wrong"], ["Sidecar-Token: made-at-run-timex"]):
                reply = await app.ask("GET", "/vendor/x", *lines)
                assert (reply.status, reply.value("Sidecar-Error")) == (401, "app_token_missing")
            assert (await app.ask("GET", "/vendor/x", "Sidecar-Token: made-at-run-time")).status == 200
        assert len(vendor.requests) == 1
        assert b"made-at-run-time" not in vendor.requests[0].raw_head
