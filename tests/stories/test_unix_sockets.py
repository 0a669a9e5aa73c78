"""Doors that are files: who may open them, what stands in their way, and what is left of them."""

import socket
import stat
from pathlib import Path

import pytest

from sidecar.config.problem import ConfigError
from tests.kit.app import App
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer


def pod_at(tmp_path: Path, name: str, vendor: Vendor, egress: Path, service: str = "") -> Pod:
    """Give a pod with a folder of its own, whose door is a file."""
    folder = tmp_path / name
    folder.mkdir()
    return Pod(folder, vendor, egress=f'"unix:{egress}"', service=service)


async def served(door: Path, target: str = "/vendor/x") -> bytes:
    """Ask at a door, by a name that no TCP door would take."""
    async with App.to(f"unix:{door}") as app:
        return (await app.ask("GET", target, host="anything.example")).body


async def test_a_socket_is_for_user_and_group_and_goes_with_the_sidecar(tmp_path: Path) -> None:
    """Mode 0660 whatever the umask; nothing is left of it at the end."""
    door = tmp_path / "egress.sock"
    async with Vendor.answering(answer(b"ok")) as vendor:
        async with pod_at(tmp_path, "a", vendor, door) as pod:
            assert stat.S_IMODE(door.stat().st_mode) == 0o660
            assert await served(door) == b"ok"
            await pod.assert_nothing_left()
        assert not door.exists()


async def test_a_service_may_have_a_socket_of_its_own(tmp_path: Path) -> None:
    """All of it leads to that service; the shared door is beside it."""
    shared, own = tmp_path / "egress.sock", tmp_path / "own.sock"
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        pod_at(tmp_path, "a", vendor, shared, f'listen = ["unix:{own}"]') as pod,
    ):
        assert await served(own, "/v1/charges") == b"ok"
        assert await served(shared, "/vendor/v1/charges") == b"ok"
        assert [request.target for request in vendor.requests] == [b"/v1/charges"] * 2
        await pod.assert_nothing_left()


async def test_what_a_killed_sidecar_left_is_replaced(tmp_path: Path) -> None:
    """A file at which nobody listens keeps nobody from starting."""
    door = tmp_path / "egress.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(door))
    assert door.is_socket()
    async with Vendor.answering(answer(b"ok")) as vendor, pod_at(tmp_path, "a", vendor, door):
        assert await served(door) == b"ok"


async def test_a_socket_that_is_served_is_not_taken_away(tmp_path: Path) -> None:
    """A second sidecar says so and ends; the first goes on at its door."""
    door = tmp_path / "egress.sock"
    async with Vendor.answering(answer(b"ok")) as vendor, pod_at(tmp_path, "a", vendor, door) as pod:
        with pytest.raises(ConfigError, match=r"listen\.egress\[0\]: cannot listen on .*in use; is another process"):
            await pod_at(tmp_path, "b", vendor, door).__aenter__()
        assert await served(door) == b"ok"
        await pod.assert_nothing_left()


async def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    """A slip in the path costs nobody a file."""
    door = tmp_path / "notes.txt"
    door.write_text("kept")
    async with Vendor.answering(answer(b"ok")) as vendor:
        with pytest.raises(ConfigError, match="cannot listen on"):
            await pod_at(tmp_path, "a", vendor, door).__aenter__()
    assert door.read_text() == "kept"


async def test_a_reload_that_is_refused_leaves_the_sockets_alone(tmp_path: Path) -> None:
    """What was opened for the new config is taken back; the old doors go on."""
    door, more = tmp_path / "egress.sock", tmp_path / "more.sock"
    taken = tmp_path / "taken"
    taken.write_text("")
    async with Vendor.answering(answer(b"ok")) as vendor, pod_at(tmp_path, "a", vendor, door) as pod:
        text = pod.config_file.read_text()
        for doors in (f'"unix:{door}", "unix:{more}", "unix:{taken}"', f'"unix:{more}", "unix:{taken}"'):
            pod.config_file.write_text(text.replace(f'"unix:{door}"', doors))
            assert not (await pod.sidecar.reload())["ok"]
            assert not more.exists()
            assert await served(door) == b"ok"
        pod.config_file.write_text(text.replace(f'"unix:{door}"', f'"unix:{more}"'))
        assert (await pod.sidecar.reload())["ok"]
        assert await served(more) == b"ok"
        assert not door.exists()
