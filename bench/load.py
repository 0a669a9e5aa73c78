"""Load: wrk on the core beside the contender's, and what it reports."""

import re
import subprocess
from dataclasses import dataclass

from bench.processes import Process, cores

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


@dataclass(frozen=True)
class Round:
    """One turn of one contender; latencies in microseconds."""

    requests: int
    rps: float
    p50_us: float
    p99_us: float
    errors: int  # Answers other than 2xx and 3xx, and connections that failed.
    cpu_us: float  # CPU per request of the contender, user and system.
    rss_mib: float  # After the load.


def measure(process: Process, url: str, *, connections: int, seconds: int) -> Round:
    """Load a contender for `seconds`, and read what it cost."""
    cpu_before = process.cpu_s()
    report = _wrk(url, connections, seconds)
    requests = int(_find(r"(\d+) requests in", report))
    return Round(
        requests=requests,
        rps=float(_find(r"Requests/sec:\s+([\d.]+)", report)),
        p50_us=_microseconds(_find(r"^\s+50%\s+(\S+)", report)),
        p99_us=_microseconds(_find(r"^\s+99%\s+(\S+)", report)),
        errors=_errors(report),
        cpu_us=(process.cpu_s() - cpu_before) * 1e6 / max(1, requests),
        rss_mib=process.rss_mib(),
    )


def _wrk(url: str, connections: int, seconds: int) -> str:
    command = ["taskset", "-c", str(cores()[1]), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout


def _errors(report: str) -> int:
    counts = re.findall(r"Non-2xx or 3xx responses: (\d+)|(?:connect|read|write|timeout) (\d+)", report)
    return sum(int(status or sock) for status, sock in counts)


def _find(pattern: str, report: str) -> str:
    match = re.search(pattern, report, re.MULTILINE)
    if match is None:
        raise SystemExit(f"wrk's report has nothing like {pattern}:\n{report}")
    return match[1]


def _microseconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if match is None:
        raise SystemExit(f"wrk gave a latency that is none: {text}")
    return float(match[1]) * _UNITS[match[2]]
