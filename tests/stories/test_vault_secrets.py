"""Secrets in a vault, on the way of calls: rotation, outage, and how long a last value is good for."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

import sidecar.app
from sidecar.auth.secrets import pace
from tests.contract import bao as bao_server
from tests.contract.bao import Bao
from tests.contract.gate import Gate
from tests.kit.pod import Pod
from tests.kit.servers import Servers
from tests.kit.vendor import Vendor, answer

BEARER = 'auth = { kind = "bearer", secret = "vault:{environment}/vendor#key" }'
LOOK_EVERY = 0.05  # Seconds; the watch's pace in these tests.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the pod look at its stores often, and try again soon."""
    monkeypatch.setattr(sidecar.app, "WATCH_EVERY", LOOK_EVERY)
    monkeypatch.setattr(pace, "FIRST_RETRY_S", LOOK_EVERY)


class Corner:
    """A mount in a vault behind a gate, and what the config says of it."""

    def __init__(self, bao: Bao, folder: Path) -> None:
        self._bao = bao
        self._folder = folder
        self._mount = bao.mount(2)
        self.gate = Gate(bao.port)

    def write(self, value: str) -> None:
        """Rotate the secret."""
        self._bao.ask("POST", f"{self._mount}/data/production/vendor", {"data": {"key": value}})

    def section(self, **settings: str) -> str:
        """Give the store's section."""
        token = self._folder / "vault-token"
        token.touch(mode=0o600)
        token.write_text(self._bao.token(self._bao.policy_for(self._mount)))
        more = "".join(f"{name} = {value}\n" for name, value in settings.items())
        return (
            f'[secrets.vault]\nkind = "vault"\naddress = "http://127.0.0.1:{self.gate.port}"\n'
            f'mount = "{self._mount}"\nauth = {{ method = "token", token_file = "{token}" }}\n{more}'
        )


@pytest.fixture
async def corner(servers: Servers, tmp_path: Path) -> AsyncIterator[Corner]:
    """A corner in the session's vault."""
    corner = Corner(servers.get(bao_server.serving), tmp_path)
    async with corner.gate:
        yield corner


async def unconfirmed(pod: Pod) -> float:
    """Scrape for how many seconds the value could not be confirmed."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{pod.sidecar.address('telemetry')}/metrics") as reply,
    ):
        text = await reply.text()
    [line] = [line for line in text.splitlines() if line.startswith("sidecar_secret_unconfirmed_seconds{")]
    assert "vault:production/vendor#key" in line
    return float(line.rpartition(" ")[2])


async def test_a_secret_is_rotated_in_the_vault_under_load(tmp_path: Path, corner: Corner, quick: None) -> None:
    """The new version is noticed within the ttl; no call fails, and none carries anything but the two values."""
    first, second = secrets.token_hex(16), secrets.token_hex(16)
    corner.write(first)
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = corner.section(ttl='"500ms"')
        pod = Pod(tmp_path, vendor, service=BEARER, sidecar='environment = "production"', config=config)
        async with pod:
            statuses: set[int] = set()

            async def load() -> None:
                async with pod.app() as app:
                    while True:
                        statuses.add((await app.ask("GET", "/vendor/x")).status)

            loaders = [asyncio.create_task(load()) for _ in range(3)]
            await vendor.wait_for_request(20)
            await asyncio.to_thread(corner.write, second)
            new = f"Bearer {second}".encode()
            await vendor.until(lambda: vendor.requests[-1].values("Authorization") == [new], "the new secret")
            await vendor.wait_for_request(len(vendor.requests) + 20)
            for loader in loaders:
                loader.cancel()
            await asyncio.gather(*loaders, return_exceptions=True)
            assert statuses == {200}
            seen = {value for request in vendor.requests for value in request.values("Authorization")}
            assert seen == {f"Bearer {first}".encode(), new}
            reads = [line for line in await pod.log_lines() if line["msg"] == "secret_read"]
            assert [line["version"].partition("-")[0] for line in reads] == ["1", "2"]
        text = pod.log_file.read_text()
        assert first not in text
        assert second not in text


async def test_a_vault_that_is_away_is_not_noticed_by_calls_until_stale_max(
    tmp_path: Path, corner: Corner, quick: None
) -> None:
    """The last value serves, with a line and a metric; over stale_max the call says why; then all is well by itself."""
    value = secrets.token_hex(16)
    corner.write(value)
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = corner.section(ttl='"100ms"', stale_max='"1500ms"', timeout='"500ms"')
        pod = Pod(tmp_path, vendor, service=BEARER, sidecar='environment = "production"', config=config)
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
            assert await unconfirmed(pod) == 0
            await corner.gate.shut()
            held = pod.sidecar._generation.shared.secrets.values  # type: ignore[union-attr]
            [secret] = held.values()
            await pod.until(lambda: secret.problem != "", "the outage to be seen")
            assert (await app.ask("GET", "/vendor/x")).status == 200
            assert 0 < await unconfirmed(pod) < 60
            await pod.until(lambda: secret.secret is None, "the end of stale_max")
            reply = await app.ask("GET", "/vendor/x")
            assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
            assert "stale_max" in reply.json()["detail"]
            await corner.gate.open()
            await pod.until(lambda: secret.secret is not None, "the vault's return")
            assert (await app.ask("GET", "/vendor/x")).status == 200
            assert await unconfirmed(pod) == 0
            told = [line["msg"] for line in await pod.log_lines() if line["msg"].startswith("secret_")]
            assert told.count("secret_read") == 2
            assert told.count("secret_stale") >= 1
            assert "secret_unreadable" in told
            assert len(told) < 8, "an outage is told, not each question"
        assert value not in pod.log_file.read_text()
        assert len(vendor.requests) == 3


async def test_a_pod_that_starts_while_the_vault_is_away_is_ready_and_heals(
    tmp_path: Path, corner: Corner, quick: None
) -> None:
    """Services with other secrets work at once; those of the vault say what is missing, and soon work, too."""
    corner.write(secrets.token_hex(16))
    config = corner.section(ttl='"100ms"', timeout='"200ms"')
    await corner.gate.shut()
    async with Vendor.answering(answer(b"ok")) as vendor:
        services = {"far": BEARER, "near": 'auth = { kind = "bearer", secret = "files:key" }'}
        pod = Pod(
            tmp_path,
            dict.fromkeys(services, vendor),
            service=services,
            sidecar='environment = "production"',
            config=config,
        )
        pod.write_secret("key", secrets.token_hex(16))
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/near/x")).status == 200
            reply = await app.ask("GET", "/far/x")
            assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
            await corner.gate.open()
            held = pod.sidecar._generation.shared.secrets.values  # type: ignore[union-attr]
            await pod.until(lambda: all(one.secret is not None for one in held.values()), "the vault's secret")
            assert (await app.ask("GET", "/far/x")).status == 200
