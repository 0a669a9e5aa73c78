"""A token endpoint or a secret store gets a certificate of another authority: the new `ca_file` counts at once."""

import secrets
import ssl
from pathlib import Path

import pytest

import sidecar.app
from sidecar.auth.secrets import pace
from tests.auth.secrets.vault.scripted import Script, token_file
from tests.contract.gate import Gate
from tests.kit.certificates import Authority
from tests.kit.pod import Pod
from tests.kit.tokens import GuardingTokens, Minting, oauth
from tests.kit.vendor import Vendor

LOOK_EVERY = 0.02  # Seconds; the watch's pace in these tests.
BEARER = 'auth = { kind = "bearer", secret = "vault:app#k" }'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecar.app, "WATCH_EVERY", LOOK_EVERY)
    monkeypatch.setattr(pace, "FIRST_RETRY_S", LOOK_EVERY)


class Moving:
    """A server's context, and the file of those whom the pod trusts; both begin with one authority."""

    def __init__(self, folder: Path) -> None:
        self.first, self.second = Authority(), Authority()
        self.server: ssl.SSLContext = self.first.server()
        self.ca_file = folder / "ca.pem"
        self.trust(self.first)

    def trust(self, *authorities: Authority) -> None:
        """Put another file there, as whoever mounts it does."""
        written = self.ca_file.with_suffix(".new")
        parts = [authority.write_to(written).read_text() for authority in authorities]
        written.write_text("".join(parts))
        written.rename(self.ca_file)


@pytest.fixture
def moving(tmp_path: Path) -> Moving:
    """A server whose authority changes."""
    return Moving(tmp_path)


def state_of(pod: Pod) -> dict[str, object]:
    """Give the state of the vendor's token."""
    shown: dict[str, object] = pod.snapshot()["services"]["vendor"]["token"]
    return shown


async def until_generation(pod: Pod, number: int) -> None:
    """Wait until the watch has noticed."""
    await pod.until(lambda: pod.snapshot()["generation"] == number, f"generation {number}")


def minting_pod(folder: Path, vendor: Vendor, endpoint: Vendor, moving: Moving) -> Pod:
    """A pod whose tokens come over TLS."""
    pod = Pod(folder, vendor, service=oauth(f"{endpoint.url}/token", ca_file=f'"{moving.ca_file}"'))
    pod.write_secret("client", secrets.token_hex(16))
    return pod


async def test_a_token_endpoint_moves_to_another_authority(tmp_path: Path, moving: Moving) -> None:
    """Tokens cannot be renewed until the file is changed; then one is asked for at once, without a restart."""
    minting = Minting()
    async with Vendor(minting, tls=moving.server) as endpoint, Vendor(guarding := GuardingTokens(minting)) as vendor:
        pod = minting_pod(tmp_path, vendor, endpoint, moving)
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
            moving.second.take_over(moving.server)
            guarding.revoked.add(minting.tokens[0])
            reply = await app.ask("GET", "/vendor/x")
            assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
            assert "does not verify" in reply.json()["detail"]
            moving.trust(moving.second)
            await pod.until(lambda: state_of(pod)["state"] == "valid", "a token by the new trust")
            assert pod.snapshot()["generation"] == 2
            assert (await app.ask("GET", "/vendor/x")).status == 200


async def test_a_changed_file_costs_neither_the_token_nor_the_vendors_connection(
    tmp_path: Path, moving: Moving
) -> None:
    """Both are as good as before; only what connects to the token endpoint from now on trusts by the new file."""
    minting = Minting()
    async with Vendor(minting, tls=moving.server) as endpoint, Vendor(guarding := GuardingTokens(minting)) as vendor:
        pod = minting_pod(tmp_path, vendor, endpoint, moving)
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
            moving.trust(moving.second)
            await until_generation(pod, 2)
            assert (await app.ask("GET", "/vendor/x")).status == 200
            assert (state_of(pod)["number"], len(minting.asked), vendor.connections_opened) == (1, 1, 1)
            guarding.revoked.add(minting.tokens[0])  # The authority of before is trusted no more.
            assert "does not verify" in (await app.ask("GET", "/vendor/x")).json()["detail"]
            assert len(minting.asked) == 1


def vault(port: int, moving: Moving, folder: Path) -> str:
    """Give the section of a vault that is asked often."""
    return (
        f'[secrets.vault]\nkind = "vault"\naddress = "https://localhost:{port}"\nca_file = "{moving.ca_file}"\n'
        "kv_version = 2\n"
        f'ttl = "50ms"\nauth = {{ method = "token", token_file = "{token_file(folder, secrets.token_hex(8))}" }}\n'
    )


def stored(value: str, version: int) -> tuple[int, object]:
    """What the vault has."""
    return 200, {"data": {"data": {"k": value}, "metadata": {"version": version, "created_time": "t"}}}


async def test_a_secret_store_moves_to_another_authority(tmp_path: Path, moving: Moving) -> None:
    """The last value serves until the file is changed; then the store is read again, with the login that it had."""
    script = Script(**{"data/app": stored("first", 1)})
    async with (
        Vendor.answering(script, tls=moving.server) as store,
        Gate(store.port) as gate,
        Vendor.echoing() as vendor,
        (pod := Pod(tmp_path, vendor, service=BEARER, config=vault(gate.port, moving, tmp_path))),
        pod.app() as app,
    ):
        await app.ask("GET", "/vendor/x")
        moving.second.take_over(moving.server)
        script.said["data/app"] = stored("second", 2)
        await gate.shut()  # With the connections that were there.
        await gate.open()
        held = pod.sidecar._generation.shared.secrets.values  # type: ignore[union-attr]
        [only] = held.values()
        await pod.until(lambda: "not trusted" in only.problem, "a refused certificate")
        await app.ask("GET", "/vendor/x")
        moving.trust(moving.second)
        await pod.until(lambda: only.secret is not None and only.secret.reveal() == b"second", "the new value")
        await app.ask("GET", "/vendor/x")
        assert pod.snapshot()["generation"] == 2
        carried = [request.values("Authorization") for request in vendor.requests]
        assert carried == [[b"Bearer first"], [b"Bearer first"], [b"Bearer second"]]
        assert script.count("lookup-self") == 1
        assert vendor.connections_opened == 1


async def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path, moving: Moving) -> None:
    """It is told with the path of each who names it; what was trusted before is trusted on."""
    minting, script = Minting(), Script(**{"data/app": stored("first", 1)})
    async with (
        Vendor(minting, tls=moving.server) as endpoint,
        Vendor.answering(script, tls=moving.server) as store,
        Vendor(guarding := GuardingTokens(minting)) as vendor,
    ):
        auth = oauth(f"{endpoint.url}/token", ca_file=f'"{moving.ca_file}"', client_secret='"vault:app#k"')
        pod = Pod(tmp_path, vendor, service=auth, config=vault(store.port, moving, tmp_path))
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
            moving.ca_file.write_text("no certificate")
            await pod.until(lambda: "ca_file" in "".join(pod.sidecar._problems), "the refusal")
            paths = [problem.partition(": ")[0] for problem in pod.sidecar._problems]
            assert paths == ["services.vendor.auth.ca_file", "secrets.vault.ca_file"]
            assert all(f"{moving.ca_file} holds no certificates" in problem for problem in pod.sidecar._problems)
            guarding.revoked.add(minting.tokens[0])
            assert (await app.ask("GET", "/vendor/x")).status == 200
            assert (state_of(pod)["number"], pod.snapshot()["generation"]) == (2, 1)
            moving.trust(moving.first, moving.second)
            await until_generation(pod, 2)
