"""The backlog of each durable store: what appends, claims and memory cost with up to a million entries that wait.

    python -m bench.backlog [sqlite|valkey] [entries]

Bounded: a million entries or FILL_SECONDS of filling, whichever is first, then DURABLE_SECONDS of appends by 64 clients
at once, each of them on the disk before it is answered (SQLite: synchronous = FULL; Valkey: appendfsync always).
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from sidecar.core.clock import SystemClock
from sidecar.core.secret import Secret
from sidecar.core.units import Size
from sidecar.store.backlog import WAITING, Backlog, Bounds, NewEntry, Settlement
from sidecar.store.base import Store
from sidecar.store.config import Nodes, StoreConfig
from sidecar.store.opening import Around, open_store
from tests.kit.valkey import Valkey

LEVELS = (0, 10_000, 100_000, 1_000_000)
FILL_SECONDS = 300.0
DURABLE_SECONDS = 5.0
CLIENTS = 64
CLAIMS = 200  # At each level.
HEAD, BODY = b"h" * 200, b"b" * 800
WIDE = Bounds(10_000_000, 2**40)
MIB = 2**20


def rss_mib() -> float:
    """Give the resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextlib.asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[tuple[Store, Valkey | None]]:
    """Open a store of a kind, empty."""
    around = Around(SystemClock(), lambda: 0.5, lambda *_, **__: None, folder, None)
    with contextlib.ExitStack() as stack:
        server = None
        config = StoreConfig(kind="sqlite", bytes_max=Size(2**34))
        if kind == "valkey":
            server = stack.enter_context(Valkey.serving(is_durable=True))
            password = Secret(server.password.encode(), "1")
            around = around._replace(password=lambda: password)
            config = StoreConfig(kind="valkey", url=Nodes.parse(server.url))
        store = open_store(config, around)
        await store.open()
        try:
            yield store, server
        finally:
            await store.close()


async def claims(backlog: Backlog) -> tuple[float, float]:
    """Claim one entry at a time, and have it wait again; give median and 99th percentile, in ms."""
    took = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        claimed = await backlog.claim("bench", "w", 1, 60)
        took.append((time.perf_counter() - began) * 1000)
        for entry in claimed:
            await backlog.settle("bench", entry.id, "w", Settlement(WAITING))
    took.sort()
    return statistics.median(took), took[int(len(took) * 0.99)]


async def fill(kind: str, store: Store, server: Valkey | None, entries: int) -> None:
    """Append up to each level, and print what it costs there."""
    print(f"\n{kind}: {len(HEAD) + len(BODY)} bytes each, every second one with one of 50,000 keys\n")
    print("| waiting | s_per_1000_appends | claim_ms_median | claim_ms_p99 | rss_mib | server_mib |")
    print("|---:|---:|---:|---:|---:|---:|")
    there = 0
    stop_at = time.perf_counter() + FILL_SECONDS
    for level in (level for level in LEVELS if level <= entries):
        began, before = time.perf_counter(), there
        while there < level and time.perf_counter() < stop_at:
            batch = [
                NewEntry(f"{n:032x}", f"customer-{n % 50_000}" if n % 2 else "", HEAD, BODY)
                for n in range(there, there + 1000)
            ]
            await store.backlog.append("bench", batch, WIDE)
            there += 1000
        per_1000 = (time.perf_counter() - began) / max(1, there - before) * 1000
        median, late = await claims(store.backlog)
        used = "" if server is None else f"{await asyncio.to_thread(used_mib, server):.0f}"
        print(f"| {there:,} | {per_1000:.3f} | {median:.2f} | {late:.2f} | {rss_mib():.0f} | {used} |", flush=True)


def used_mib(server: Valkey) -> float:
    """Give the memory of the server."""
    with server.client as client:
        return float(client.info("memory")["used_memory"]) / MIB


async def durable(kind: str, backlog: Backlog) -> None:
    """Append one entry at a time, from all clients at once."""
    took: list[float] = []
    stop_at = time.perf_counter() + DURABLE_SECONDS

    async def client(number: int) -> None:
        count = 0
        while (began := time.perf_counter()) < stop_at:
            await backlog.append("durable", [NewEntry(f"{number}-{count}", "", HEAD, BODY)], WIDE)
            took.append((time.perf_counter() - began) * 1000)
            count += 1

    cpu = time.process_time()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    cpu = time.process_time() - cpu
    took.sort()
    print(
        f"\n{kind}, {CLIENTS} clients: {len(took) / DURABLE_SECONDS:,.0f} durable appends per second, "
        f"p50 {statistics.median(took):.1f} ms, p99 {took[int(len(took) * 0.99)]:.1f} ms, "
        f"{cpu / len(took) * 1e6:.0f} us of CPU each"
    )


async def measure(kind: str, entries: int) -> None:
    """Measure one store."""
    with tempfile.TemporaryDirectory(prefix="backlog-") as folder:
        async with opened(kind, Path(folder)) as (store, server):
            await durable(f"{kind}, empty", store.backlog)
            await fill(kind, store, server, entries)
            await durable(f"{kind}, filled", store.backlog)


def main() -> None:
    """Measure what is named, or both."""
    kinds = sys.argv[1:2] or ["sqlite", "valkey"]
    entries = int(sys.argv[2]) if len(sys.argv) > 2 else LEVELS[-1]
    for kind in kinds:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(kind, entries))


if __name__ == "__main__":
    main()
