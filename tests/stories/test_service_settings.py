"""What a service's settings do to a call, seen from both ends."""

import base64
import json
import secrets
from pathlib import Path

import pytest

from tests.kit.app import Reply
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.refusal import assert_refusal
from tests.kit.vendor import Vendor, answer


async def ask(pod: Pod, target: str, *headers: str, method: str = "GET") -> Reply:
    """Ask on a connection of its own."""
    async with pod.app() as app:
        return await app.ask(method, target, *headers)


# Credentials.


@pytest.mark.parametrize(
    ("auth", "field"),
    [
        ('{ kind = "bearer", secret = "files:key" }', "Authorization: Bearer KEY"),
        ('{ kind = "bearer", secret = "files:key", prefix = "token " }', "Authorization: token KEY"),
        ('{ kind = "api_key", secret = "files:key" }', "X-Api-Key: KEY"),
        ('{ kind = "api_key", secret = "files:key", name = "DD-API-KEY" }', "DD-API-KEY: KEY"),
        ('{ kind = "basic", username = "checkout", secret = "files:key" }', "Authorization: Basic BASIC"),
        ('{ kind = "api_key", secret = "files:json#live", in = "header" }', "X-Api-Key: KEY"),
    ],
)
async def test_a_credential_is_put_on_in_place_of_the_apps(auth: str, field: str, tmp_path: Path) -> None:
    """Each static kind; what the app or its SDK sent there is gone, and the app's answer does not hold ours."""
    key = secrets.token_hex(16)
    name, _, value = field.partition(": ")
    in_basic = base64.b64encode(f"checkout:{key}".encode()).decode()
    value = value.replace("KEY", key).replace("BASIC", in_basic)
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, service=f"auth = {auth}")
        pod.write_secret("key", f"{key}\n")
        pod.write_secret("json", json.dumps({"live": key}))
        async with pod:
            reply = await ask(pod, "/vendor/x?limit=3", f"{name}: placeholder", "Authorization: Bearer placeholder")
            assert reply.body == b"ok"
            assert vendor.requests[0].values(name) == [value.encode()]
            assert b"placeholder" not in vendor.requests[0].raw_head
            assert vendor.requests[0].target == b"/x?limit=3"
            await pod.assert_nothing_left()
        assert key.encode() not in pod.log_file.read_bytes()


async def test_a_key_in_the_query_takes_the_place_of_the_apps(tmp_path: Path) -> None:
    """The rest of the query stays byte for byte; the key is in no line, also of a call that failed."""
    key = secrets.token_hex(16)
    async with Vendor.answering(answer(b"no", status=500)) as vendor:
        auth = 'auth = { kind = "api_key", in = "query", name = "key", secret = "files:key" }'
        pod = Pod(tmp_path, vendor, service=auth)
        pod.write_secret("key", key)
        async with pod:
            assert (await ask(pod, "/vendor/x?a=%2f+&key=placeholder&b[]=1;2")).status == 500
            assert vendor.requests[0].target == f"/x?a=%2f+&b[]=1;2&key={key}".encode()
            assert (await pod.calls())[0]["attempt_details"]
        assert key.encode() not in pod.log_file.read_bytes()


async def test_a_route_may_have_settings_of_its_own(tmp_path: Path) -> None:
    """The first route that matches; what it does not say is the service's."""
    service = """
auth = { kind = "bearer", secret = "files:key" }
allow = ["GET /**"]
[services.vendor.routes.reports]
match = "* /reports/**"
auth = { kind = "api_key", secret = "files:other" }
allow = ["POST /reports/*"]
[services.vendor.routes.slow]
match = "GET /slow"
timeout = "200ms"
"""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.target == b"/slow":
            await exchange.read_some()  # Until the sidecar gives up.
        else:
            await exchange.send(answer(b"ok"))

    async with Vendor(play) as vendor:
        pod = Pod(tmp_path, vendor, service=service)
        pod.write_secret("key", "0" * 16)
        pod.write_secret("other", "1" * 16)
        async with pod:
            assert (await ask(pod, "/vendor/things")).status == 200
            assert (await ask(pod, "/vendor/reports/7", method="POST")).status == 200
            assert_refusal(
                await ask(pod, "/vendor/reports/7"), 403, "not_allowed", "http_request_denied", service="vendor"
            )
            slow = await ask(pod, "/vendor/slow")
            assert (slow.status, slow.value("Sidecar-Error")) == (504, "deadline_exceeded")
            first, second, third = vendor.requests
            assert first.values("Authorization") == [b"Bearer " + b"0" * 16]
            assert (second.values("X-Api-Key"), second.values("Authorization")) == ([b"1" * 16], [])
            assert third.values("Authorization") == [b"Bearer " + b"0" * 16]
            assert [line["route"] for line in await pod.calls(4)] == ["", "reports", "reports", "slow"]
            await pod.assert_nothing_left()


# The vendor's version and URLs.


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ('header = "Api-Version"', "/base/x?a=1"),
        ('query = "version"', "/base/x?a=1&version=v7"),
        ("path = true", "/base/v7/x?a=1"),
    ],
)
async def test_the_vendors_version_is_pinned_in_one_place(place: str, target: str, tmp_path: Path) -> None:
    """And a link of the vendor's leads back to the address without it, which works as it stands."""

    async def play(exchange: Exchange) -> None:
        link = f"{vendor.url}/base/v7/y" if place.startswith("path") else f"{vendor.url}/base/y"
        await exchange.send(answer(b"", status=201, headers=[(b"Location", link.encode())]))

    async with Vendor(play) as vendor:
        service = f'api_version = {{ value = "v7", {place} }}'
        async with Pod(tmp_path, vendor, base_path="/base", service=service) as pod:
            reply = await ask(pod, "/vendor/x?a=1", "api-version: v1")
            assert vendor.requests[0].target == target.encode()
            wanted = [b"v7"] if place.startswith("header") else [b"v1"]
            assert vendor.requests[0].values("Api-Version") == wanted
            assert reply.value("Location") == "http://localhost/vendor/y"
            await pod.assert_nothing_left()


@pytest.mark.parametrize(("setting", "moves"), [("", "h"), ('"headers"', "h"), ('"body"', "hb"), ("false", "")])
async def test_urls_of_the_vendors_lead_back_as_far_as_the_service_says(
    setting: str, moves: str, tmp_path: Path
) -> None:
    """Headers by default; JSON bodies on request; nothing with `false`."""

    async def play(exchange: Exchange) -> None:
        url = f"{vendor.url}/things?page=2".encode()
        body = b'{"next": "%b", "other": "https://elsewhere.example/things"}' % url
        fields = [(b"Location", url), (b"Link", b'<%b>; rel="next"' % url), (b"Content-Type", b"application/json")]
        await exchange.send(answer(body, status=201, headers=fields))

    async with Vendor(play) as vendor:
        service = f"rewrite_urls = {setting}" if setting else ""
        async with Pod(tmp_path, vendor, service=service) as pod:
            reply = await ask(pod, "/vendor/things")
            theirs, ours = f"{vendor.url}/things?page=2", "http://localhost/vendor/things?page=2"
            assert reply.value("Location") == (ours if "h" in moves else theirs)
            assert reply.value("Link") == f'<{ours if "h" in moves else theirs}>; rel="next"'
            assert reply.json() == {
                "next": ours if "b" in moves else theirs,
                "other": "https://elsewhere.example/things",
            }
            await pod.assert_nothing_left()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_passed_on_and_never_followed(status: int, tmp_path: Path) -> None:
    """Followed here, a credential would go wherever a vendor points."""
    async with Vendor.answering(answer(b"inside")) as elsewhere:
        fields = [(b"Location", elsewhere.url.encode() + b"/steal")]
        async with (
            Vendor.answering(answer(b"moved", status=status, headers=fields)) as vendor,
            Pod(tmp_path, vendor) as pod,
        ):
            reply = await ask(pod, "/vendor/x", method="POST")
            assert (reply.status, reply.body) == (status, b"moved")
            assert reply.value("Location") == f"{elsewhere.url}/steal"
            assert len(vendor.requests) == 1
            await pod.assert_nothing_left()
        assert elsewhere.connections_opened == 0
