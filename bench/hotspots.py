"""Hotspots: py-spy on the sidecar under load; prints where its time goes, by self time.

    python -m bench.hotspots --seconds 10            # --native shows the C functions, too

py-spy must be allowed to look into a process that is not its child: root, CAP_SYS_PTRACE or ptrace_scope = 0.
"""

import argparse
import collections
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import origin, sidecar_config
from bench.load import measure
from bench.output import print_result
from bench.processes import Processes, cores
from bench.scratch import scratch

RATE = 500  # Samples per second: a divisor of nothing that the sidecar does by the clock.
COLUMNS = ("self_percent", "samples")
# Threads that wait for work: the log's writer, the loop's pool. Natively they look as if they worked.
WAITING = ("wait (threading.py", "PyThread_acquire_lock_timed", "SimpleQueue_get")
SLACK = 30.0  # Seconds that py-spy may take beyond the sampling.


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Load the sidecar, sample it meanwhile, and count the innermost frames."""
    with scratch() as directory, Processes(directory) as processes:
        origin.start(processes)
        process = sidecar_config.start(processes, origin.base_url(tls=True), python=arguments.python).process
        url = f"{sidecar_config.URL}/v1/x"
        process.wait_until(url)
        measure(process, url, connections=arguments.connections, seconds=1)  # To warm up.
        stacks = directory / "stacks.txt"
        with _py_spy(process.pid, stacks, arguments) as spy:
            # The load lasts longer than the sampling, so that no idle sidecar is sampled.
            measure(process, url, connections=arguments.connections, seconds=arguments.seconds + 2)
            _, told = spy.communicate(timeout=SLACK)
        if spy.returncode:
            raise SystemExit(f"py-spy failed: {told.decode(errors='replace')}")
        rows = _self_times(stacks.read_text(), arguments.top)
    return {"seconds": arguments.seconds, "native": arguments.native, "functions": rows}


def _py_spy(pid: int, stacks: Path, arguments: argparse.Namespace) -> "subprocess.Popen[bytes]":
    command = ["taskset", "-c", str(cores()[1]), "py-spy", "record", "--pid", str(pid), "--format", "raw"]
    command += ["--rate", str(RATE), "--duration", str(arguments.seconds), "--output", str(stacks), "--nonblocking"]
    if arguments.native:
        command = [*command[:-1], "--native"]  # Native stacks can only be read of a process that stands still.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _self_times(stacks: str, top: int) -> dict[str, dict[str, float]]:
    """Count by the innermost frame; a line is `outer;...;inner (file:line) count`."""
    counts: collections.Counter[str] = collections.Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if any(frame in stack for frame in WAITING):
            continue
        counts[_function(stack.rpartition(";")[2])] += int(count)
    total = max(1, counts.total())
    return {
        name: {"self_percent": round(100 * count / total, 1), "samples": count}
        for name, count in counts.most_common(top)
    }


def _function(frame: str) -> str:
    """Leave the line out: `name (file:line)` becomes `name (file)`."""
    name, _, where = frame.partition(" (")
    file = where.rstrip(")").rpartition(":")[0] or where.rstrip(")")
    for root in ("site-packages/", str(Path(__file__).resolve().parent.parent) + "/"):
        file = file.rpartition(root)[2]
    if not name:
        return "(unreadable)"  # The sidecar went on while py-spy read its stack.
    return f"{name} ({file})" if file else name


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the sidecar's time goes under load, by py-spy.")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--top", type=int, default=30)
    parser.add_argument("--native", action="store_true", help="show C functions; slows the sidecar down")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the sidecar")
    parser.add_argument("--output", help="write the JSON there, too")
    arguments = parser.parse_args()
    result = run(arguments)
    print_result(result, result["functions"], COLUMNS, arguments.output)


if __name__ == "__main__":
    main()
