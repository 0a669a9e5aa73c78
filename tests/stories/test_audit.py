"""The audit log of a whole pod: who called what with which credential, and what else an auditor asks for."""

import asyncio
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.cli import main
from sidecar.config.problem import ConfigError
from tests.kit.app import App
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.process import Process
from tests.kit.tokens import Minting, oauth
from tests.kit.vendor import Vendor, answer

BEARER = 'auth = { kind = "bearer", secret = "files:key" }'
WAIT = 10.0

Record = dict[str, Any]


def audited(folder: Path, *more: str) -> str:
    """Write the section, with its file in `folder`."""
    return "\n".join(["[audit]", f'file = "{folder / "audit.log"}"', *more])


def written(folder: Path) -> list[Record]:
    """Read the log."""
    return [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]


async def records(pod: Pod, folder: Path, kind: str) -> list[Record]:
    """Give the records of one kind, as soon as all that was recorded is written."""
    assert await asyncio.to_thread(pod.sidecar._auditing._writer.flush, WAIT)
    return [record for record in written(folder) if record["kind"] == kind]


async def post(pod: Pod, path: str, body: object) -> int:
    """Tell the admin door something."""
    url = f"http://{pod.sidecar.address('admin')}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as reply:
        return reply.status


async def verify(folder: Path) -> int:
    """Run the command, in this process."""
    return await asyncio.to_thread(main, ["audit", "verify", str(folder / "audit.log")])


async def test_each_call_is_recorded_with_who_what_and_by_which_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path's template and no value of it; the credential's reference and version, and its value nowhere."""
    for name in ("POD_NAME", "POD_NAMESPACE", "POD_SERVICE_ACCOUNT"):
        monkeypatch.setenv(name, name.lower())
    value, card = secrets.token_hex(16), secrets.token_hex(8)
    service = f'{BEARER}\n[services.vendor.routes.charge]\nmatch = "POST /v1/charges/{{id}}"'
    async with Vendor.answering(answer(b"no", status=502)) as vendor:
        pod = Pod(tmp_path, vendor, service=service, config=audited(tmp_path))
        pod.write_secret("key", value)
        async with pod, pod.app() as app:
            target = f"/vendor/v1/charges/{card}?number={card}"
            reply = await app.ask("POST", target, "Sidecar-App: checkout", "X-Request-ID: r-1")
            assert reply.status == 502
            await pod.calls()
            [read] = await records(pod, tmp_path, "secret_read")
            [call] = await records(pod, tmp_path, "call")
            assert read["secret"] == "files:key"
            expected = {
                "pod": "pod_name", "namespace": "pod_namespace", "service_account": "pod_service_account",
                "app": "checkout", "peer": None, "service": "vendor", "route": "charge", "method": "POST",
                "path_template": "/v1/charges/{id}", "status": 502, "outcome": "failure", "source": "upstream",
                "attempts": 1, "credential": "files:key", "credential_version": read["version"],
                "request_id": reply.value("X-Request-ID"),
            }  # fmt: skip
            assert {name: call[name] for name in expected} == expected
            assert read["version"]
    text = (tmp_path / "audit.log").read_text()
    assert value not in text
    assert card not in text
    assert await verify(tmp_path) == 0


async def test_a_call_that_was_refused_before_it_was_sent_has_no_credential(tmp_path: Path) -> None:
    """The record says what happened, not what would have; and what is no service's is recorded, too."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, service=f"{BEARER}\nallow = []", config=audited(tmp_path))
        pod.write_secret("key", secrets.token_hex(16))
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 403
            assert (await app.ask("GET", "/nobody/x")).status == 404
            await pod.calls(2)
            denied, unknown = await records(pod, tmp_path, "call")
            assert (denied["code"], denied["outcome"], denied["credential"]) == ("not_allowed", "rejected", "")
            assert (unknown["code"], unknown["service"]) == ("unknown_service", "")


async def test_a_rotated_secret_shows_by_its_version(tmp_path: Path) -> None:
    """Each call has the version that it was sent with, also when an attempt of several made it."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, service=f"{BEARER}\nretry = {{}}", config=audited(tmp_path))
        pod.write_secret("key", secrets.token_hex(16))
        async with pod, pod.app() as app:
            await app.ask("GET", "/vendor/x")
            pod.write_secret("key", secrets.token_hex(16))
            assert pod.sidecar._generation is not None
            await pod.sidecar._generation.shared.secrets.refresh()
            await app.ask("GET", "/vendor/x")
            await pod.calls(2)
            reads = [record["version"] for record in await records(pod, tmp_path, "secret_read")]
            assert len(set(reads)) == 2
            calls = await records(pod, tmp_path, "call")
            assert [record["credential_version"] for record in calls] == reads


async def test_of_a_pool_the_record_says_which_credential_it_was(tmp_path: Path) -> None:
    """By its number, which its limits have, too."""
    service = BEARER.replace(" }", ", pool = true }")
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, service=service, config=audited(tmp_path))
        pod.write_secret("key", f"{secrets.token_hex(16)}\n{secrets.token_hex(16)}")
        async with pod, pod.app() as app:
            for _ in range(2):
                assert (await app.ask("GET", "/vendor/x")).status == 200
            await pod.calls(2)
            names = [record["credential"] for record in await records(pod, tmp_path, "call")]
            assert names == ["files:key credential 1", "files:key credential 2"]


async def test_the_renewal_of_a_token_is_recorded_and_the_token_is_not(tmp_path: Path) -> None:
    """By number, which is also the version that calls have; a failed renewal is recorded, too."""
    minting = Minting()
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, service=oauth(f"{endpoint.url}/token"), config=audited(tmp_path))
        pod.write_secret("client", secrets.token_hex(16))
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
            await pod.calls()
            [renewed] = await records(pod, tmp_path, "token_renewed")
            [call] = await records(pod, tmp_path, "call")
            assert (renewed["service"], renewed["number"]) == ("vendor", 1)
            assert (call["credential"], call["credential_version"]) == ("token of vendor", "1")
    assert minting.tokens[0] not in (tmp_path / "audit.log").read_text()


async def test_what_operators_do_is_recorded(tmp_path: Path) -> None:
    """A circuit held open and let go; each generation of the config, and one that was refused."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        async with Pod(tmp_path, vendor, config=audited(tmp_path)) as pod:
            assert await post(pod, "/api/services/vendor/circuit", {"state": "open"}) == 200
            assert await post(pod, "/api/services/vendor/circuit", {"state": "auto"}) == 200
            assert await post(pod, "/api/services/nobody/circuit", {"state": "open"}) == 404
            text = pod.config_file.read_text()
            pod.config_file.write_text(text.replace("retry = false", "retry = false\ntimout = 1"))
            assert not (await pod.sidecar.reload())["ok"]
            pod.config_file.write_text(text.replace("retry = false", 'retry = false\ntimeout = "9s"'))
            assert (await pod.sidecar.reload())["ok"]
            overrides = await records(pod, tmp_path, "circuit_override")
            assert [(one["service"], one["state"]) for one in overrides] == [("vendor", "open"), ("vendor", "auto")]
            assert [one["generation"] for one in await records(pod, tmp_path, "config_loaded")] == [1, 2]
            [refused] = await records(pod, tmp_path, "config_refused")
            assert "timout" in refused["problems"][0]
        kinds = [record["kind"] for record in written(tmp_path)]
        assert (kinds[0], kinds[-1]) == ("start", "stop")


async def test_what_people_do_with_jobs_is_recorded(tmp_path: Path) -> None:
    """Tried again, cancelled, discarded; what was refused is not."""
    open_now = asyncio.Event()

    async def refuse(exchange: Exchange) -> None:
        await open_now.wait()
        await exchange.send(answer(b"no", status=400))

    config = audited(tmp_path) + '\n[store]\nkind = "sqlite"\n'
    async with (
        Vendor(refuse) as vendor,
        Pod(tmp_path, vendor, service="queue = { concurrency = 1 }", config=config) as pod,
        pod.app() as app,
        aiohttp.ClientSession(f"http://{pod.sidecar.address('admin')}") as people,
    ):
        replies = [await app.ask("PUT", "/vendor/x", "Prefer: respond-async") for _ in range(2)]
        first, second = ((reply.value("Location") or "").rpartition("/")[2] for reply in replies)
        await vendor.wait_for_head()
        assert await post(pod, f"/api/jobs/{first}/retry", {}) == 409, "it runs"
        async with people.delete(f"/api/jobs/{second}") as reply:
            assert (await reply.json())["state"] == "cancelled"
        open_now.set()
        async with asyncio.timeout(20):
            while await post(pod, f"/api/jobs/{first}/retry", {}) == 409:  # It has not failed yet.
                continue
        async with people.delete(f"/api/jobs/{second}") as reply:
            assert (await reply.json())["state"] == "discarded"
        for kind, job in (("job_cancelled", second), ("job_retried", first), ("job_discarded", second)):
            assert [one["job"] for one in await records(pod, tmp_path, kind)] == [job]


async def test_a_login_is_recorded_and_the_store_is_looked_at_at_once(tmp_path: Path) -> None:
    """The service is named by its refresh token's reference; a service without one cannot be logged in for."""
    minting = Minting()
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor.answering(answer(b"ok")) as vendor:
        auth = oauth(f"{endpoint.url}/token", "refresh_token", refresh_token='"files:refresh"')
        services = {"vendor": auth, "bare": ""}
        pod = Pod(tmp_path, {"vendor": vendor, "bare": vendor}, service=services, config=audited(tmp_path))
        pod.write_secret("client", secrets.token_hex(16))
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/x")).status == 502
            pod.write_secret("refresh", secrets.token_hex(16))
            assert await post(pod, "/api/services/vendor/login", {"version": "v2"}) == 200
            await pod.until(lambda: bool(minting.tokens), "the token")
            await pod.until(lambda: pod.snapshot()["services"]["vendor"]["token"]["state"] == "valid", "the token")
            assert (await app.ask("GET", "/vendor/x")).status == 200
            assert await post(pod, "/api/services/bare/login", {"version": "v2"}) == 400
            assert await post(pod, "/api/services/nobody/login", {"version": "v2"}) == 404
            assert await post(pod, "/api/services/vendor/login", {"version": "v" * 1000}) == 400
            [login] = await records(pod, tmp_path, "login")
            assert (login["service"], login["secret"], login["version"]) == ("vendor", "files:refresh", "v2")


async def test_on_a_unix_socket_the_kernel_says_who_called(tmp_path: Path) -> None:
    """The uid is the kernel's word, whatever the app says of itself."""
    door = tmp_path / "egress.sock"
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        Pod(tmp_path, vendor, egress=f'"unix:{door}"', config=audited(tmp_path)) as pod,
    ):
        async with App.to(f"unix:{door}") as app:
            assert (await app.ask("GET", "/vendor/x", "Sidecar-App: root")).status == 200
        await pod.calls()
        [call] = await records(pod, tmp_path, "call")
        assert call["peer"] == {"uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid()}
        assert call["app"] == "root"


async def test_a_restart_goes_on_with_the_chain_and_a_changed_or_removed_line_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs are one chain; whoever edits a line of it, or takes one out, is found by line."""
    for run in ("first", "second"):
        folder = tmp_path / run
        folder.mkdir()
        async with (
            Vendor.answering(answer(b"ok")) as vendor,
            Pod(folder, vendor, config=audited(tmp_path)) as pod,
            pod.app() as app,
        ):
            for _ in range(3):
                await app.ask("GET", "/vendor/x")
            await pod.calls(3)
    seen = written(tmp_path)
    assert [record["seq"] for record in seen] == list(range(len(seen)))
    assert [record["kind"] for record in seen].count("start") == 2
    assert await verify(tmp_path) == 0
    captured = capsys.readouterr()
    assert (captured.err, f"{len(seen)} records" in captured.out) == ("", True)

    log = tmp_path / "audit.log"
    lines = log.read_text().splitlines(keepends=True)
    number = next(index for index, record in enumerate(seen) if record["kind"] == "call")
    log.write_text(
        "".join([*lines[:number], lines[number].replace('"status":200', '"status":201'), *lines[number + 1 :]])
    )
    assert await verify(tmp_path) == 1
    assert f"audit.log:{number + 1}: " in capsys.readouterr().err
    log.write_text("".join([*lines[:number], *lines[number + 1 :]]))
    assert await verify(tmp_path) == 1
    assert f"record {number} is missing before this line" in capsys.readouterr().err
    log.write_text("".join(lines[:-2]))
    assert await verify(tmp_path) == 1
    assert "its end was cut off" in capsys.readouterr().err


async def test_without_the_section_there_is_none_and_a_reload_turns_it_on_and_off(tmp_path: Path) -> None:
    """Calls pay nothing for it; what is recorded begins with the generation that asks for it."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        await app.ask("GET", "/vendor/x")
        assert pod.sidecar._generation is not None
        assert pod.sidecar._generation.shared.audit is None
        before = pod.config_file.read_text()
        pod.config_file.write_text(f"{before}\n{audited(tmp_path)}\n")
        assert (await pod.sidecar.reload())["ok"]
        await app.ask("GET", "/vendor/y")
        await pod.calls(2)
        assert len(await records(pod, tmp_path, "call")) == 1
        pod.config_file.write_text(before)
        assert (await pod.sidecar.reload())["ok"]
        await app.ask("GET", "/vendor/z")
        await pod.calls(3)
    assert [record["kind"] for record in written(tmp_path)] == ["start", "config_loaded", "call", "stop"]


async def test_a_file_that_cannot_be_written_refuses_the_config(tmp_path: Path) -> None:
    """At the start, and at a reload, where the generation before goes on with its own audit log."""
    bad = f'[audit]\nfile = "{tmp_path}/nowhere/audit.log"'
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, config=bad)
        with pytest.raises(ConfigError, match=r"audit\.file: cannot write .*nowhere"):
            await pod.__aenter__()
        folder = tmp_path / "second"
        folder.mkdir()
        async with Pod(folder, vendor, config=audited(folder)) as good, good.app() as app:
            text = good.config_file.read_text()
            good.config_file.write_text(text.replace(audited(folder), bad))
            assert "audit.file" in (await good.sidecar.reload())["problems"][0]
            await app.ask("GET", "/vendor/x")
            await good.calls()
            assert len(await records(good, folder, "call")) == 1


async def test_a_config_refused_for_its_doors_leaves_the_audit_log_where_it_was(tmp_path: Path) -> None:
    """The new file has a start and a stop; the calls stay in the one that is configured."""
    other = tmp_path / "other"
    other.mkdir()
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        Pod(tmp_path, vendor, config=audited(tmp_path)) as pod,
        pod.app() as app,
    ):
        text = pod.config_file.read_text()
        taken = pod.sidecar.address("admin")
        text = text.replace(audited(tmp_path), audited(other)).replace('["127.0.0.1:0"]', f'["{taken}"]')
        pod.config_file.write_text(text)
        assert not (await pod.sidecar.reload())["ok"]
        await app.ask("GET", "/vendor/x")
        await pod.calls()
        assert len(await records(pod, tmp_path, "call")) == 1
    assert [record["kind"] for record in written(other)] == ["start", "stop"]
    assert await verify(tmp_path) == 0


async def test_on_stdout_it_stands_among_the_lines_of_the_log(tmp_path: Path) -> None:
    """What a collector kept of a process can be verified, through the pipe of a shell."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = f'[audit]\n[services.vendor]\nbase_url = "{vendor.url}"\nallow_private = true\n'
        async with Process(tmp_path, config) as sidecar, App.to(sidecar.egress_url) as app:
            assert (await app.ask("GET", "/vendor/x")).status == 200
            await sidecar.wait_for_line(lambda line: line.get("kind") == "call", "the record")
            assert await sidecar.terminate() == 0
    ours = [line for line in sidecar.lines if line["msg"] == "audit"]
    assert [line["kind"] for line in ours] == ["start", "config_loaded", "call", "stop"]
    captured = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in sidecar.lines)
    assert await _verified(captured) == 0
    assert await _verified(captured.replace('"status":200', '"status":201')) == 1


async def _verified(captured: str) -> int | None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "audit", "verify", "-",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await process.communicate(captured.encode())
    return process.returncode
