"""A vendor announces the end of its API: people learn of it, the app gets its word unchanged, and a move ends it."""

from pathlib import Path

import aiohttp

from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

SUNSET = b"Sun, 11 Nov 2029 23:59:59 GMT"
SERIES = 'sidecar_deprecation_sunset_at{route="old",service="vendor"}'
ROUTES = 'routes.old.match = "GET /v1/**"'


async def play(exchange: Exchange) -> None:
    """Announce the end of /v1."""
    assert exchange.request is not None
    is_old = exchange.request.target.startswith(b"/v1")
    headers = [(b"sunset", SUNSET), (b"Link", b'<https://vendor.example/v2>; rel="sunset"')] if is_old else []
    await exchange.send(answer(b"well", headers=headers))


async def metrics(pod: Pod) -> str:
    """Scrape."""
    url = f"http://{pod.sidecar.address('telemetry')}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        return await reply.text()


async def test_the_end_of_an_api_is_seen_before_it_comes(tmp_path: Path) -> None:
    """A line once, a row for people, a series with the date; nothing for what goes on."""
    async with Vendor(play) as vendor, Pod(tmp_path, vendor, service=ROUTES) as pod:
        async with pod.app() as app:
            await app.ask("GET", "/vendor/v2/items")
            assert "sidecar_deprecation_sunset_at{" not in await metrics(pod)
            for _ in range(3):
                reply = await app.ask("GET", "/vendor/v1/items")
                assert reply.value("Sunset") == SUNSET.decode()
        assert f"{SERIES} 1.889135999e+09" in await metrics(pod)
        [line] = [line for line in await pod.log_lines() if line["msg"] == "notice_heard"]
        shown = {"route": "old", "sunset": "2029-11-11T23:59:59Z", "link": "https://vendor.example/v2"}
        assert shown.items() <= line.items()
        assert pod.snapshot()["services"]["vendor"]["notice"] == shown
        pod._base_path = "/next"
        pod.write_config()
        await pod.sidecar.reload()
        assert "sidecar_deprecation_sunset_at{" not in await metrics(pod)  # Nobody calls what ends any more.
