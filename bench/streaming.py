"""Streaming: one large body in each direction and each framing through the sidecar, and what memory that takes.

    python -m bench.streaming --mib 1024

The app is this process, with the standard library's client; the vendor is `stream_origin.py`, over TLS. Growth is the
highest resident memory of the sidecar during the transfer less that before it, after a small call of the same kind.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from bench import sidecar_config
from bench.memory_watch import MemoryWatch
from bench.output import print_result
from bench.processes import Process, Processes, cores, require_free
from bench.scratch import scratch

ORIGIN_PORT = 9444
MIB = 1024 * 1024
PIECE = bytes(256 * 1024)
SMALL = 64 * 1024  # Bytes of the call before the measured one.
STALLED = 60.0  # Seconds without a byte, after which a transfer is given up.
GROWTH_MAX_MIB = 8.0
COLUMNS = ("seconds", "mib_per_s", "cpu_s", "rss_before_mib", "rss_peak_mib", "growth_mib")
# An upload must end before its answer's head, so the call's deadline leaves it as much room as the defaults allow.
LONG_CALLS = 'timeout = "55s"'

Transfer = Callable[[HTTPConnection, int], int]


@dataclass(frozen=True)
class Case:
    """One direction in one framing."""

    name: str
    transfer: Transfer  # Gives the bytes that arrived at the far end.


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pass a body of `arguments.mib` in each case, one after the other."""
    os.sched_setaffinity(0, {cores()[1]})  # The app's side stays off the sidecar's core.
    with scratch() as directory, Processes(directory) as processes:
        require_free(ORIGIN_PORT)
        command = f"{sys.executable} -m bench.stream_origin {ORIGIN_PORT} {directory}/cert.pem {directory}/key.pem"
        processes.start("stream_origin", command, cores()[1])
        base_url = f"https://localhost:{ORIGIN_PORT}"
        sidecar = sidecar_config.start(processes, base_url, python=arguments.python, options=LONG_CALLS)
        sidecar.process.wait_until(f"{sidecar_config.URL}/length/1")
        rows = {case.name: _measure(case, sidecar.process, arguments.mib * MIB) for case in CASES}
    return {"mib": arguments.mib, "growth_max_mib": GROWTH_MAX_MIB, "cases": rows}


def _measure(case: Case, process: Process, size: int) -> dict[str, float]:
    with closing(HTTPConnection("127.0.0.1", sidecar_config.EGRESS, timeout=STALLED)) as connection:
        _transfer(case, connection, SMALL)
        cpu_before, started_at = process.cpu_s(), time.perf_counter()
        with MemoryWatch(process) as watch:
            _transfer(case, connection, size)
        seconds = time.perf_counter() - started_at
    return {
        "seconds": round(seconds, 2),
        "mib_per_s": round(size / MIB / seconds, 1),
        "cpu_s": round(process.cpu_s() - cpu_before, 2),
        "rss_before_mib": round(watch.before_mib, 1),
        "rss_peak_mib": round(watch.peak_mib, 1),
        "growth_mib": round(watch.growth_mib, 1),
    }


def _transfer(case: Case, connection: HTTPConnection, size: int) -> None:
    arrived = case.transfer(connection, size)
    if arrived != size:
        raise SystemExit(f"{case.name}: {arrived} of {size} bytes arrived")


def _download(kind: str, connection: HTTPConnection, size: int) -> int:
    connection.request("GET", f"/bench/{kind}/{size}")
    response = _answer(connection)
    buffer = memoryview(bytearray(MIB))
    arrived = 0
    while count := response.readinto(buffer):
        arrived += count
    return arrived


def _upload(headers: dict[str, str], connection: HTTPConnection, size: int) -> int:
    is_chunked = "Transfer-Encoding" in headers
    connection.request("PUT", "/bench/upload", body=_pieces(size), headers=headers, encode_chunked=is_chunked)
    return int(_answer(connection).read())


def _answer(connection: HTTPConnection) -> HTTPResponse:
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"the sidecar answered {response.status}: {response.read(2000)!r}")
    return response


def _pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // len(PIECE)):
        yield PIECE
    if rest := size % len(PIECE):
        yield PIECE[:rest]


CASES = (
    Case("download, Content-Length", lambda connection, size: _download("length", connection, size)),
    Case("download, chunked", lambda connection, size: _download("chunked", connection, size)),
    Case("upload, Content-Length", lambda connection, size: _upload({"Content-Length": str(size)}, connection, size)),
    Case("upload, chunked", lambda connection, size: _upload({"Transfer-Encoding": "chunked"}, connection, size)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="One large body in each direction and framing through the sidecar.")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the sidecar")
    parser.add_argument("--output", help="write the JSON there, too")
    arguments = parser.parse_args()
    result = run(arguments)
    print_result(result, result["cases"], COLUMNS, arguments.output)


if __name__ == "__main__":
    main()
