"""Secrets while they change, and secrets that must never show."""

import asyncio
import base64
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import aiohttp
import pytest

from sidecar.app import WATCH_EVERY
from sidecar.cli import main
from sidecar.core.call import Call, Reply
from sidecar.layers.running import Service
from tests.kit.app import App
from tests.kit.exchange import Request
from tests.kit.mount import Mount
from tests.kit.pod import Pod
from tests.kit.process import free_ports
from tests.kit.vendor import Vendor, answer

BEARER = 'auth = { kind = "bearer", secret = "files:key" }'
SLACK = 2.0  # Seconds above the watch interval, for a machine that is busy.


async def test_a_swapped_secret_is_used_without_one_failed_call(tmp_path: Path) -> None:
    """Rotation needs no restart: under load the vendor sees the old value, then the new one, and nothing else."""
    first, second = secrets.token_hex(16), secrets.token_hex(16)
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, service=BEARER)
        mounted = Mount(pod.secrets)
        mounted.write({"key": f"{first}\n"})
        async with pod:
            seen: list[bytes] = []
            statuses: set[int] = set()

            async def load() -> None:
                async with pod.app() as app:
                    while True:
                        statuses.add((await app.ask("GET", "/vendor/x")).status)

            loaders = [asyncio.create_task(load()) for _ in range(3)]
            await vendor.wait_for_request(20)
            mounted.write({"key": f"{second}\n"})
            swapped_at = time.monotonic()
            new = f"Bearer {second}".encode()
            await vendor.until(lambda: vendor.requests[-1].values("Authorization") == [new], "the new secret")
            took = time.monotonic() - swapped_at
            count = len(vendor.requests)
            await vendor.wait_for_request(count + 20)
            for loader in loaders:
                loader.cancel()
            await asyncio.gather(*loaders, return_exceptions=True)
            assert statuses == {200}
            assert took <= WATCH_EVERY + SLACK
            seen = [value for request in vendor.requests for value in request.values("Authorization")]
            assert set(seen) == {f"Bearer {first}".encode(), new}
            assert seen == sorted(seen, key=lambda value: value == new) or seen.index(new) >= count - 10
            reads = [line for line in await pod.log_lines() if line["msg"] == "secret_read"]
            assert len(reads) == 2
            assert len({line["version"] for line in reads}) == 2


async def test_a_deleted_secret_goes_on_with_its_last_value_and_says_so_once(tmp_path: Path) -> None:
    """An outage of the store is not an outage of the vendor; when it is over, the new value is taken."""
    first, second = secrets.token_hex(16), secrets.token_hex(16)
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, service=BEARER)
        pod.write_secret("key", first)
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
            (pod.secrets / "key").unlink()
            refresh = pod.sidecar._generation.shared.secrets.refresh  # type: ignore[union-attr]
            for _ in range(3):  # What the watch does each second.
                await refresh()
            assert (await app.ask("GET", "/vendor/x")).status == 200
            pod.write_secret("key", second)
            await refresh()
            assert (await app.ask("GET", "/vendor/x")).status == 200
            lines = [line for line in await pod.log_lines() if line["msg"] == "secret_unreadable"]
            assert [line["secret"] for line in lines] == ["files:key"]
        seen = [request.values("Authorization")[0] for request in vendor.requests]
        assert seen == [f"Bearer {value}".encode() for value in (first, first, second)]


async def test_a_secret_that_comes_later_is_taken_without_a_restart(tmp_path: Path) -> None:
    """A pod may start before its secret is mounted: the call says what is missing, and soon works."""
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        Pod(tmp_path, vendor, service=BEARER) as pod,
        pod.app() as app,
    ):
        reply = await app.ask("GET", "/vendor/x")
        assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
        assert "secret" in reply.json()["detail"]
        assert not vendor.requests
        pod.write_secret("key", "made-at-run-time")
        await pod.sidecar._generation.shared.secrets.refresh()  # type: ignore[union-attr]
        assert (await app.ask("GET", "/vendor/x")).status == 200
        assert vendor.requests[0].values("Authorization") == [b"Bearer made-at-run-time"]


# Canaries.


def canary() -> str:
    """Make a value that looks different in every coding, and cannot be anywhere by chance."""
    return f"{secrets.token_hex(6)}/+&=?~{secrets.token_hex(6)}"


def codings(value: str, user: str = "") -> Iterator[bytes]:
    """Give every form in which a value might show: whole or in half, URL-encoded, base64 at any offset, Basic, hex."""
    raw = value.encode()
    yield from (raw, raw[:12], raw[-12:])
    yield quote(value, safe="").encode()
    yield quote(value, safe="").lower().encode()
    yield quote(value).encode()
    yield quote_plus(value).encode()
    yield raw.hex().encode()
    yield raw.replace(b"/", b"\\/")
    yield base64.b64encode(f"{user}:{value}".encode()).rstrip(b"=")
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + raw)
        middle = whole[4:-4]
        yield middle
        yield middle.replace(b"+", b"-").replace(b"/", b"_")


def telltale(request: Request) -> bytes:
    """Fail as the most talkative vendor would: everything that came goes back, in every coding, in head and body."""
    if request.target.startswith(b"/fine"):
        return answer(b"ok")
    sent = b"|".join([request.target, *(value for _, value in request.headers)])
    cut = b"x" * (2048 - 40) if request.target.startswith(b"/long") else b""
    coded = base64.b64encode(sent) + b"|" + quote(sent, safe="").encode() + b"|" + sent.hex().encode()
    body = cut + b'{"error": {"request": "' + sent.replace(b'"', b"'") + b'", "coded": "' + coded + b'"}}'
    fields = [(b"X-Echo", sent), (b"Content-Type", b"application/json"), (b"Set-Cookie", b"echo=" + coded[:2000])]
    return answer(body, status=500, reason=b"Oh", headers=fields)


@pytest.fixture
def broken_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the way back of calls below /broken, with an error that tells everything it knows."""
    handle = Service.handle

    async def handle_or_break(self: Service, call: Call) -> Reply:
        try:
            return await handle(self, call)
        finally:
            if b"/broken" in call.target:
                raise RuntimeError(f"it broke with {call.headers} and {call.target!r}")

    # The service, since the layers themselves may be compiled, and do not see what is put in their place.
    monkeypatch.setattr(Service, "handle", handle_or_break)


async def test_no_canary_is_found_in_anything_written(
    tmp_path: Path, broken_layer: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every secret, after every way for a call to end, at level debug, in every coding: nowhere."""
    known = {name: canary() for name in ("bearer", "query", "header", "basic", "app", "proxy", "spoiled")}
    shown = {name: canary() for name in ("authorization", "cookie", "key")}
    [closed] = free_ports(1)
    proxied = (
        f'[services.proxied]\nbase_url = "http://api.example"\nupstream_proxy = "http://127.0.0.1:{closed}"\n'
        'upstream_proxy_auth = { username = "pod", password = "files:proxy" }\nallow_private = true\n'
    )
    services = {
        "bearer": 'auth = { kind = "bearer", secret = "files:bearer" }\nallow = ["GET /**"]',
        "query": 'auth = { kind = "api_key", in = "query", name = "key", secret = "files:query" }',
        "header": 'auth = { kind = "api_key", name = "X-Odd", secret = "files:document#inner.value" }',
        "basic": 'auth = { kind = "basic", username = "checkout", secret = "files:basic" }',
        "spoiled": 'auth = { kind = "bearer", secret = "files:spoiled" }',
        "missing": 'auth = { kind = "bearer", secret = "files:missing" }',
    }
    never = asyncio.Event()
    async with (
        Vendor.answering(telltale) as vendor,
        Vendor.stalling(b"HTTP/1.1 200 OK\r\n", 5, never) as stalled,
        Vendor.answering(lambda request: b"garbage " + request.raw_head + b"\r\n\r\n") as garbage,
        Vendor.cutting(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc", 20) as broken_off,
    ):
        own = services["bearer"].partition("\n")[0]
        pod = Pod(
            tmp_path,
            dict.fromkeys(services, vendor)
            | {"stalled": stalled, "garbage": garbage, "cut": broken_off, "closed": f"http://127.0.0.1:{closed}"},
            service=services | dict.fromkeys(("stalled", "garbage", "cut", "closed"), own),
            listen='app_token = "files:app"',
            config=f'{proxied}[audit]\nfile = "{tmp_path / "audit.log"}"\n',
            level="debug",
        )
        pod.expected_faults = {"internal", "library"}
        for name, value in known.items():
            pod.write_secret(name, value + "\n")
        pod.write_secret("document", '{"inner.value": "' + known["header"] + '"}')
        pod.write_secret("spoiled", f"{known['spoiled']}\n{known['spoiled']}\n")
        async with pod:
            codes = await drive(pod, known, shown)
            assert codes >= {
                "", "not_allowed", "path_escapes", "bad_request", "unknown_service", "app_token_missing",
                "credential_unavailable", "deadline_exceeded", "upstream_protocol", "upstream_reset",
                "connect_failed", "internal", "host_not_allowed", "500",
            }  # fmt: skip
            places = await everything(pod)
        places["log at the end"] = pod.log_file.read_bytes()
        places["audit"] = (tmp_path / "audit.log").read_bytes()
    for options in ([], ["--json"]):
        assert await asyncio.to_thread(main, ["show", "config", "-c", str(pod.config_file), *options]) == 0
    captured = capsys.readouterr()
    places["show config"] = (captured.out + captured.err).encode()
    assert b'"msg":"internal"' in places["log at the end"], "the broken layer was not reached"
    assert places["audit"].count(b'"kind":"call"') > 20
    assert b'"response_start":"{' in places["log at the end"], "no body of a failed answer was written"
    found = [
        (name, where, coding)
        for name, value in (known | shown).items()
        for coding in codings(value, "checkout")
        for where, text in places.items()
        if coding in text
    ]
    assert found == []


async def drive(pod: Pod, known: dict[str, str], shown: dict[str, str]) -> set[str]:
    """Make every kind of call; give the error codes (or "", or the vendor's 5xx) that came back."""
    token = f"Sidecar-Token: {known['app']}"
    own = [token, f"Authorization: Bearer {shown['authorization']}", f"Cookie: a={shown['cookie']}"]
    codes = set()
    for target in (
        "/bearer/fine", "/query/fine", "/header/fine", "/basic/fine",
        "/bearer/fails", "/query/fails?a=1", "/header/fails", "/basic/fails",
        "/bearer/long", "/query/long", "/header/long", "/basic/long",
        f"/query/fails?key={quote(shown['key'], safe='')}&b=2",
        "/bearer/broken", "/query/broken", "/header/broken", "/basic/broken",
        "/spoiled/x", "/missing/x", "/stalled/x", "/garbage/x", "/cut/x", "/closed/x", "/proxied/x",
        "/bearer/../../x", f"/unknown/{quote(shown['key'], safe='')}",
    ):  # fmt: skip
        codes.add(await code_of(pod, "GET", target, *own, "Sidecar-Timeout: 400ms"))
    codes.add(await code_of(pod, "POST", "/bearer/fine", *own))
    codes.add(await code_of(pod, "GET", "/bearer/fine", *own[1:]))
    codes.add(await code_of(pod, "GET", "/bearer/fine", *own, "Sidecar-Timeout: soon"))
    codes.add(await code_of(pod, "GET", "/bearer/fine", *own, host="evil.example"))
    for raw in (
        f"GET /bearer/x HTTP/1.1\r\nHost: localhost\r\nAuthorization : Bearer {shown['authorization']}\r\n\r\n",
        f"GET /bearer/x HTTP/1.1\r\nHost: localhost\r\nCookie: {shown['cookie']}\0\r\n\r\n",
        f"{shown['key']}\r\n\r\n",
    ):
        for door in (pod.address, pod.sidecar.address("admin"), pod.sidecar.address("telemetry")):
            async with App.to(door) as app:
                await app.send(raw.encode())
                assert b" 400 " in await app.read_until_closed()
    codes.add("bad_request")
    return codes


async def code_of(pod: Pod, method: str, target: str, *headers: str, host: str = "localhost") -> str:
    """Call, and give the error code; the status where a vendor's own failure was passed on."""
    async with pod.app() as app:
        reply = await app.ask(method, target, *headers, host=host)
    codes = reply.values("Sidecar-Error")
    if codes:
        return codes[0].decode()
    return "" if reply.status < 500 else str(reply.status)


async def everything(pod: Pod) -> dict[str, bytes]:
    """Gather what the sidecar tells to anybody but the app and the vendor."""
    places = {}
    urls = [f"http://{pod.sidecar.address('telemetry')}/metrics"]
    admin = f"http://{pod.sidecar.address('admin')}"
    urls += [admin + path for path in ("/", "/api/services", "/api/services/bearer", "/api/config", "/api/nothing")]
    async with aiohttp.ClientSession() as session:
        for url in urls:
            async with session.get(url) as reply:
                places[url.partition("//")[2].partition("/")[2]] = await reply.read()
        async with session.post(f"{admin}/api/reload") as reply:
            places["reload"] = await reply.read()
    return places
