"""Durable: a sidecar over a store that keeps, clients at its door, and the disk beside it: what such benches share."""

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
from collections.abc import Iterator
from pathlib import Path

from tests.kit.kept import valkey_store
from tests.kit.valkey import Valkey

ROOT = Path(__file__).resolve().parent.parent
LISTEN = '[listen]\negress = ["127.0.0.1:{0}"]\nadmin = "127.0.0.1:{1}"\ntelemetry = "127.0.0.1:{2}"\n'


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Give a command line with what all of them take."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk that is measured")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--kind", choices=["sqlite", "valkey"], default="sqlite")
    parser.add_argument("--package", type=Path, help="build/compiled; without it the sources run")
    return parser


@contextlib.contextmanager
def stored(folder: Path, kind: str) -> Iterator[tuple[Path, str, Valkey | None]]:
    """Give an empty folder below `folder`, a wide `[store]` for it, and its server if it has one."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        if kind == "sqlite":
            yield Path(name), '[store]\nkind = "sqlite"\nbytes_max = "50GiB"\n', None
            return
        with Valkey.serving(is_durable=True) as valkey:
            yield Path(name), valkey_store(valkey, Path(name)), valkey


@contextlib.contextmanager
def sidecar(folder: Path, config: str, telemetry: int, package: Path | None) -> Iterator[int]:
    """Run a sidecar, and give its process id when it is ready."""
    file = folder / "sidecar.toml"
    file.write_text(config)
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "run", "-c", str(file)], stdout=subprocess.DEVNULL,
        cwd=package or ROOT, env={**os.environ, "PYTHONPATH": str((package or ROOT).resolve())},
    )  # fmt: skip
    try:
        _wait_until_ready(telemetry)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_ready(port: int) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise SystemExit("the sidecar is not ready")


async def load(port: int, clients: int, requests: Iterator[bytes], status: int, seconds: float) -> list[float]:
    """Have clients send one request after the other, while there are any and there is time; give how long each took."""
    took: list[float] = []
    until = time.monotonic() + seconds
    wanted = b"HTTP/1.1 %d " % status

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < until and (request := next(requests, None)) is not None:
            began_at = time.monotonic()
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(wanted), answer
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            took.append(time.monotonic() - began_at)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return took


def figures(took: list[float], seconds: float, noun: str) -> str:
    """Say how many a second, and how long they took."""
    cuts = statistics.quantiles(took, n=100)
    return f"{len(took) / seconds:,.0f} {noun}/s, p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms"


def disk_pace(folder: Path, seconds: float = 1.0) -> float:
    """Give how many times a second the disk forces 4 KiB down, one after the other."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        count, began_at = 0, time.monotonic()
        while time.monotonic() - began_at < seconds:
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fdatasync(file.fileno())
            count += 1
        return count / (time.monotonic() - began_at)
