"""Concurrency: a thousand connections of the app's at once, busy and idle.

    python -m bench.concurrency --connections 1000

Busy: wrk keeps all of them at work, in turns with a peer. Idle: each made one call, and stays open.
"""

import argparse
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.client import HTTPConnection
from typing import Any

from bench import contenders, origin, sidecar_config
from bench.load import measure
from bench.output import print_result
from bench.processes import Process, Processes, cores, require_free
from bench.scratch import scratch

COLUMNS = ("rps", "p50_us", "p99_us", "cpu_us", "errors", "rss_idle_mib", "rss_mib", "kib_per_idle_connection")
WARM_UP = 3  # Seconds in which the handshakes with the vendor are done, one per connection.
# As many connections to the vendor as calls at once, so that no call waits in line.
WIDE_POOL = "pool = {{ connections_max = {0}, idle_max = {0}, waiting_max = {0} }}"


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the sidecar idle and busy, then the peers busy."""
    _allow_files(arguments.connections * 3)
    rows: dict[str, dict[str, Any]] = {}
    with scratch() as directory, Processes(directory) as processes:
        origin.start(processes)
        sidecar = _start_sidecar(processes, arguments)
        rows["sidecar"] = _idle(sidecar, arguments.connections)
        rows["sidecar"] |= _busy(sidecar, f"{sidecar_config.URL}/v1/x", arguments)
        processes.stop(sidecar)
        for name in filter(None, arguments.peers.split(",")):
            peer = contenders.known(directory, tls=True, python=arguments.python)[name]
            require_free(peer.port)
            process = processes.start(name, peer.command, cores()[0], peer.env)
            process.wait_until(peer.url)
            rows[name] = _busy(process, peer.url, arguments)
            processes.stop(process)
    return {"connections": arguments.connections, "seconds": arguments.seconds, "contenders": rows}


def _start_sidecar(processes: Processes, arguments: argparse.Namespace) -> Process:
    options = WIDE_POOL.format(arguments.connections)
    base_url = origin.base_url(tls=True)
    process = sidecar_config.start(processes, base_url, python=arguments.python, options=options).process
    process.wait_until(f"{sidecar_config.URL}/v1/x")
    return process


def _busy(process: Process, url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    measure(process, url, connections=arguments.connections, seconds=WARM_UP)
    turn = measure(process, url, connections=arguments.connections, seconds=arguments.seconds)
    return {name: round(value, 1) for name, value in asdict(turn).items()}


def _idle(process: Process, connections: int) -> dict[str, float]:
    before = process.rss_mib()
    with _open(connections):
        idle = process.rss_mib()
    per_connection = (idle - before) * 1024 / connections
    return {"rss_idle_mib": round(idle, 1), "kib_per_idle_connection": round(per_connection, 1)}


@contextmanager
def _open(connections: int) -> Iterator[None]:
    opened = [HTTPConnection("127.0.0.1", sidecar_config.EGRESS, timeout=10) for _ in range(connections)]
    try:
        for connection in opened:
            connection.request("GET", "/bench/v1/x")
            connection.getresponse().read()
        yield
    finally:
        for connection in opened:
            connection.close()


def _allow_files(needed: int) -> None:
    """Let this process, and those it starts, open as many files as the machine allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed} open files are needed, the machine allows {hard}; see ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description="Many connections of the app's at once, busy and idle.")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--peers", default="envoy", help="default: envoy")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the sidecar")
    parser.add_argument("--output", help="write the JSON there, too")
    arguments = parser.parse_args()
    result = run(arguments)
    print_result(result, result["contenders"], COLUMNS, arguments.output)


if __name__ == "__main__":
    main()
