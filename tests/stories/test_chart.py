"""The container that the chart renders, run as a kubelet runs it, with the config that the chart renders."""

import asyncio
import signal
from pathlib import Path

from tests.helm.charts import laid
from tests.helm.loopback import KEY, SECRETS, container_of, socket_below, text_of, values_for
from tests.kit.app import App
from tests.kit.kubelet import Container
from tests.kit.vendor import Vendor, answer


async def test_a_pod_of_the_chart_starts_calls_reloads_and_ends(tmp_path: Path) -> None:
    """Its probes gate the app, calls carry the mounted key, a changed ConfigMap is loaded, SIGTERM drains."""
    may_answer = asyncio.Event()
    may_answer.set()
    async with Vendor.stalling(answer(b"contacts"), 20, may_answer) as vendor:
        values, egress = values_for(vendor)
        async with Container(tmp_path, container_of(values), text_of(values), SECRETS) as sidecar:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert await sidecar.probe(probe)
            for address in (f"http://127.0.0.1:{egress}", socket_below(tmp_path)):
                async with App.to(address) as app:
                    assert (await app.ask("GET", "/crm/contacts")).body == b"contacts"
            assert [request.values("Authorization") for request in vendor.requests] == [[f"Bearer {KEY}".encode()]] * 2
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
    assert KEY not in str(sidecar.lines)
