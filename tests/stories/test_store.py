"""The store of a whole sidecar: away at the start, changed at a reload, a file of its own."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp

from tests.kit.certificates import Authority
from tests.kit.front import TlsFront
from tests.kit.process import Process
from tests.kit.valkey import Valkey

SERVICE = '[services.crm]\nbase_url = "https://crm.example"\n'
RESTART = "store: what is stored stays where it is while we run; restart to use another store"


def config(store: str, folder: Path, password: str = "") -> str:
    """Write a config with that store; the password is in a file."""
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700, exist_ok=True)
    (secrets / "valkey").touch(mode=0o600)
    (secrets / "valkey").write_text(password)
    return f'[secrets.files]\nkind = "file"\npath = "{secrets}"\n[store]\n{store}\n{SERVICE}'


def refused(sidecar: Process) -> list[Any]:
    """Give the lines that tell of a refused config."""
    return [line for line in sidecar.lines if line.get("msg") == "config_refused"]


async def shown(sidecar: Process) -> dict[str, Any]:
    """Ask the admin door how the store stands."""
    async with aiohttp.ClientSession() as session, session.get(f"{sidecar.admin_url}/api/services") as reply:
        store: dict[str, Any] = (await reply.json())["store"]
        return store


async def metric(sidecar: Process) -> str:
    """Read `sidecar_store_up`."""
    async with aiohttp.ClientSession() as session, session.get(f"{sidecar.telemetry_url}/metrics") as reply:
        [line] = [line for line in (await reply.text()).splitlines() if line.startswith("sidecar_store_up ")]
        return line.split()[1]


async def test_a_sidecar_starts_without_its_valkey_and_finds_it_later(tmp_path: Path) -> None:
    """It is ready, tells that the store is away, and that it came; the password is in no line."""
    with Valkey.serving() as valkey:
        valkey.kill()
        store = f'kind = "valkey"\nurl = "{valkey.url}"\npassword = "files:valkey"\ntimeout = "1s"'
        async with Process(tmp_path, config(store, tmp_path, valkey.password)) as sidecar:
            line = await sidecar.wait_for_line(lambda line: line.get("msg") == "store_down")
            assert line["level"] == "error"
            assert await metric(sidecar) == "0.0"
            state = await shown(sidecar)
            assert (state["kind"], state["url"], state["up"]) == ("valkey", valkey.url, False)
            assert state["problem"]
            valkey.start()
            await sidecar.wait_for_line(lambda line: line.get("msg") == "store_up")
            assert await metric(sidecar) == "1.0"
            assert await shown(sidecar) == {"kind": "valkey", "url": valkey.url, "mode": "standalone", "up": True}
            valkey.kill()
        assert sidecar.exit_code == 0
        assert valkey.password not in repr(sidecar.lines) + sidecar.errors.decode()


async def test_a_password_is_rotated_through_its_file(tmp_path: Path) -> None:
    """The wrong one is told; the right one is read from the same file, without a restart or a reload."""
    with Valkey.serving() as valkey:
        store = f'kind = "valkey"\nurl = "{valkey.url}"\npassword = "files:valkey"\ntimeout = "1s"'
        async with Process(tmp_path, config(store, tmp_path, "wrong-password")) as sidecar:
            await sidecar.wait_for_line(lambda line: line.get("msg") == "store_down")
            config(store, tmp_path, valkey.password)
            await sidecar.wait_for_line(lambda line: line.get("msg") == "store_up")
        for password in ("wrong-password", valkey.password):
            assert password not in repr(sidecar.lines) + sidecar.errors.decode()


async def test_a_store_over_tls_is_verified_by_its_ca_file(tmp_path: Path) -> None:
    """As `[store]` says it; the secret goes through it alone."""
    authority = Authority()
    trusted = authority.write_to(tmp_path / "ca.pem")
    with Valkey.serving() as valkey:
        async with TlsFront(authority.server(), valkey.port) as front:
            store = (
                f'kind = "valkey"\nurl = "rediss://localhost:{front.port}"\npassword = "files:valkey"\n'
                f'ca_file = "{trusted}"'
            )
            async with Process(tmp_path, config(store, tmp_path, valkey.password)) as sidecar:
                assert (await shown(sidecar))["up"] is True


async def test_another_store_at_a_reload_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    """Also another environment, which is in every key."""
    store = 'kind = "sqlite"\npath = "state.db"'
    async with Process(tmp_path, config(store, tmp_path)) as sidecar:
        for number, other in enumerate(
            (
                config('kind = "memory"', tmp_path),
                config(f"{store}\nbytes_max = '1GiB'", tmp_path),
                '[sidecar]\nenvironment = "staging"\n' + config(store, tmp_path),
            )
        ):
            sidecar.write_config(other)
            sidecar.send_signal(signal.SIGHUP)
            await sidecar.wait_for_line(
                lambda _: len(refused(sidecar)) > number  # noqa: B023 - waited for in this turn
            )
            assert RESTART in repr(sidecar.lines[-1])
            assert (await shown(sidecar))["kind"] == "sqlite"
        sidecar.write_config(config(store, tmp_path) + 'timeout = "9s"\n')
        sidecar.send_signal(signal.SIGHUP)
        await sidecar.wait_for_line(lambda line: line.get("msg") == "config_loaded" and line["generation"] == 2)


async def test_the_file_lies_beside_the_config_and_outlives_a_kill(tmp_path: Path) -> None:
    """For its user alone to read; the next process opens it, and a second one at the same time may not."""
    store = 'kind = "sqlite"\npath = "kept/state.db"'
    (tmp_path / "kept").mkdir()
    file = tmp_path / "kept" / "state.db"
    async with Process(tmp_path, config(store, tmp_path)) as sidecar:
        state = await shown(sidecar)
        assert (state["kind"], state["path"], state["up"]) == ("sqlite", str(file), True)
        assert file.stat().st_mode & 0o777 == 0o600
        await sidecar.kill()
    async with Process(tmp_path, config(store, tmp_path)) as sidecar:
        assert (await shown(sidecar))["up"] is True
        assert await metric(sidecar) == "1.0"
        second = tmp_path / "second"
        second.mkdir()
        other = Process(second, config(f'kind = "sqlite"\npath = "{file}"', second), is_ready=False)
        async with other:
            await asyncio.wait_for(other._process.wait(), 20)  # type: ignore[union-attr]
        assert other.exit_code == 1
        said = repr(other.lines) + other.errors.decode()
        assert f"store.path: another process has the store {file} open; one file belongs to one sidecar" in said
