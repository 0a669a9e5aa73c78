"""Store: what is durably put in a second, and how long each put takes, with 64 clients at once.

python -m bench.store --folder /var/lib/somewhere

Beside SQLite stands what the disk itself does in that folder: one write of a page and one fdatasync after the other.
Valkey is the server of the tests, on loopback, with its append-only file in the same folder.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from sidecar.core.clock import SystemClock
from sidecar.core.secret import Secret
from sidecar.core.units import Duration, Size
from sidecar.store.base import Store
from sidecar.store.config import Nodes, StoreConfig
from sidecar.store.opening import Around, open_store
from tests.kit.valkey import Valkey

CLIENTS = 64
VALUE = os.urandom(1000)  # About a small job.
LIFE = 3600.0
PAGE = b"x" * 4096
ROW = "{:32} {:>9} {:>9} {:>9} {:>9} {:>12}"


def disk(folder: Path, seconds: float) -> tuple[float, list[float]]:
    """Write a page and force it to the disk, one after the other; give how often in a second, and each length."""
    took = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        fd = file.fileno()
        ends_at = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < ends_at:
            os.write(fd, PAGE)
            os.fdatasync(fd)
            took.append(time.perf_counter() - begun)
    return len(took) / seconds, took


async def puts(store: Store, seconds: float) -> tuple[float, list[float]]:
    """Put by all clients, each its next when the one before was acknowledged."""
    took: list[float] = []
    ends_at = time.perf_counter() + seconds

    async def client(name: int) -> None:
        turn = 0
        while (begun := time.perf_counter()) < ends_at:
            await store.records.put(f"{name}.{turn}", VALUE, LIFE)
            took.append(time.perf_counter() - begun)
            turn += 1

    await asyncio.gather(*map(client, range(CLIENTS)))
    return len(took) / seconds, took


async def with_store(
    config: StoreConfig, folder: Path, password: str, seconds: float
) -> tuple[float, list[float], str]:
    """Open a store and measure it; warm up a tenth of the time."""
    secret = Secret(password.encode(), "1")
    tell: Callable[..., None] = lambda *_, **fields: print(fields)  # noqa: E731
    store = open_store(config, Around(SystemClock(), lambda: 0.5, tell, folder, None, password=lambda: secret))
    await store.open()
    await puts(store, seconds / 10)
    file = getattr(store, "_file", None)
    before = file.commits if file is not None else 0
    rate, took = await puts(store, seconds)
    grouped = f"{len(took) / (file.commits - before):.0f} a commit" if file is not None else ""
    await store.close()
    return rate, took, grouped


def row(name: str, rate: float, took: list[float], last: str) -> None:
    """Print one line of the table."""
    cuts = statistics.quantiles(took, n=1000)
    shown = [f"{1000 * cuts[at - 1]:.2f}" for at in (500, 990, 999)]
    print(ROW.format(name, f"{rate:,.0f}", *shown, last), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk that is measured")
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    run = asyncio.Runner(loop_factory=uvloop.new_event_loop).run
    print(f"{CLIENTS} clients, values of {len(VALUE)} bytes, {arguments.seconds:g} s each; lengths in ms")
    print(ROW.format("", "a second", "p50", "p99", "p99.9", ""))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        here = Path(folder)
        rate, took = disk(here, arguments.seconds)
        row("fdatasync of the disk", rate, took, "")
        sqlite = StoreConfig(kind="sqlite", bytes_max=Size(2**33))
        puts_rate, took, grouped = run(with_store(sqlite, here, "", arguments.seconds))
        row("sqlite", puts_rate, took, grouped)
        print(f"sqlite: {puts_rate / rate:.1f} durable puts for each fdatasync that the disk does")
        for appendfsync, connections in (("always", 8), ("always", CLIENTS), ("everysec", 8)):
            data = here / f"{appendfsync}-{connections}"
            server = Valkey(data, is_durable=True)
            server.start()
            try:
                with server.client as operator:
                    operator.config_set("appendfsync", appendfsync)
                nodes = Nodes.parse(server.url)
                valkey = StoreConfig(kind="valkey", url=nodes, timeout=Duration(10), connections_max=connections)
                result = run(with_store(valkey, here, server.password, arguments.seconds))
                row(f"valkey, {appendfsync}, {connections} connections", *result)
            finally:
                server.kill()


if __name__ == "__main__":
    main()
