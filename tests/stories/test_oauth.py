"""Tokens on the way of a call: minted ahead, one for all, renewed when the vendor says so, kept over reloads."""

import asyncio
import secrets
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from joserfc.jwk import ECKey

import sidecar.app
from sidecar.core.clock import SystemClock
from tests.kit.authorization import AuthorizationServer
from tests.kit.pod import Pod
from tests.kit.tokens import Guarding, GuardingTokens, Minting, oauth
from tests.kit.vendor import Vendor, answer

CREDENTIALS = ["client_credentials"]
AHEAD = 300.0  # Seconds that a pod's clock is wrong.


def lines_of(lines: list[dict[str, Any]], msg: str) -> list[dict[str, Any]]:
    """Give the lines with one message."""
    return [line for line in lines if line["msg"] == msg]


async def until_renewed(pod: Pod, number: int = 1, service: str = "vendor") -> None:
    """Wait until the token with this number is there."""
    await pod.until(
        lambda: pod.snapshot()["services"][service]["token"].get("number", 0) >= number, f"token {number} of {service}"
    )


async def test_the_app_never_sees_the_token_that_the_vendor_gets(
    tmp_path: Path, authorization_server: AuthorizationServer
) -> None:
    """It is minted before the first call, put on in place of what the app brought, and good for the one who gave it."""
    client_id, secret, own = f"c:{secrets.token_hex(4)}", f"{secrets.token_hex(8)}+/ %&", secrets.token_hex(8)
    await authorization_server.add_client(client_id, client_secret=secret, grant_types=CREDENTIALS)
    auth = oauth(authorization_server.token_url, client_id=client_id, scopes='["contacts"]')
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, service=auth, level="debug")
        pod.write_secret("client", secret)
        async with pod, pod.app() as app:
            await until_renewed(pod)
            assert not vendor.requests
            replies = [await app.ask("GET", "/vendor/x", f"Authorization: Bearer {own}") for _ in range(2)]
            assert [reply.status for reply in replies] == [200, 200]
            values = [request.values("Authorization") for request in vendor.requests]
            assert values[0] == values[1]
            [value] = values[0]
            token = value.removeprefix(b"Bearer ")
            known = await authorization_server.look_up(token)
            assert (known["clientId"], known["scope"]) == (client_id, "contacts")
            for reply in replies:
                assert token not in reply.raw_head + reply.body
            [line] = lines_of(await pod.log_lines(), "token_renewed")
            assert (line["service"], line["number"]) == ("vendor", 1)
        assert token not in pod.log_file.read_bytes()


async def test_a_pod_whose_clock_is_five_minutes_off_gets_its_token(
    tmp_path: Path, authorization_server: AuthorizationServer
) -> None:
    """What it signs is dated by the authorization server's clock, ahead and behind; only its first try is refused."""
    key = ECKey.generate_key("P-256", private=True)
    client_id = secrets.token_hex(6)
    await authorization_server.add_client(
        client_id,
        grant_types=CREDENTIALS,
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_signing_alg="ES256",
        jwks={"keys": [key.as_dict(private=False)]},
    )
    auth = oauth(
        authorization_server.token_url,
        client_id=client_id,
        client_secret="",
        client_auth='"private_key_jwt"',
        client_key='"files:key"',
        client_algorithm='"ES256"',
    )
    for ahead in (AHEAD, -AHEAD):

        class Wrong(SystemClock):
            """A clock that is off."""

            def wall(self) -> float:
                """Unix seconds, not quite."""
                return super().wall() + ahead  # noqa: B023 - used within the round

        folder = tmp_path / str(ahead)
        folder.mkdir()
        async with Vendor.answering(answer(b"ok")) as vendor:
            pod = Pod(folder, vendor, service=auth)
            pod.write_secret("key", key.as_pem(private=True))
            with patch.object(sidecar.app, "SystemClock", Wrong):
                async with pod, pod.app() as app:
                    assert (await app.ask("GET", "/vendor/x")).status == 200
                    [value] = vendor.requests[0].values("Authorization")
                    assert await authorization_server.look_up(value.removeprefix(b"Bearer "))
                    assert not lines_of(await pod.log_lines(), "token_renewal_failed")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_token_that_ends_before_its_time_fails_no_call(tmp_path: Path, method: str) -> None:
    """The vendor's 401 drops it, once; a new one is minted, and the call goes again with its body: the app sees 200."""
    minting = Minting()
    guarding = GuardingTokens(minting)
    body = secrets.token_bytes(3000) if method == "POST" else b""
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(guarding) as vendor:
        pod = Pod(tmp_path, vendor, service=oauth(f"{endpoint.url}/token"))
        pod.write_secret("client", secrets.token_hex(16))
        async with pod, pod.app() as app:
            assert (await app.ask(method, "/vendor/x", body=body)).status == 200
            guarding.revoked = set(minting.tokens)
            assert (await app.ask(method, "/vendor/x", body=body)).status == 200
            assert len(minting.tokens) == 2
            assert [request.body for request in vendor.requests] == [body] * 3
            expected = [f"Bearer {minting.tokens[turn]}".encode() for turn in (0, 0, 1)]
            assert [request.values("Authorization")[0] for request in vendor.requests] == expected
            [dropped] = lines_of(await pod.log_lines(), "token_dropped")
            assert (dropped["service"], dropped["number"]) == ("vendor", 1)
            first, second = await pod.calls(2)
            assert (first["attempts"], second["attempts"]) == (1, 2)


async def test_a_vendor_that_refuses_every_token_costs_one_more_and_no_more(tmp_path: Path) -> None:
    """Then its 401 is the app's to see, and no call after it asks for a token within the pause."""
    minting = Minting()
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(Guarding()) as vendor:
        pod = Pod(tmp_path, vendor, service=oauth(f"{endpoint.url}/token"))
        pod.write_secret("client", secrets.token_hex(16))
        async with pod, pod.app() as app:
            for _ in range(5):
                assert (await app.ask("GET", "/vendor/x")).status == 401
            assert len(minting.tokens) == 2
            assert len(vendor.requests) == 6


async def test_two_hundred_calls_at_once_make_one_token_request(tmp_path: Path) -> None:
    """On a cold cache they all wait for the same one; when the vendor refuses it to all of them, for the same again."""
    minting = Minting()
    minting.open.clear()
    guarding = GuardingTokens(minting)
    calls = 200
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(guarding) as vendor:
        pod = Pod(tmp_path, vendor, service=oauth(f"{endpoint.url}/token"))
        pod.write_secret("client", secrets.token_hex(16))
        async with pod:

            async def call() -> int:
                async with pod.app() as app:
                    return (await app.ask("GET", "/vendor/x")).status

            async def call_all() -> list[int]:
                return await asyncio.gather(*(call() for _ in range(calls)))

            waiting = asyncio.create_task(call_all())
            await pod.until(lambda: pod.snapshot()["calls_in_flight"] == calls, "200 calls that wait")
            await endpoint.wait_for_request()
            assert not vendor.requests
            minting.open.set()
            assert await waiting == [200] * calls
            assert len(endpoint.requests) == 1
            guarding.revoked = set(minting.tokens)
            assert await call_all() == [200] * calls
            assert len(endpoint.requests) == 2
            await pod.assert_nothing_left()


async def test_a_reload_keeps_the_token_unless_it_stands_for_something_else(tmp_path: Path) -> None:
    """Another timeout is no reason to ask again; another scope is, and the calls after it carry the new token."""
    minting = Minting()
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(GuardingTokens(minting)) as vendor:
        url = f"{endpoint.url}/token"
        pod = Pod(tmp_path, vendor, service=oauth(url))
        pod.write_secret("client", secrets.token_hex(16))
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
            for service, requests in (
                (oauth(url) + '\ntimeout = "7s"', 1),
                (oauth(url, scopes='["more"]') + '\ntimeout = "7s"', 2),
                (oauth(url, scopes='["more"]') + '\ntimeout = "8s"', 2),
            ):
                pod._service = service
                pod.write_config()
                assert (await pod.sidecar.reload())["ok"]
                await until_renewed(pod)
                assert (await app.ask("GET", "/vendor/x")).status == 200
                assert len(endpoint.requests) == requests
                assert vendor.requests[-1].values("Authorization") == [f"Bearer {minting.tokens[-1]}".encode()]
            assert [form.get("scope") for form in minting.asked] == [None, ["more"]]
