"""Credentials that a vault makes, on the way of calls: users of a real Valkey, who come, go on, and go."""

import asyncio
import time
from pathlib import Path

import pytest

import sidecar.app
from sidecar.auth.secrets.vault.dynamic import DynamicStore
from tests.contract import bao as bao_server
from tests.contract.bao import Bao
from tests.contract.dynamic import Engine
from tests.kit.pod import Pod
from tests.kit.servers import Servers
from tests.kit.valkey import Valkey
from tests.kit.vendor import Vendor, answer

LOOK_EVERY = 0.05  # Seconds; the watch's pace in these tests, as short beside their leases as it is in production.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the pod look at its stores often."""
    monkeypatch.setattr(sidecar.app, "WATCH_EVERY", LOOK_EVERY)
    monkeypatch.setattr(DynamicStore, "poll_s", LOOK_EVERY)


@pytest.fixture
def engine(servers: Servers) -> Engine:
    """An engine on the session's servers."""
    return Engine(servers.get(bao_server.serving), servers.get(Valkey.serving))


def section(engine: Engine, folder: Path, **settings: str) -> str:
    """Give the store's section; the login is an agent's, so that leases are ours alone to end."""
    token = folder / "vault-token"
    token.touch(mode=0o600)
    token.write_text(engine.bao.token(engine.policy()))
    more = "".join(f"{name} = {value}\n" for name, value in settings.items())
    return (
        f'[secrets.db]\nkind = "vault"\naddress = "{engine.bao.address}"\nmount = "{engine.mount}"\n'
        f'engine = "dynamic"\nauth = {{ method = "token", token_file = "{token}" }}\n{more}'
    )


class Door:
    """A pod with a service for each half of a credential; the vendor's side says who called."""

    def __init__(self, folder: Path, vendor: Vendor, path: str, config: str) -> None:
        services = {
            "names": f'auth = {{ kind = "api_key", name = "X-User", secret = "db:{path}#username" }}',
            "words": f'auth = {{ kind = "bearer", prefix = "", secret = "db:{path}#password" }}',
        }
        self.vendor = vendor
        self.pod = Pod(folder, dict.fromkeys(services, vendor), service=services, config=config)

    def seen(self, name: str) -> list[str]:
        """Give the different values of a header that came, in their order."""
        values = (value.decode() for request in self.vendor.requests for value in request.values(name))
        return list(dict.fromkeys(values))

    def users(self) -> list[dict[str, str]]:
        """Give the credentials that were seen, each name with the word of its turn."""
        pairs = zip(self.seen("X-User"), self.seen("Authorization"), strict=True)
        return [{"username": name, "password": word} for name, word in pairs]


async def until_gone(engine: Engine, users: list[dict[str, str]]) -> None:
    """Wait until none of them is let in: the server revokes in its own time."""
    ends_at = time.monotonic() + 10
    while any([await asyncio.to_thread(engine.works, user) for user in users]):
        assert time.monotonic() < ends_at, "they are still let in"


async def test_a_credential_goes_on_past_its_maximum_under_load_and_ends_with_the_pod(
    tmp_path: Path, engine: Engine, quick: None
) -> None:
    """A lease of 4 s, 7 s at most: no call fails, one user follows the other, and none outlives the pod."""
    path = engine.role("4s", "7s")
    async with Vendor.answering(answer(b"ok")) as vendor:
        door = Door(tmp_path, vendor, path, section(engine, tmp_path))
        async with door.pod, door.pod.app() as app:
            statuses: set[int] = set()
            while len(door.seen("X-User")) < 2 or len(door.seen("Authorization")) < 2:
                for service in ("names", "words"):
                    statuses.add((await app.ask("GET", f"/{service}/x")).status)
            users = door.users()
            assert statuses == {200}
            assert await asyncio.to_thread(engine.works, users[-1])
            assert len(engine.leases(path)) <= 2
            asked_at = time.monotonic()
            await door.pod.stop()
            assert time.monotonic() - asked_at < 3
        await until_gone(engine, users)
        assert engine.leases(path) == []
        text = door.pod.log_file.read_text()
        assert [user for user in users if user["password"] in text] == []
        assert {line["msg"] for line in await door.pod.log_lines()} >= {"store_lease", "secret_read"}


async def test_a_vault_that_is_killed_is_ridden_out_until_the_leases_end(
    tmp_path: Path, servers: Servers, quick: None
) -> None:
    """Calls go on with the credential; then they are told what ended, and no call carries it any more."""
    with bao_server.serving() as bao:
        engine = Engine(bao, servers.get(Valkey.serving))
        path = engine.role("5s", "1h")
        async with Vendor.answering(answer(b"ok")) as vendor:
            door = Door(tmp_path, vendor, path, section(engine, tmp_path, timeout='"500ms"'))
            async with door.pod, door.pod.app() as app:
                assert (await app.ask("GET", "/words/x")).status == 200
                killed_at = await asyncio.to_thread(kill, bao)
                last_good_at = killed_at
                while (reply := await app.ask("GET", "/words/x")).status == 200:
                    last_good_at = time.monotonic()
                assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
                assert f"the lease of {engine.mount}/{path} has ended" in reply.json()["detail"]
                assert 2 < last_good_at - killed_at < 5
                assert len(door.seen("Authorization")) == 1
                told = [line["msg"] for line in await door.pod.log_lines()]
                assert told.count("secret_ended") == 2, "each half is told once"
                assert "store_lease_not_kept" in told
            assert door.seen("Authorization")[0] not in door.pod.log_file.read_text()


def kill(bao: Bao) -> float:
    """End the server as SIGKILL does; say when."""
    bao._process.kill()
    bao._process.wait()
    return time.monotonic()


async def test_a_reload_takes_nothing_away_from_calls_under_way(tmp_path: Path, engine: Engine, quick: None) -> None:
    """The section is another one, so there is a new credential; the one before lives on until the pod stops."""
    path = engine.role()
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = section(engine, tmp_path)
        door = Door(tmp_path, vendor, path, config)
        async with door.pod, door.pod.app() as app:
            for turn in ("10s", "11s"):
                for service in ("names", "words"):
                    assert (await app.ask("GET", f"/{service}/x")).status == 200
                door.pod._sections["config"] = config + f'timeout = "{turn}"\n'
                door.pod.write_config()
                assert (await door.pod.sidecar.reload())["ok"]
            for service in ("names", "words"):
                assert (await app.ask("GET", f"/{service}/x")).status == 200
            users = door.users()
            assert len(users) == 3
            assert [await asyncio.to_thread(engine.works, user) for user in users] == [True, True, True]
        await until_gone(engine, users)
