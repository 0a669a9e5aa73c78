"""Accepts: how many calls a second become jobs, over HTTP, acknowledged once they are on the disk or in Valkey.

    python -m bench.accepts --folder DIR [--seconds 10] [--clients 64] [--kind sqlite|valkey] [--package DIR]

A sidecar process, and beside it so many clients that each send a POST with `Prefer: respond-async` and wait for 202.
No job runs meanwhile. The disk's own pace, one fdatasync after the other in the same folder, is measured before and
after. `--package` is where a compiled package lies (build/compiled); without it the sources run.
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
import urllib.request
from pathlib import Path

import uvloop

from tests.kit.process import free_ports
from tests.kit.valkey import Valkey

ROOT = Path(__file__).resolve().parent.parent
BODY = b'{"order": 7, "note": "' + b"x" * 200 + b'"}'
CONFIG = """
[listen]
egress = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
telemetry = "127.0.0.1:{telemetry}"
{store}
[log]
success = 0.0
[services.vendor]
base_url = "http://127.0.0.1:9"
allow_private = true
queue = {{ rate = "1/h", length_max = 100000000, bytes_max = "50GiB" }}
"""


def disk_pace(folder: Path, seconds: float = 1.0) -> float:
    """Give how many times a second the disk forces 4 KiB down, one after the other."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        count, began_at = 0, time.monotonic()
        while time.monotonic() - began_at < seconds:
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fdatasync(file.fileno())
            count += 1
        return count / (time.monotonic() - began_at)


async def client(port: int, until: float, took: list[float]) -> None:
    """Send one call after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        b"POST /vendor/orders HTTP/1.1\r\nHost: localhost\r\nPrefer: respond-async\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    )
    while time.monotonic() < until:
        began_at = time.monotonic()
        writer.write(head + BODY)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 202"), answer
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        took.append(time.monotonic() - began_at)
    writer.close()


async def load(port: int, clients: int, seconds: float) -> list[float]:
    """Give how long each accept took."""
    took: list[float] = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(client(port, until, took) for _ in range(clients)))
    return took


def wait_until_ready(port: int) -> None:
    """Wait for the sidecar."""
    for _ in range(400):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise SystemExit("the sidecar is not ready")


def run(arguments: argparse.Namespace, folder: Path, store: str) -> None:
    """Measure, and print one line."""
    port, admin, telemetry = free_ports(3)
    file = folder / "sidecar.toml"
    file.write_text(CONFIG.format(port=port, admin=admin, telemetry=telemetry, store=store))
    before = disk_pace(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "run", "-c", str(file)], stdout=subprocess.DEVNULL,
        cwd=arguments.package or ROOT, env={**os.environ, "PYTHONPATH": str(arguments.package or ROOT)},
    )  # fmt: skip
    try:
        wait_until_ready(telemetry)
        took = uvloop.run(load(port, arguments.clients, arguments.seconds))
    finally:
        process.terminate()
        process.wait(30)
    after = disk_pace(folder)
    pace = (before + after) / 2
    rate = len(took) / arguments.seconds
    cuts = statistics.quantiles(took, n=100)
    print(
        f"{arguments.kind}: {rate:,.0f} accepts/s, p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms; "
        f"the disk forces {pace:,.0f} a second by itself: {rate / pace:.1f} accepts each"
    )


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--kind", choices=["sqlite", "valkey"], default="sqlite")
    parser.add_argument("--package", type=Path)
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
