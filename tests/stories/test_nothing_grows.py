"""A pod runs for weeks: calls leave nothing behind in memory, however they ended and whatever was new in them."""

import asyncio
import gc
import secrets
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import sidecar
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

CALLS = 60  # Of each kind, before the first look and before the second.
GROWTH_MAX = 24 * 1024  # Bytes over 480 calls: a name of one byte kept for each would be more, with its object.
OURS = tracemalloc.Filter(True, f"{Path(sidecar.__file__).parent}/*")


async def play(exchange: Exchange) -> None:
    """Answer as the path says."""
    assert exchange.request is not None
    if exchange.request.target.startswith(b"/drop"):
        await exchange.close()
    elif exchange.request.target.startswith(b"/garbage"):
        await exchange.send(b"SMTP 220 hello\r\n\r\n")
        await exchange.close()
    elif exchange.request.target.startswith(b"/fail"):
        await exchange.send(answer(b'{"error": "%b"}' % exchange.request.target, status=500))
    elif exchange.request.target.startswith(b"/wait"):
        await exchange.read_some()  # Until the app, and with it the sidecar, leaves.
    else:
        await exchange.send(answer(chunks=[b"a", exchange.request.target]))


async def call_all(pod: Pod, vendor: Vendor) -> None:
    """Make a call of each kind, with a path, an id, a method and a key that no call had before."""
    new = secrets.token_hex(16)
    fields = (f"X-Request-ID: {new}", f"Idempotency-Key: {new}", f"Sidecar-App: {new}", f"X-{new}: {new}")
    for target in (f"/vendor/{new}?{new}", f"/vendor/fail/{new}", f"/{new}/x", f"/vendor/../{new}", f"http://{new}/x"):
        async with pod.app() as app:
            await app.ask("GET", target, *fields)
    for target in ("/vendor/drop", "/vendor/garbage"):
        async with pod.app() as app:
            assert (await app.ask(f"X{new}".upper(), f"{target}/{new}", *fields)).status in {400, 502}
    async with pod.app() as app:
        seen = len(vendor.requests)
        await app.send(f"GET /vendor/wait/{new} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await vendor.wait_for_request(seen + 1)


async def held(pod: Pod) -> int:
    """Give the bytes that our code has allocated and still holds, when all calls are over."""
    await pod.assert_nothing_left()
    assert await asyncio.to_thread(pod.sidecar._writer.flush, 10)
    async with pod.app() as app:  # The log's thread keeps its last batch: let it be a small one.
        await app.ask("GET", "/vendor/last")
    await pod.assert_nothing_left()
    assert await asyncio.to_thread(pod.sidecar._writer.flush, 10)
    for cache in bounded_caches():
        cache.cache_clear()
    gc.collect()
    traces = tracemalloc.take_snapshot().filter_traces([OURS])
    return sum(statistic.size for statistic in traces.statistics("filename"))


def bounded_caches() -> list[Any]:
    """Give our functions that remember answers; each has a bound, or it would be a leak with a name."""
    modules = [module for name, module in sys.modules.items() if name.startswith("sidecar.")]
    found = [value for module in modules for value in vars(module).values() if hasattr(value, "cache_clear")]
    assert found
    assert all(cache.cache_info().maxsize is not None for cache in found)
    return found


async def test_calls_leave_no_memory_behind(tmp_path: Path) -> None:
    """Neither names nor ids nor failures pile up: what is kept has a bound, and calls keep nothing."""
    tracemalloc.start()
    try:
        async with Vendor(play) as vendor, Pod(tmp_path, vendor, service="circuit_breaker = false") as pod:
            seen = []
            for _ in range(2):
                for _ in range(CALLS):
                    await call_all(pod, vendor)
                seen.append(await held(pod))
    finally:
        tracemalloc.stop()
    assert seen[1] - seen[0] < GROWTH_MAX, f"{seen[1] - seen[0]} bytes are left of {8 * CALLS} calls"
