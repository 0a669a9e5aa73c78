"""A real process, as an operator has it: probes, signals, reloads and the end."""

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.kit.app import App
from tests.kit.mount import Mount
from tests.kit.process import PATHS, Line, Process, free_ports
from tests.kit.vendor import Vendor, answer

STEPS = ["not_ready", "stop_accepting", "finish_calls", "flush", "close"]


def service(name: str, vendor: Vendor, *settings: str) -> str:
    """Write a service whose vendor is on loopback."""
    return "\n".join([f"[services.{name}]", f'base_url = "{vendor.url}"', "allow_private = true", *settings, ""])


async def fetch(url: str, method: str = "GET") -> tuple[int, str]:
    """Ask a door for people; give status and text."""
    async with aiohttp.ClientSession() as session, session.request(method, url) as reply:
        return reply.status, await reply.text()


async def metric(sidecar: Process, name: str) -> float:
    """Read a metric that has no labels."""
    _, text = await fetch(f"{sidecar.telemetry_url}/metrics")
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert match is not None, f"{name} is not among the metrics"
    return float(match[1])


async def status_of(url: str, target: str) -> int:
    """Call, over a connection of its own, and give the status."""
    async with App.to(url) as app:
        return (await app.ask("GET", target)).status


async def wait_for_loaded(sidecar: Process, generation: int) -> Line:
    """Wait until a generation is loaded."""
    return await sidecar.wait_for_line(
        lambda line: line["msg"] == "config_loaded" and line["generation"] == generation, f"generation {generation}"
    )


async def wait_for_step(sidecar: Process, step: str) -> Line:
    """Wait for a step of the drain."""
    return await sidecar.wait_for_line(lambda line: line["msg"] == "drain" and line["step"] == step, f"step {step}")


async def run(*arguments: str, directory: Path) -> tuple[int, str, str]:
    """Run a command of the sidecar's to its end; give exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", *arguments,
        stdout=PIPE, stderr=PIPE, cwd=directory, env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
    )  # fmt: skip
    try:
        async with asyncio.timeout(15):
            out, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


# Probes.


async def test_probes_and_metrics_answer_by_their_exact_paths(tmp_path: Path) -> None:
    """Three paths, and nothing that merely looks like them."""
    async with Vendor.answering(answer(b"ok")) as vendor, Process(tmp_path, service("crm", vendor)) as sidecar:
        found = {}
        for path in ("/livez", "/readyz", "/metrics", "/livez/", "/livezz", "/x/livez", "/%6civez", "/", "/crm/livez"):
            async with App.to(sidecar.telemetry_url) as app:
                found[path] = (await app.ask("GET", path)).status
        assert [path for path, status in found.items() if status == 200] == ["/livez", "/readyz", "/metrics"]
        assert {status for path, status in found.items() if status != 200} == {404}
        assert not vendor.requests


# The end.


async def test_sigterm_finishes_the_calls_under_way_and_takes_no_new_ones(tmp_path: Path) -> None:
    """Each step has its line, the slow call gets its whole answer, and the exit code is 0."""
    go_on = asyncio.Event()
    async with (
        Vendor.stalling(answer(b"slow but whole"), 20, go_on) as vendor,
        Process(tmp_path, service("crm", vendor)) as sidecar,
        App.to(sidecar.egress_url) as slow,
        App.to(sidecar.egress_url) as idle,
    ):
        assert (await idle.ask("GET", "/unknown")).status == 404
        await slow.send(b"GET /crm/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await vendor.wait_for_head()
        sidecar.send_signal(signal.SIGTERM)
        assert (await wait_for_step(sidecar, "stop_accepting"))["busy"] == 1
        assert await idle.read_until_closed() == b""
        with pytest.raises(ConnectionRefusedError):
            await status_of(sidecar.egress_url, "/crm/late")
        status, reason = await fetch(f"{sidecar.telemetry_url}/readyz")
        assert (status, "draining" in reason) == (503, True)
        assert (await fetch(f"{sidecar.telemetry_url}/livez"))[0] == 200
        go_on.set()
        reply = await slow.read_answer()
        assert (reply.status, reply.body) == (200, b"slow but whole")
        assert reply.values("Connection") in ([b"close"], [])
        await wait_for_step(sidecar, "close")
        assert await sidecar.terminate() == 0
    drain = [line for line in sidecar.lines if line["msg"] == "drain"]
    assert [line["step"] for line in drain] == STEPS
    assert drain[2]["cut_off"] == 0
    assert [(line["status"], line["outcome"]) for line in sidecar.lines if line["msg"] == "call"] == [
        (404, "rejected"),
        (200, "success"),
    ]
    assert sidecar.errors == b""


async def test_a_second_request_on_a_draining_connection_gets_draining_or_a_close(tmp_path: Path) -> None:
    """It was sent before the app could know; it is not sent to the vendor any more."""
    go_on = asyncio.Event()
    async with (
        Vendor.stalling(answer(b"slow"), 20, go_on) as vendor,
        Process(tmp_path, service("crm", vendor)) as sidecar,
        App.to(sidecar.egress_url) as app,
    ):
        await app.send(b"GET /crm/first HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await vendor.wait_for_head()
        sidecar.send_signal(signal.SIGTERM)
        await wait_for_step(sidecar, "stop_accepting")
        await app.send(b"GET /crm/second HTTP/1.1\r\nHost: localhost\r\n\r\n")
        go_on.set()
        raw = await app.read_until_closed()
        assert raw.startswith(b"HTTP/1.1 200 ")
        assert raw.count(b"HTTP/1.1 ") == 1 or b"Sidecar-Error: draining" in raw
        assert await sidecar.terminate() == 0
        assert len(vendor.requests) == 1


async def test_a_call_that_outlives_the_drain_is_cut_off_and_counted(tmp_path: Path) -> None:
    """The pod's end does not wait for a vendor that never answers."""
    never = asyncio.Event()
    async with Vendor.stalling(answer(b"slow"), 0, never) as vendor:
        config = '[sidecar]\ndrain_timeout = "300ms"\n' + service("crm", vendor)
        async with Process(tmp_path, config) as sidecar, App.to(sidecar.egress_url) as app:
            await app.send(b"GET /crm/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await vendor.wait_for_head()
            assert await sidecar.terminate() == 0
            assert b" 200 " not in await app.read_until_closed()
    assert [line["cut_off"] for line in sidecar.lines if line.get("step") == "finish_calls"] == [1]
    calls = [line for line in sidecar.lines if line["msg"] == "call"]
    assert [(line["service"], line["outcome"], line["code"]) for line in calls] == [("crm", "cancelled", "draining")]
    assert sidecar.errors == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_drain_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C twice: who asks again does not want to wait for a vendor; the line says that and how many were cut."""
    never = asyncio.Event()
    async with (
        Vendor.stalling(answer(b"slow"), 0, never) as vendor,
        Process(tmp_path, service("crm", vendor)) as sidecar,
        App.to(sidecar.egress_url) as app,
    ):
        await app.send(b"GET /crm/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await vendor.wait_for_head()
        sidecar.send_signal(number)
        await wait_for_step(sidecar, "stop_accepting")
        async with asyncio.timeout(5):  # The drain has 25 s.
            sidecar.send_signal(number)
            assert await app.read_until_closed() == b""
            await wait_for_step(sidecar, "close")
        assert await sidecar.wait() == 0
    drain = [line for line in sidecar.lines if line["msg"] == "drain"]
    assert [line["step"] for line in drain] == [*STEPS[:2], "cut_short", *STEPS[2:]]
    assert (drain[2]["busy"], drain[3]["cut_off"]) == (1, 1)
    assert sidecar.errors == b""


async def test_the_drain_waits_for_calls_of_a_door_that_was_just_removed(tmp_path: Path) -> None:
    """A rollout may bring a new config and then the end, within the time of one call."""
    go_on = asyncio.Event()
    [port] = free_ports(1)
    async with Vendor.stalling(answer(b"whole"), 20, go_on) as vendor:
        config = service("crm", vendor, f'listen = ["127.0.0.1:{port}"]')
        async with Process(tmp_path, config) as sidecar, App.to(f"127.0.0.1:{port}") as app:
            await app.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await vendor.wait_for_head()
            sidecar.write_config(service("crm", vendor))
            sidecar.send_signal(signal.SIGHUP)
            await wait_for_loaded(sidecar, 2)
            sidecar.send_signal(signal.SIGTERM)
            assert (await wait_for_step(sidecar, "stop_accepting"))["busy"] == 1
            go_on.set()
            assert (await app.read_answer()).body == b"whole"
            await wait_for_step(sidecar, "close")


async def test_the_drain_cannot_be_undone_by_a_reload(tmp_path: Path) -> None:
    """A config that changes meanwhile opens no door and makes no generation; who asks is told why."""
    go_on = asyncio.Event()
    [port] = free_ports(1)
    async with (
        Vendor.stalling(answer(b"whole"), 20, go_on) as vendor,
        Process(tmp_path, service("crm", vendor)) as sidecar,
        App.to(sidecar.egress_url) as app,
    ):
        await app.send(b"GET /crm/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await vendor.wait_for_head()
        sidecar.send_signal(signal.SIGTERM)
        await wait_for_step(sidecar, "stop_accepting")
        sidecar.write_config(service("crm", vendor, f'listen = ["127.0.0.1:{port}"]'))
        sidecar.send_signal(signal.SIGHUP)
        status, text = await fetch(f"{sidecar.admin_url}/api/reload", "POST")
        assert (status, "draining" in text) == (422, True)
        with pytest.raises(ConnectionRefusedError):
            await status_of(f"127.0.0.1:{port}", "/x")
        go_on.set()
        assert (await app.read_answer()).body == b"whole"
        await wait_for_step(sidecar, "close")
    assert [line["generation"] for line in sidecar.lines if line["msg"] == "config_loaded"] == [1]


async def test_a_closed_stdout_loses_the_lines_and_nothing_else(tmp_path: Path) -> None:
    """The number of stdout is taken by /dev/null, so that no line is written into a connection."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        sidecar = Process(tmp_path, service("crm", vendor))
        command = f'exec "$0" -m sidecar run -c "{sidecar.config_file}" >&-'
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command, sys.executable,
            stderr=PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
        )  # fmt: skip
        try:
            async with asyncio.timeout(10):
                while not await is_open(sidecar.egress_url):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(process.wait(), 0.02)
                assert await status_of(sidecar.egress_url, "/crm/x") == 200
                assert await asyncio.to_thread(os.readlink, f"/proc/{process.pid}/fd/1") == os.devnull
                process.terminate()
                _, errors = await process.communicate()
                assert (errors, process.returncode) == (b"", 0)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def is_open(url: str) -> bool:
    """Say whether somebody listens."""
    try:
        async with App.to(url):
            return True
    except ConnectionRefusedError:
        return False


async def test_a_sidecar_without_calls_ends_at_once(tmp_path: Path) -> None:
    """An idle connection of the app's holds nothing up."""
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        Process(tmp_path, service("crm", vendor)) as sidecar,
        App.to(sidecar.egress_url) as app,
    ):
        assert (await app.ask("GET", "/crm/x")).status == 200
        async with asyncio.timeout(3):
            assert await sidecar.terminate() == 0
        assert await app.read_until_closed() == b""


# Reload.


async def test_sighup_makes_a_new_generation(tmp_path: Path) -> None:
    """What was added is served, what was removed is not, and the metric and a line say which generation it is."""
    async with Vendor.answering(answer(b"ok")) as vendor, Process(tmp_path, service("crm", vendor)) as sidecar:
        assert await metric(sidecar, "sidecar_config_generation") == 1
        assert await status_of(sidecar.egress_url, "/crm/x") == 200
        sidecar.write_config(service("billing", vendor))
        sidecar.send_signal(signal.SIGHUP)
        assert (await wait_for_loaded(sidecar, 2))["services"] == ["billing"]
        assert await metric(sidecar, "sidecar_config_generation") == 2
        assert await metric(sidecar, "sidecar_config_reload_ok") == 1
        assert await status_of(sidecar.egress_url, "/crm/x") == 404
        assert await status_of(sidecar.egress_url, "/billing/x") == 200


async def test_a_changed_file_makes_a_new_generation_by_itself(tmp_path: Path) -> None:
    """An operator edits a file; nobody has to send a signal."""
    async with Vendor.answering(answer(b"ok")) as vendor, Process(tmp_path, service("crm", vendor)) as sidecar:
        sidecar.write_config(service("crm", vendor) + service("billing", vendor))
        await wait_for_loaded(sidecar, 2)
        assert await status_of(sidecar.egress_url, "/billing/x") == 200


async def test_the_swap_of_a_mounted_config_map_makes_a_new_generation(tmp_path: Path) -> None:
    """Kubernetes swaps the `..data` link; the path of the config stays a link through it."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        sidecar = Process(tmp_path, service("crm", vendor))
        text = sidecar.config_file.read_text()
        sidecar.config_file.unlink()
        mounted = Mount(tmp_path)
        mounted.write({"sidecar.toml": text})
        async with sidecar:
            mounted.write({"sidecar.toml": text + service("billing", vendor)})
            await wait_for_loaded(sidecar, 2)
            assert await status_of(sidecar.egress_url, "/billing/x") == 200
            assert await status_of(sidecar.egress_url, "/crm/x") == 200


async def test_an_invalid_config_changes_nothing_and_a_good_one_heals_it(tmp_path: Path) -> None:
    """The line tells every problem, the metric raises the alarm, and the old generation goes on."""
    async with Vendor.answering(answer(b"ok")) as vendor, Process(tmp_path, service("crm", vendor)) as sidecar:
        sidecar.write_config('[services.crm]\nbase_url = "nowhere"\ntimeout = "5 minutes"\n')
        refused = await sidecar.wait_for_line(lambda line: line["msg"] == "config_refused")
        assert refused["level"] == "error"
        assert {problem.partition(":")[0] for problem in refused["problems"]} >= {
            "services.crm.base_url",
            "services.crm.timeout",
        }
        assert await metric(sidecar, "sidecar_config_reload_ok") == 0
        assert await metric(sidecar, "sidecar_config_generation") == 1
        assert await status_of(sidecar.egress_url, "/crm/x") == 200
        assert (await fetch(f"{sidecar.telemetry_url}/readyz"))[0] == 200
        sidecar.write_config("this is [not TOML")
        await sidecar.wait_for_line(lambda line: line["msg"] == "config_refused" and line is not refused)
        sidecar.write_config(service("crm", vendor, 'timeout = "10s"'))
        await wait_for_loaded(sidecar, 2)
        assert await metric(sidecar, "sidecar_config_reload_ok") == 1
        assert await status_of(sidecar.egress_url, "/crm/x") == 200
        assert len([line for line in sidecar.lines if line["msg"] == "config_refused"]) == 2


async def test_a_change_that_several_see_is_read_once(tmp_path: Path) -> None:
    """The watch, a signal and the admin API at the same time: one generation, and one refusal."""
    async with Vendor.answering(answer(b"ok")) as vendor, Process(tmp_path, service("crm", vendor)) as sidecar:
        for config, generation in ((service("billing", vendor), 2), ('[services.crm]\nbase_url = "nowhere"\n', 2)):
            sidecar.write_config(config)
            sidecar.send_signal(signal.SIGHUP)
            answers = [await fetch(f"{sidecar.admin_url}/api/reload", "POST") for _ in range(3)]
            assert {status for status, _ in answers} == {200 if "billing" in config else 422}
            words = (f'"generation":{generation}', f"generation {generation} ")
            assert all(any(word in text for word in words) for _, text in answers)
        await wait_for_loaded(sidecar, 2)
        sidecar.write_config(service("last", vendor))
        await wait_for_loaded(sidecar, 3)
        counts = Counter(line["msg"] for line in sidecar.lines)
        assert (counts["config_loaded"], counts["config_refused"]) == (3, 1)
        assert counts["config_unchanged"] >= 4


async def test_a_refused_config_is_tried_again_when_asked(tmp_path: Path) -> None:
    """What was wrong may lie outside of the file, such as a port that another process held."""
    async with Vendor.answering(answer(b"ok")) as vendor, Process(tmp_path, service("crm", vendor)) as sidecar:
        holder = socket.create_server(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        sidecar.write_config(service("crm", vendor, f'listen = ["127.0.0.1:{port}"]'))
        await sidecar.wait_for_line(lambda line: line["msg"] == "config_refused")
        holder.close()
        assert (await fetch(f"{sidecar.admin_url}/api/reload", "POST"))[0] == 200
        assert await metric(sidecar, "sidecar_config_reload_ok") == 1
        assert await status_of(f"127.0.0.1:{port}", "/x") == 200


async def test_a_listener_comes_and_goes_with_the_config(tmp_path: Path) -> None:
    """A service gets a door of its own and loses it again; the other doors stay open."""
    [port] = free_ports(1)
    own = f"127.0.0.1:{port}"
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        Process(tmp_path, service("crm", vendor)) as sidecar,
        App.to(sidecar.egress_url) as stays,
    ):
        sidecar.write_config(service("crm", vendor, f'listen = ["{own}"]'))
        sidecar.send_signal(signal.SIGHUP)
        await wait_for_loaded(sidecar, 2)
        assert (await stays.ask("GET", "/crm/x")).status == 200
        async with App.to(own) as app:
            assert (await app.ask("GET", "/x")).status == 200
            sidecar.write_config(service("crm", vendor))
            sidecar.send_signal(signal.SIGHUP)
            await wait_for_loaded(sidecar, 3)
            assert await app.read_until_closed() == b""
        with pytest.raises(ConnectionRefusedError):
            await status_of(own, "/x")
        assert (await stays.ask("GET", "/crm/x")).status == 200


def call_of(service: str) -> Callable[[Line], bool]:
    """Make the question whether a line is about a call of this service."""
    return lambda line: line["msg"] == "call" and line["service"] == service


async def test_a_door_may_pass_to_a_service_of_another_name(tmp_path: Path) -> None:
    """The socket stays open, so no connection is refused in between; who was connected comes again."""
    [port] = free_ports(1)
    own = f"127.0.0.1:{port}"
    doors = f'listen = ["{own}"]'
    async with Vendor.echoing() as vendor, Process(tmp_path, service("crm", vendor, doors)) as sidecar:
        for number, name in enumerate(("billing", "crm"), 2):
            async with App.to(own) as app:
                assert (await app.ask("GET", "/x")).status == 200
                sidecar.write_config(service(name, vendor, doors))
                sidecar.send_signal(signal.SIGHUP)
                await wait_for_loaded(sidecar, number)
                assert await app.read_until_closed() == b""
            async with App.to(own) as app:
                assert (await app.ask("GET", "/y")).status == 200
            await sidecar.wait_for_line(call_of(name))


async def test_a_reload_that_wants_a_taken_port_is_refused_whole(tmp_path: Path) -> None:
    """Either everything of the new config is there, or nothing."""
    async with Vendor.answering(answer(b"ok")) as vendor, Process(tmp_path, service("crm", vendor)) as sidecar:
        [free] = free_ports(1)
        doors = f'listen = ["127.0.0.1:{free}", "127.0.0.1:{vendor.port}"]'
        sidecar.write_config(service("crm", vendor, doors) + service("billing", vendor))
        refused = await sidecar.wait_for_line(lambda line: line["msg"] == "config_refused")
        assert [problem for problem in refused["problems"] if "services.crm.listen[1]" in problem]
        assert str(vendor.port) in refused["problems"][0]
        assert await metric(sidecar, "sidecar_config_reload_ok") == 0
        with pytest.raises(ConnectionRefusedError):
            await status_of(f"127.0.0.1:{free}", "/x")
        assert await status_of(sidecar.egress_url, "/billing/x") == 404
        assert await status_of(sidecar.egress_url, "/crm/x") == 200


async def test_a_service_that_did_not_change_keeps_its_connections(tmp_path: Path) -> None:
    """A reload for one service costs the others nothing; what did change gets a pool of its own."""
    async with (
        Vendor.answering(answer(b"ok")) as kept,
        Vendor.answering(answer(b"ok")) as changed,
        Process(tmp_path, service("kept", kept) + service("changed", changed)) as sidecar,
        App.to(sidecar.egress_url) as app,
    ):
        for target in ("/kept/x", "/changed/x"):
            assert (await app.ask("GET", target)).status == 200
        sidecar.write_config(service("kept", kept) + service("changed", changed, 'timeout = "7s"'))
        sidecar.send_signal(signal.SIGHUP)
        await wait_for_loaded(sidecar, 2)
        await changed.wait_for_closed()
        for target in ("/kept/x", "/changed/x"):
            assert (await app.ask("GET", target)).status == 200
        assert (kept.connections_opened, changed.connections_opened) == (1, 2)


async def test_a_call_under_way_ends_in_the_generation_in_which_it_began(tmp_path: Path) -> None:
    """A reload cuts nothing off, also where the service is gone afterwards."""
    go_on = asyncio.Event()
    async with (
        Vendor.stalling(answer(b"whole"), 30, go_on) as vendor,
        Process(tmp_path, service("crm", vendor)) as sidecar,
        App.to(sidecar.egress_url) as app,
    ):
        await app.send(b"GET /crm/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await vendor.wait_for_head()
        sidecar.write_config("")
        sidecar.send_signal(signal.SIGHUP)
        await wait_for_loaded(sidecar, 2)
        go_on.set()
        reply = await app.read_answer()
        assert (reply.status, reply.body) == (200, b"whole")
        await vendor.wait_for_closed()
        assert (await app.ask("GET", "/crm/x")).status == 404


async def test_a_reload_may_be_asked_for_at_the_admin_door(tmp_path: Path) -> None:
    """The answer says which generation goes on, or all problems."""
    async with Vendor.answering(answer(b"ok")) as vendor, Process(tmp_path, service("crm", vendor)) as sidecar:
        async with aiohttp.ClientSession() as session:

            async def reload() -> tuple[int, Any]:
                async with session.post(f"{sidecar.admin_url}/api/reload") as reply:
                    return reply.status, await reply.json(content_type=None)

            status, body = await reload()
            assert (status, body["ok"]) == (200, True)
            generation = body["generation"]
            sidecar.write_config(service("crm", vendor, 'timeout = "1 hour"'))
            status, body = await reload()
            assert status == 422
            assert "services.crm.timeout" in body["problems"][0]
            assert str(generation) in body["detail"]
        assert await status_of(sidecar.egress_url, "/crm/x") == 200


# The command line beside it.


async def test_show_services_tells_of_the_running_sidecar(tmp_path: Path) -> None:
    """It finds the admin door by the same config; without a sidecar it says so and exits with 1."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        async with Process(tmp_path, service("crm", vendor)) as sidecar:
            assert await status_of(sidecar.egress_url, "/crm/x") == 200
            code, out, errors = await run("show", "services", directory=tmp_path)
            assert (code, errors) == (0, "")
            assert "crm" in out
        code, out, errors = await run("show", "services", directory=tmp_path)
        assert (code, out) == (1, "")
        assert "sidecar run" in errors


async def test_run_with_a_broken_config_exits_with_1_and_tells_every_problem(tmp_path: Path) -> None:
    """One look is enough to mend it."""
    (tmp_path / "sidecar.toml").write_text(
        '[listen]\nadmin = "0.0.0.0:99999"\n[services.a]\nbase_url = "ftp://x"\n[services.b]\ntimeout = 5\n'
    )
    code, out, errors = await run("run", directory=tmp_path)
    assert (code, out) == (1, "")
    for path in ("listen.admin", "services.a.base_url", "services.b.base_url", "services.b.timeout"):
        assert path in errors
    assert "Traceback" not in errors


async def test_run_on_a_taken_port_exits_with_1_and_names_it(tmp_path: Path) -> None:
    """Two sidecars on one port cannot be; the second says which key is to be changed."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        (tmp_path / "sidecar.toml").write_text(
            f'[listen]\negress = ["127.0.0.1:{vendor.port}"]\nadmin = "127.0.0.1:0"\ntelemetry = "127.0.0.1:0"\n'
        )
        code, _, errors = await run("run", directory=tmp_path)
    assert code == 1
    assert "listen.egress[0]" in errors
    assert str(vendor.port) in errors
    assert "Traceback" not in errors
