"""Start-up: how soon the sidecar is ready, what memory it has when idle, and what it imports.

python -m bench.startup --starts 10
"""

import argparse
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench import origin, sidecar_config
from bench.output import print_result
from bench.processes import Processes, cores, require_free
from bench.scratch import scratch

IDLE_AFTER = 2.0  # Seconds from ready until memory is read.
COLUMNS = ("starts", "ready_median_s", "ready_max_s", "rss_idle_mib", "modules")
SLOWEST_SHOWN = 10
# python -X importtime writes such lines: own time | cumulative time | name, in microseconds.
IMPORT_LINE = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start it so many times, one after the other, with no load and no origin."""
    ready, idle = [], []
    with scratch() as directory, Processes(directory) as processes:
        for _ in range(arguments.starts):
            sidecar = sidecar_config.start(processes, origin.base_url(tls=True), python=arguments.python)
            ready.append(sidecar.ready_s)
            time.sleep(IDLE_AFTER)
            idle.append(sidecar.process.rss_mib())
            processes.stop(sidecar.process)
        imports = _imports(processes, directory / f"sidecar-{sidecar_config.EGRESS}.toml", arguments.python)
    row = {
        "starts": arguments.starts,
        "ready_median_s": round(statistics.median(ready), 3),
        "ready_max_s": round(max(ready), 3),
        "rss_idle_mib": round(statistics.median(idle), 1),
        "modules": len(imports),
    }
    slowest = sorted(imports, reverse=True)[:SLOWEST_SHOWN]
    return {"sidecar": row, "slowest_imports_us": {name: microseconds for microseconds, name in slowest}}


def _imports(processes: Processes, config: Path, python: str) -> list[tuple[int, str]]:
    """Start it once more, and have the interpreter tell what it imports, and in how many microseconds each."""
    require_free(sidecar_config.EGRESS, sidecar_config.ADMIN, sidecar_config.TELEMETRY)
    process = processes.start("imports", sidecar_config.command(config, python, "-X importtime"), cores()[0])
    process.wait_until(sidecar_config.READY_URL)
    processes.stop(process)
    told = process.log.with_suffix(".err").read_text()
    return [(int(microseconds), name) for microseconds, name in IMPORT_LINE.findall(told)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to ready, idle memory and imports of the sidecar.")
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the sidecar")
    parser.add_argument("--output", help="write the JSON there, too")
    arguments = parser.parse_args()
    result = run(arguments)
    print_result(result, {"sidecar": result["sidecar"]}, COLUMNS, arguments.output)


if __name__ == "__main__":
    main()
