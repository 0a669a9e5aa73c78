"""Several pods and one Valkey: a token is minted once for all, and a killed pod costs the others a short wait."""

import asyncio
import base64
import json
import secrets
from pathlib import Path

import pytest

from tests.kit.app import App
from tests.kit.authorization import AuthorizationServer
from tests.kit.process import Process
from tests.kit.servers import Servers
from tests.kit.tokens import GuardingTokens, Minting, oauth
from tests.kit.valkey import Valkey
from tests.kit.vendor import Vendor, answer


@pytest.fixture
def valkey(servers: Servers) -> Valkey:
    """The one Valkey of the session, empty."""
    server = servers.get(Valkey.serving)
    assert isinstance(server, Valkey)
    with server.client as client:
        client.flushall()
    return server


class Pods:
    """Pods with the same config, each in a folder of its own; their secrets are in one, as in one secret store."""

    def __init__(self, folder: Path, valkey: Valkey, vendor: Vendor, auth: str) -> None:
        self._folder = folder
        self._secrets = folder / "secrets"
        self._secrets.mkdir(mode=0o700)
        self.config = f"""
[store]
kind = "valkey"
url = "{valkey.url}"
password = "files:valkey"
encryption_key = "files:store-key"
[secrets.files]
kind = "file"
path = "{self._secrets}"
[log]
level = "debug"
[services.vendor]
base_url = "{vendor.url}"
allow_private = true
retry = false
{auth}
"""
        self.write("valkey", valkey.password)
        self.write("store-key", base64.b64encode(secrets.token_bytes(32)).decode())

    def write(self, name: str, value: str) -> None:
        """Write a secret that all of them read."""
        file = self._secrets / name
        file.touch(mode=0o600)
        file.write_text(value)

    def read(self, name: str) -> str:
        """Read it."""
        return (self._secrets / name).read_text()

    def new(self) -> Process:
        """Make one more pod."""
        folder = self._folder / f"pod-{secrets.token_hex(2)}"
        folder.mkdir()
        return Process(folder, self.config)


async def call(pod: Process) -> int:
    """Call the vendor as this pod's app."""
    async with App.to(pod.egress_url) as app:
        return (await app.ask("GET", "/vendor/x")).status


async def test_pods_of_a_rollout_use_one_token_of_a_real_authorization_server(
    tmp_path: Path, authorization_server: AuthorizationServer, valkey: Valkey
) -> None:
    """Refresh tokens that rotate, with reuse detection: pods that start at the same time do not cost the grant."""
    client_id, secret = secrets.token_hex(6), secrets.token_hex(16)
    await authorization_server.add_client(
        client_id, client_secret=secret, grant_types=["authorization_code", "refresh_token"], response_types=["code"],
        redirect_uris=["http://localhost/cb"],
    )  # fmt: skip
    first = await authorization_server.consent(client_id)
    async with Vendor.answering(answer(b"ok")) as vendor:
        auth = oauth(authorization_server.token_url, "refresh_token", client_id, refresh_token='"files:grant"')
        pods = Pods(tmp_path, valkey, vendor, auth)
        pods.write("client", secret)
        pods.write("grant", first)
        async with pods.new() as one, pods.new() as two, pods.new() as three:
            assert list(await asyncio.gather(call(one), call(two), call(three))) == [200, 200, 200]
            tokens = {request.values("Authorization")[0] for request in vendor.requests}
            assert len(tokens) == 1, "the vendor saw one token from all three"
            second = pods.read("grant")
            assert second != first
        async with pods.new() as fourth:
            assert await call(fourth) == 200
            assert {request.values("Authorization")[0] for request in vendor.requests} == tokens
            assert pods.read("grant") == second, "a pod that starts later asks for none"
            lines = json.dumps(fourth.lines)
        stored = await asyncio.to_thread(valkey.everything)
        assert stored
        [token] = tokens
        for value in (token.removeprefix(b"Bearer "), first.encode(), second.encode(), secret.encode()):
            assert value not in stored
            assert base64.b64encode(value)[:-4] not in stored
            assert value.decode() not in lines


async def test_a_pod_that_is_killed_while_it_renews_costs_the_others_its_lease_at_most(
    tmp_path: Path, valkey: Valkey
) -> None:
    """The vendor lets an old refresh token be used again, as most do: another pod takes over, and nothing is lost."""
    minting = Minting(rotates=True)
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(GuardingTokens(minting)) as vendor:
        pods = Pods(
            tmp_path, valkey, vendor, oauth(f"{endpoint.url}/token", "refresh_token", refresh_token='"files:grant"')
        )
        pods.write("client", secrets.token_hex(16))
        first = secrets.token_hex(16)
        pods.write("grant", first)
        minting.open.clear()
        async with pods.new() as killed, pods.new() as survivor:
            await minting.came.wait()
            waiting = asyncio.create_task(call(survivor))
            dead, alive = (killed, survivor) if await holds_lease(killed, survivor) else (survivor, killed)
            assert len(minting.asked) == 1, "the other one waits"
            await dead.kill()
            if alive is not survivor:
                waiting.cancel()
                waiting = asyncio.create_task(call(alive))
            minting.open.set()
            await asyncio.to_thread(end_leases, valkey)
            assert await waiting == 200
            assert [form["refresh_token"] for form in minting.asked] == [[first], [first]]
            assert pods.read("grant") == minting.refresh_tokens[-1]


async def holds_lease(one: Process, other: Process) -> bool:
    """Say which of the two renews, by what they show; the other one waits."""
    async with asyncio.timeout(20):
        while True:  # Each look is a question to both.
            for pod, is_first in ((one, True), (other, False)):
                async with App.to(pod.admin_url) as app:
                    shown = (await app.ask("GET", "/api/services")).json()["services"]["vendor"]["token"]
                if "another pod" in shown.get("renewing", ""):
                    return not is_first


def end_leases(valkey: Valkey) -> None:
    """Let the time of every lease pass."""
    with valkey.client as client:
        leases = [key for key in client.scan_iter(count=1000) if b":l:token:" in key]
        assert leases
        client.delete(*leases)


async def test_pods_mint_their_own_while_valkey_is_away(tmp_path: Path) -> None:
    """An outage of the store fails no call, at the start or later; with it back they share again."""
    minting = Minting()
    with Valkey.serving() as valkey:
        async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(GuardingTokens(minting)) as vendor:
            pods = Pods(tmp_path, valkey, vendor, oauth(f"{endpoint.url}/token"))
            pods.write("client", secrets.token_hex(16))
            valkey.kill()
            async with pods.new() as one, pods.new() as two:
                assert [await call(one), await call(two)] == [200, 200]
                assert len(minting.tokens) == 2
                valkey.start()
                for pod in (one, two):
                    await pod.wait_for_line(lambda line: line["msg"] == "store_up")
                async with pods.new() as three, pods.new() as four:
                    assert [await call(three), await call(four)] == [200, 200]
                    assert len(minting.tokens) == 3
