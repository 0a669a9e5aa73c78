"""The container that the chart renders, run as a kubelet runs it, with the config that the chart renders."""

import asyncio
import signal
from pathlib import Path
from typing import Any

from tests.helm.charts import configs, laid, only, rendered, sidecar_of
from tests.kit.app import App
from tests.kit.kubelet import Container
from tests.kit.process import free_ports
from tests.kit.vendor import Vendor, answer

Values = dict[str, Any]


def values_for(vendor: Vendor) -> tuple[Values, int]:
    """Give values of a chart whose vendor is on loopback, and the port of the app's door."""
    egress, admin, telemetry, webhooks = free_ports(4)
    listen = {
        "egress": [f"127.0.0.1:{egress}", "unix:/run/sidecar/egress.sock"],
        "admin": f"127.0.0.1:{admin}",
        "telemetry": f"0.0.0.0:{telemetry}",
        "webhooks": f"0.0.0.0:{webhooks}",
    }
    crm = {
        "base_url": vendor.url,
        "allow_private": True,
        "auth": {"kind": "bearer", "secret": "vendors:token"},
        "queue": {},
    }
    values: Values = {
        "config": {
            "sidecar": {"environment": "staging"},
            "listen": listen,
            "store": {"kind": "sqlite"},
            "services": {"crm": crm},
        },
        "secretVolumes": {"vendors": {"secret": {"secretName": "vendors"}}},
        "socket": {"enabled": True},
    }
    return values, egress


def text_of(values: Values) -> str:
    """Render the ConfigMap, and give its sidecar.toml."""
    ((_, text),) = configs(rendered("examples/bare", {"sidecar": values}))
    return text


def container_of(folder: Path, values: Values) -> Container:
    """Render the pod, and make its container, with what the Secret holds."""
    pod = only(rendered("examples/bare", {"sidecar": values}), "Deployment")["spec"]["template"]
    secrets = {"/etc/sidecar-secrets/vendors": {"token": "key-of-the-test"}}
    return Container(folder, sidecar_of(pod), text_of(values), secrets)


async def test_a_pod_of_the_chart_starts_calls_reloads_and_ends(tmp_path: Path) -> None:
    """Its probes gate the app, calls carry the mounted key, a changed ConfigMap is loaded, SIGTERM drains."""
    may_answer = asyncio.Event()
    may_answer.set()
    async with Vendor.stalling(answer(b"contacts"), 20, may_answer) as vendor:
        values, egress = values_for(vendor)
        async with container_of(tmp_path, values) as sidecar:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert await sidecar.probe(probe)
            for address in (f"http://127.0.0.1:{egress}", f"unix:{tmp_path}/run/sidecar/egress.sock"):
                async with App.to(address) as app:
                    assert (await app.ask("GET", "/crm/contacts")).body == b"contacts"
            assert [request.values("Authorization") for request in vendor.requests] == [[b"Bearer key-of-the-test"]] * 2
            assert (tmp_path / "var/lib/sidecar/state.db").exists()

            sidecar.swap_config(text_of(laid(values, {"config": {"log": {"level": "debug"}}})))
            await sidecar.wait_for_line(lambda line: line["msg"] == "config_loaded" and line["generation"] == 2)

            may_answer.clear()
            async with App.to(f"http://127.0.0.1:{egress}") as app:
                call = asyncio.create_task(app.ask("GET", "/crm/contacts"))
                await vendor.wait_for_request(3)
                sidecar.send_signal(signal.SIGTERM)
                await sidecar.wait_for_line(lambda line: line.get("step") == "finish_calls" or line.get("busy") == 1)
                assert not await sidecar.probe("readinessProbe")
                assert await sidecar.probe("livenessProbe")
                may_answer.set()
                assert (await call).body == b"contacts"
            assert await sidecar.wait() == 0
    assert sidecar.errors == b""
    assert "key-of-the-test" not in str(sidecar.lines)
