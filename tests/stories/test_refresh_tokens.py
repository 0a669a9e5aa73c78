"""Refresh tokens that rotate, against a real authorization server: stored before used, kept over restarts, or lost."""

import json
import secrets
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract import bao as bao_server
from tests.contract.bao import Bao
from tests.kit.authorization import AuthorizationServer
from tests.kit.exchange import Request
from tests.kit.pod import Pod
from tests.kit.servers import Servers
from tests.kit.tokens import GuardingTokens, Minting, failing, oauth
from tests.kit.vendor import Vendor, answer

CODE = {
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "redirect_uris": ["http://localhost/cb"],
}


class Kept:
    """Where the refresh token is kept: `reference` is what the config names, `section` its store's."""

    def __init__(self, folder: Path) -> None:
        self.reference = "grants:crm#refresh_token"
        self.folder = folder / "grants"
        self.folder.mkdir(mode=0o700)
        self.section = f'[secrets.grants]\nkind = "file"\npath = "{self.folder}"'

    def write(self, token: str) -> None:
        """Write it as somebody who logged in."""
        file = self.folder / "crm"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"refresh_token": token, "note": "ours"}))

    def read(self) -> dict[str, Any]:
        """Read what is stored."""
        found: dict[str, Any] = json.loads((self.folder / "crm").read_text())
        return found


class KeptInVault(Kept):
    """The same in a vault."""

    def __init__(self, folder: Path, bao: Bao) -> None:
        super().__init__(folder)
        self._bao = bao
        self._mount = bao.mount(2)
        token = folder / "vault-token"
        token.touch(mode=0o600)
        token.write_text(bao.token(bao.policy_for(self._mount)))
        self.section = (
            f'[secrets.grants]\nkind = "vault"\naddress = "{bao.address}"\nmount = "{self._mount}"\n'
            f'auth = {{ method = "token", token_file = "{token}" }}'
        )

    def write(self, token: str) -> None:
        """Write it as somebody who logged in."""
        self._bao.ask("POST", f"{self._mount}/data/crm", {"data": {"refresh_token": token, "note": "ours"}})

    def read(self) -> dict[str, Any]:
        """Read what is stored."""
        found: dict[str, Any] = self._bao.ask("GET", f"{self._mount}/data/crm")["data"]["data"]
        return found


@pytest.fixture(params=["file", "vault"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Kept:
    """A place for the refresh token, in each kind of store."""
    return Kept(tmp_path) if request.param == "file" else KeptInVault(tmp_path, servers.get(bao_server.serving))


def refreshing(url: str, kept: Kept, client_id: str = "pod") -> str:
    """Give the service's auth."""
    return oauth(url, "refresh_token", client_id, refresh_token=f'"{kept.reference}"')


async def metrics_of(pod: Pod) -> set[str]:
    """Scrape; give the lines."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{pod.sidecar.address('telemetry')}/metrics") as reply,
    ):
        return set((await reply.text()).splitlines())


async def test_a_rotated_refresh_token_is_stored_before_its_access_token_is_used(
    tmp_path: Path, authorization_server: AuthorizationServer, kept: Kept
) -> None:
    """When the vendor sees the first call the store has the new one, beside what else was there; a restart goes on."""
    client_id, secret = secrets.token_hex(6), secrets.token_hex(16)
    await authorization_server.add_client(client_id, client_secret=secret, **CODE)
    first = await authorization_server.consent(client_id)
    kept.write(first)
    stored: list[str] = []

    def look(_: Request) -> bytes:
        stored.append(kept.read()["refresh_token"])
        return answer(b"ok")

    for turn in ("first", "restarted"):
        folder = tmp_path / turn
        folder.mkdir()
        async with Vendor.answering(look) as vendor:
            auth = refreshing(authorization_server.token_url, kept, client_id)
            pod = Pod(folder, vendor, service=auth, config=kept.section)
            pod.write_secret("client", secret)
            async with pod, pod.app() as app:
                assert (await app.ask("GET", "/vendor/x")).status == 200
                [value] = vendor.requests[0].values("Authorization")
                assert (await authorization_server.look_up(value.removeprefix(b"Bearer ")))["accountId"] == "somebody"
                shown = pod.snapshot()["services"]["vendor"]["token"]
                assert shown["refresh_token"] == "stored"
        written = pod.log_file.read_text()
        assert not any(token in written for token in [first, *stored])
    assert len({first, *stored}) == 3, "each start used the one before, which is single use"
    assert kept.read() == {"refresh_token": stored[-1], "note": "ours"}


async def test_a_grant_that_is_lost_says_so_to_the_app_and_to_the_operator(
    tmp_path: Path, authorization_server: AuthorizationServer
) -> None:
    """invalid_grant: the answer names the step and the way out, a line and a metric tell it; a new login is taken."""
    client_id, secret = secrets.token_hex(6), secrets.token_hex(16)
    await authorization_server.add_client(client_id, client_secret=secret, **CODE)
    kept, wrong = Kept(tmp_path), secrets.token_hex(16)
    kept.write(wrong)
    async with Vendor.answering(answer(b"ok")) as vendor:
        auth = refreshing(authorization_server.token_url, kept, client_id)
        pod = Pod(tmp_path, vendor, service=auth, config=kept.section)
        pod.write_secret("client", secret)
        async with pod, pod.app() as app:
            reply = await app.ask("GET", "/vendor/x")
            assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
            for words in ("invalid_grant", "sidecar login vendor", "grants:crm#refresh_token"):
                assert words in reply.json()["detail"]
            assert not vendor.requests
            lost = [line for line in await pod.log_lines() if line["msg"] == "grant_lost"]
            assert [(line["level"], line["service"], line["secret"]) for line in lost] == [
                ("error", "vendor", kept.reference)
            ]
            assert pod.snapshot()["services"]["vendor"]["token"]["refresh_token"] == "lost"
            assert await metrics_of(pod) >= {
                'sidecar_token_renewals_total{result="failure",service="vendor"} 1.0',
                'sidecar_grant_state{service="vendor"} 2.0',
            }
            kept.write(await authorization_server.consent(client_id))
            await pod.until(
                lambda: pod.snapshot()["services"]["vendor"]["token"]["state"] == "valid", "a token of the new login"
            )
            assert (await app.ask("GET", "/vendor/x")).status == 200
            assert 'sidecar_grant_state{service="vendor"} 0.0' in await metrics_of(pod)
        assert wrong not in pod.log_file.read_text()


async def test_a_pod_that_finds_the_refresh_token_used_takes_the_one_another_pod_stored(tmp_path: Path) -> None:
    """The vendor calls ours invalid, since another pod was first: the store is read again before anybody is alarmed."""
    kept, ours, others = Kept(tmp_path), secrets.token_hex(16), secrets.token_hex(16)
    kept.write(ours)
    minting = Minting(rotates=True)

    async def play(exchange: Any) -> None:
        if ours.encode() in exchange.request.body:
            kept.write(others)
            minting.asked.append({"refresh_token": [ours]})
            await exchange.send(failing(400, "invalid_grant"))
        else:
            await minting(exchange)

    async with Vendor(play, host="127.0.0.1") as endpoint, Vendor(GuardingTokens(minting)) as vendor:
        pod = Pod(tmp_path, vendor, service=refreshing(f"{endpoint.url}/token", kept), config=kept.section)
        pod.write_secret("client", secrets.token_hex(16))
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
            assert [form["refresh_token"] for form in minting.asked] == [[ours], [others]]
            assert kept.read()["refresh_token"] == minting.refresh_tokens[0]
            assert not [line for line in await pod.log_lines() if line["msg"] == "grant_lost"]
