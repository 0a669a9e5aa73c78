"""Webhooks: how many events a second are verified, stored for good and acknowledged, while the app is down.

    python -m bench.webhooks --folder DIR [--seconds 10] [--clients 64] [--kind sqlite|valkey]

A sidecar process with one webhook whose app does not listen, and beside it so many clients that each send one signed
event after the other over a connection of their own. The disk's own pace, one fdatasync after the other in the same
folder, is measured before and after.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench.accepts import ROOT, disk_pace, wait_until_ready
from tests.kit.hooks import hook_config, signed
from tests.kit.process import free_ports
from tests.kit.valkey import Valkey

BODY = b'{"type": "invoice.paid", "data": {"id": 7, "note": "' + b"x" * 400 + b'"}}'
MORE = 'length_max = 100000000\nbytes_max = "50GiB"\n'


async def client(port: int, name: str, until: float, took: list[float]) -> None:
    """Send one event after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    while time.monotonic() < until:
        fields = "".join(f"{key}: {value}\r\n" for key, value in signed(f"{name}_{count}", BODY).items())
        request = f"POST /stripe HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
        count += 1
        began_at = time.monotonic()
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        took.append(time.monotonic() - began_at)
    writer.close()


async def load(port: int, clients: int, seconds: float) -> list[float]:
    """Give how long each acknowledgement took."""
    took: list[float] = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(client(port, f"evt_{n}", until, took) for n in range(clients)))
    return took


def resident(pid: int) -> int:
    """Give the resident MiB of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def run(arguments: argparse.Namespace, folder: Path, store: str) -> None:
    """Measure, and print one line."""
    egress, admin, telemetry, port, nobody = free_ports(5)
    file = folder / "sidecar.toml"
    file.write_text(
        f'[listen]\negress = ["127.0.0.1:{egress}"]\nadmin = "127.0.0.1:{admin}"\n'
        f'telemetry = "127.0.0.1:{telemetry}"\nwebhooks = "127.0.0.1:{port}"\n'
        + hook_config(folder, f"http://127.0.0.1:{nobody}/hooks", MORE, store)
    )
    before = disk_pace(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "run", "-c", str(file)], stdout=subprocess.DEVNULL,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        wait_until_ready(telemetry)
        empty = resident(process.pid)
        took = uvloop.run(load(port, arguments.clients, arguments.seconds))
        full = resident(process.pid)
    finally:
        process.terminate()
        process.wait(30)
    pace = (before + disk_pace(folder)) / 2
    rate = len(took) / arguments.seconds
    cuts = statistics.quantiles(took, n=100)
    print(
        f"{arguments.kind}: {rate:,.0f} acknowledgements/s, p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms;"
        f" {len(took):,} events wait: {empty} MiB before, {full} MiB after; the disk forces {pace:,.0f} a second"
    )


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--kind", choices=["sqlite", "valkey"], default="sqlite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        store = '[store]\nkind = "sqlite"\nbytes_max = "50GiB"\n'
        if arguments.kind == "valkey":
            valkey = stack.enter_context(Valkey.serving(is_durable=True))
            secrets = folder / "secrets"
            secrets.mkdir(mode=0o700)
            (secrets / "valkey").touch(mode=0o600)
            (secrets / "valkey").write_text(valkey.password)
            store = (
                f'[store]\nkind = "valkey"\nurl = "{valkey.url}"\npassword = "files:valkey"\n'
                f'[secrets.files]\nkind = "file"\npath = "{secrets}"\n'
            )
        run(arguments, folder, store)


if __name__ == "__main__":
    main()
