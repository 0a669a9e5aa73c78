"""The metrics of a real process: linted by promtool; and one that is well gives no alert."""

import asyncio
import math
import re
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from sidecar.telemetry.table import TABLE
from tests.kit.app import App
from tests.kit.exchange import Exchange
from tests.kit.process import Process
from tests.kit.vendor import Vendor, answer
from tests.operations.cases import Case
from tests.operations.firing import at, expected, run, scraped
from tests.operations.promtool import promtool, rules

CONFIG = """
[store]
kind = "sqlite"
[secrets.files]
kind = "file"
path = "{secrets}"
[webhooks.orders]
provider = "standard-webhooks"
secret = "files:hook"
deliver_to = "http://127.0.0.1:9/orders"
[services.crm]
base_url = "{vendor}"
allow_private = true
auth = {{ kind = "bearer", secret = "files:key" }}
rate_limit = {{ rate = "100000/s" }}
[services.crm.routes.search]
match = "GET /search/**"
[services.down]
base_url = "http://127.0.0.1:9"
allow_private = true
"""
SUNSET_AT, DEPRECATED_AT = 3151439999.0, 1688169599.0
TARGETS = ["/crm/items", "/crm/search/x", "/crm/items", "/down/x"] * 15 + ["/crm/bad", "/nobody/x"]


async def read(directory: Path) -> str:
    """Run a sidecar with some load of all kinds, and give what a scrape of it reads."""
    secrets = directory / "secrets"
    secrets.mkdir()
    (secrets / "key").write_text("k-1234567890")
    (secrets / "hook").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        is_bad = exchange.request.target.endswith(b"/bad")
        ends = [(b"Sunset", b"Sun, 11 Nov 2069 23:59:59 GMT"), (b"Deprecation", b"@1688169599")]
        await exchange.send(answer(b"well", status=500 if is_bad else 200, headers=ends))

    async with Vendor(play) as vendor:
        config = CONFIG.format(secrets=secrets, vendor=vendor.url)
        async with Process(directory, config, listen='webhooks = "127.0.0.1:0"') as sidecar:
            async with App.to(sidecar.egress_url) as app:
                for target in TARGETS:
                    await app.ask("GET", target)
            async with aiohttp.ClientSession() as session, session.get(f"{sidecar.telemetry_url}/metrics") as reply:
                assert reply.status == 200
                return await reply.text()


async def test_what_a_scrape_reads_is_well_formed_and_gives_the_right_alert(tmp_path: Path) -> None:
    """Names, types and help as Prometheus wants them; standing so for two hours, it wakes people for one thing alone.

    That is the vendor that is down. What the other one says of its end is further away than a month.
    """
    text = await read(tmp_path)
    code, said = await asyncio.to_thread(lambda: promtool("check", "metrics", stdin=text))
    assert (code, said) == (0, ""), said
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {row.name.removesuffix("_total") for row in TABLE} <= set(families)
    samples = [sample for family in families.values() for sample in family.samples]
    values = {(sample.name, sample.labels.get("route")): sample.value for sample in samples}
    for route in ("", "search"):
        assert values["sidecar_deprecation_sunset_at", route] == SUNSET_AT
        assert values["sidecar_deprecation_at", route] == DEPRECATED_AT
    series = {}
    for sample in samples:
        labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
        if math.isfinite(sample.value):
            series[f"{sample.name}{{{labels}}}"] = f"{sample.value!r}x120"
    circuit = Case("SidecarCircuitOpen", {}, 0, {"service": "down"}, "the circuit to down is not closed in 1 pods", {})
    told = {"SidecarCircuitOpen": [expected(circuit)]}
    tests = [at(minute * 60, alert, *told.get(alert, [])) for alert in rules() for minute in (20, 110)]
    await asyncio.to_thread(run, tmp_path, {"input_series": scraped(series), "alert_rule_test": tests})


def test_promtool_would_complain_of_what_is_not_well_formed() -> None:
    """So the test above says something."""
    code, said = promtool("check", "metrics", stdin="# TYPE calls counter\ncalls 1\n")
    assert code != 0
    assert re.search("no help text|_total", said)
