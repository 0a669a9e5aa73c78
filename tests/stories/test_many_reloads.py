"""A pod that is reloaded for weeks holds no more than one that was reloaded once."""

import secrets
from pathlib import Path
from typing import Any

from tests.kit.pod import Pod
from tests.kit.vendor import Vendor

RELOADS = 100
AUTH = 'auth = { kind = "bearer", secret = "files:token" }'


def _held(pod: Pod) -> dict[str, Any]:
    """Count what a generation could leave behind."""
    sidecar = pod.sidecar
    generation = sidecar._generation
    assert generation is not None
    held = generation.shared.secrets.values
    return {
        "secrets": len(held),
        "listeners": [len(one._listeners) for one in held.values()],
        "masked": len(sidecar._log.redactor._known),
        "watched": len(sidecar._grounds.metrics._watches),
        "contexts": len(generation.shared.contexts._made),
        "tasks": len(sidecar._tasks) + len(sidecar._doors._closing),
        "doors": len(sidecar._doors.egress) + len(sidecar._doors._open),
    }


async def test_a_hundred_generations_leave_nothing_behind(tmp_path: Path) -> None:
    """Listeners of secrets, masked values, gauges, contexts, doors: those of the last one only."""
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, service=AUTH)
        pod.write_secret("token", secrets.token_hex(20))
        async with pod:
            first = _held(pod)
            for number in range(RELOADS):
                pod._service = f'{AUTH}\ntimeout = "{10 + number % 2}s"'
                # Every second one renames the doors; every fifth is refused.
                pod._sections["listen"] = f'hosts = ["h{number // 2}.internal"]' if number % 5 else "hosts = [5]"
                pod.write_config()
                assert (await pod.sidecar.reload())["ok"] is (number % 5 != 0)
            await pod.until(lambda: _held(pod) == first, "what is held")
            async with pod.app() as app:
                assert (await app.ask("GET", "/vendor/x")).status == 200
            await pod.assert_nothing_left()


async def test_a_reload_asked_for_at_the_door_that_it_renames_is_answered(tmp_path: Path) -> None:
    """The door must not wait for the very request that waits for the door."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        pod._sections["listen"] = 'hosts = ["other.internal"]'
        pod.write_config()
        async with pod.app(pod.sidecar.address("admin")) as app:
            reply = await app.ask("POST", "/api/reload")
            assert (reply.status, reply.json()["generation"]) == (200, 2)
        async with pod.app(pod.sidecar.address("admin")) as app:
            assert (await app.ask("GET", "/api/services", host="other.internal")).status == 200
            assert (await app.ask("GET", "/api/services", host="third.internal")).status == 403
