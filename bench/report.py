"""Report: RESULTS.md out of the JSON that the parts wrote: the machine, the tables, and which targets are reached.

python -m bench.report --results bench/.work --output bench/RESULTS.md --command 'make bench'
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from bench import concurrency, side_by_side, startup, streaming
from bench.output import cell, table

POLICIES_MAX_US = 6.0
RSS_MAX_MIB = 50.0
READY_MAX_S = 0.5
ENVOY = "envoy"
RATIOS = ("cpu_us", "p50_us", "p99_us", "rss_mib", "rps")
VERSIONS = {
    "nginx": ("nginx", "-v"),
    "envoy": ("envoy", "--version"),
    "caddy": ("caddy", "version"),
    "openssl": ("openssl", "version"),
    "wrk": ("wrk", "-v"),
}
LIBRARIES = ("aiohttp", "httptools", "uvloop")

Part = dict[str, Any]


class Target(NamedTuple):
    """A bound from the issue of speed and memory, and what was measured."""

    what: str
    bound: float
    measured: float
    unit: str

    def line(self) -> str:
        """Give its row."""
        verdict = "reached" if self.measured <= self.bound else "**missed**"
        return f"| {self.what} | {cell(self.bound)} {self.unit} | {cell(self.measured)} {self.unit} | {verdict} |"


def write_report(parts: dict[str, Part], command: str, note: str) -> str:
    """Give the page; a part that did not run has no section."""
    sections = [
        "# Results",
        f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d}. {note}".rstrip(),
        "One machine on one day, all contenders in turns in one run: compare the ratios, not the absolute figures.",
        _machine(),
        _targets(parts),
    ]
    for name, section in SECTIONS.items():
        if name in parts:
            sections += [section(parts[name]), f"Measured {parts[name]['made_at']}."]
    return "\n\n".join(section for section in sections if section) + "\n"


def _machine() -> str:
    rows = [("cores", str(len(os.sched_getaffinity(0)))), ("processor", _processor())]
    rows += [("kernel", f"{platform.system()} {platform.release()} {platform.machine()}")]
    rows += [("python", platform.python_version()), *((name, version(name)) for name in LIBRARIES)]
    rows += [(name, _version(name)) for name in VERSIONS]
    lines = ["## Machine", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)


def _processor() -> str:
    match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _version(name: str) -> str:
    """Ask the program; only the number of what it says."""
    try:
        told = subprocess.run(VERSIONS[name], capture_output=True, text=True, check=False, timeout=10)
    except FileNotFoundError:
        return "not here"
    match = re.search(r"\d+\.\d+(\.\d+)?", told.stdout + told.stderr)
    return match[0] if match else "unknown"


def _targets(parts: dict[str, Part]) -> str:
    rows = [target.line() for target in (*_load_targets(parts), *_other_targets(parts))]
    if not rows:
        return ""
    head = ["## Targets", "", "| what | at most | measured | |", "|---|---:|---:|---|"]
    return "\n".join([*head, *rows])


def _load_targets(parts: dict[str, Part]) -> Iterator[Target]:
    rows = parts.get("side_by_side", {}).get("contenders", {})
    own, envoy = rows.get("sidecar"), rows.get(ENVOY)
    if own is None:
        return
    if envoy is not None:
        yield Target("CPU per request, of Envoy's", 1.0, _ratio(own, envoy, "cpu_us"), "x")
        yield Target("p99, of Envoy's", 1.0, _ratio(own, envoy, "p99_us"), "x")
    yield Target("resident memory after the load", RSS_MAX_MIB, own["rss_mib"], "MiB")
    bare = rows.get("sidecar_bare")
    if bare is not None:
        yield Target(
            "CPU of the policies, per request", POLICIES_MAX_US, round(own["cpu_us"] - bare["cpu_us"], 1), "us"
        )


def _other_targets(parts: dict[str, Part]) -> Iterator[Target]:
    if "startup" in parts:
        yield Target("ready after its start, median", READY_MAX_S, parts["startup"]["sidecar"]["ready_median_s"], "s")
    if "streaming" in parts:
        part = parts["streaming"]
        worst = max(row["growth_mib"] for row in part["cases"].values())
        yield Target(f"growth while {part['mib']} MiB pass", streaming.GROWTH_MAX_MIB, worst, "MiB")


def _ratio(own: dict[str, float], other: dict[str, float], name: str) -> float:
    return round(own[name] / other[name], 2) if other[name] else 0.0


def _side_by_side(part: Part) -> str:
    rows = part["contenders"]
    origin = "TLS" if part["tls"] else "plain"
    text = (
        f"{part['connections']} connections, {origin} origin, one core each; median of {part['rounds']} rounds of "
        f"{part['seconds']} s. `ready_s` is from the start to the first 200: of `/readyz` for the sidecar, through the "
        "proxy for the others. `sidecar` runs as in the image, with its hot path compiled and all policies on, a rate "
        "limit with permits free among them, while the vendor announces a limit in each answer; `sidecar_bare` is the "
        "same without the policies, `sidecar_sources` without a compiler, as `make run` starts it. "
        "`floor_web_server` is aiohttp's server before the sidecar's "
        "pool, and `floor_own_door` the sidecar's own, both from the sources and with no policy at all. Every proxy "
        "writes a JSON line per call: the peers to a file, the sidecar to its stdout, a pipe as in a pod."
    )
    blocks = ["## Side by side", text, table(rows, side_by_side.COLUMNS)]
    if ENVOY in rows:
        ratios = {name: {key: _ratio(row, rows[ENVOY], key) for key in RATIOS} for name, row in rows.items()}
        blocks += ["As a multiple of Envoy's:", table(ratios, RATIOS)]
    return "\n\n".join(blocks)


def _streaming(part: Part) -> str:
    text = (
        f"One body of {part['mib']} MiB each, TLS to the vendor; growth is the peak, read every 50 ms, less the start."
    )
    return "\n\n".join(["## Streaming", text, table(part["cases"], streaming.COLUMNS)])


def _concurrency(part: Part) -> str:
    text = (
        f"{part['connections']} keep-alive connections, all busy for {part['seconds']} s, TLS origin. "
        "`rss_idle_mib`: all open, one call made on each, nothing under way."
    )
    return "\n\n".join(["## Concurrency", text, table(part["contenders"], concurrency.COLUMNS)])


def _startup(part: Part) -> str:
    slowest = ", ".join(f"{name} {us / 1000:.1f}" for name, us in part["slowest_imports_us"].items())
    text = f"Memory {startup.IDLE_AFTER:g} s after ready, median."
    imports = f"Slowest imports, own time in ms under `-X importtime`: {slowest}."
    return "\n\n".join(["## Start-up", text, table({"sidecar": part["sidecar"]}, startup.COLUMNS), imports])


SECTIONS = {
    "side_by_side": _side_by_side,
    "streaming": _streaming,
    "concurrency": _concurrency,
    "startup": _startup,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="RESULTS.md out of what the parts wrote.")
    parser.add_argument("--results", type=Path, required=True, help="the directory with <part>.json")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--command", default="make bench", help="what to name as the command that made it")
    parser.add_argument("--note", default="", help="a sentence to stand beside it")
    arguments = parser.parse_args()
    parts = {path.stem: json.loads(path.read_text()) for path in sorted(arguments.results.glob("*.json"))}
    if not parts:
        sys.exit(f"{arguments.results} holds no results")
    page = write_report(parts, arguments.command, arguments.note)
    arguments.output.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
