"""The sidecar as a contender: its config, its command, its doors."""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Process, Processes, cores, require_free
from bench.scratch import write

EGRESS, ADMIN, TELEMETRY = 9105, 9106, 9107
URL = f"http://127.0.0.1:{EGRESS}/bench"
READY_URL = f"http://127.0.0.1:{TELEMETRY}/readyz"


@dataclass(frozen=True)
class Sidecar:
    """A sidecar that is up."""

    process: Process
    ready_s: float  # From its start to the first 200 of /readyz.


def start(
    processes: Processes, base_url: str, *, python: str = sys.executable, options: str = "", name: str = "sidecar"
) -> Sidecar:
    """Start it on the contenders' core with its JSON lines in a file, and wait until it is ready."""
    require_free(EGRESS, ADMIN, TELEMETRY)
    path = config(processes.scratch, base_url, options)
    process = processes.start(name, command(path, python), cores()[0])
    return Sidecar(process, process.wait_until(READY_URL))


def command(path: Path, python: str, flags: str = "") -> str:
    """Give the command line; `flags` are the interpreter's."""
    return f"{python} {flags} -m sidecar run -c {path}"


def config(scratch: Path, base_url: str, options: str = "") -> Path:
    """Write the config: one service with a bearer token, everything else at its default; `options` stand at its end."""
    text = f"""
[sidecar]
environment = "bench"

[listen]
egress = ["127.0.0.1:{EGRESS}"]
admin = "127.0.0.1:{ADMIN}"
telemetry = "127.0.0.1:{TELEMETRY}"

[secrets.files]
kind = "file"
path = "{scratch}/secrets"

[services.bench]
base_url = "{base_url}"
ca_file = "{scratch}/cert.pem"
allow_private = true
auth = {{ kind = "bearer", secret = "files:bench" }}
{options}
"""
    return write(scratch / "sidecar.toml", text)
