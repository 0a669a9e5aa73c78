"""The sidecar as a contender: its config, its command, its doors.

What runs is the package with its hot path compiled, as in the image, if run.sh made one; else the sources.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.processes import ROOT, Process, Processes, cores, require_free
from bench.scratch import write

EGRESS, ADMIN, TELEMETRY = 9105, 9106, 9107
SOURCES = 9115  # First port of the sources as a contender beside the compiled package; admin and telemetry follow.
BARE = 9118  # The same for the one without resilience.
COMPILED = ROOT / "bench" / ".work" / "compiled"
URL = f"http://127.0.0.1:{EGRESS}/bench"
READY_URL = f"http://127.0.0.1:{TELEMETRY}/readyz"


@dataclass(frozen=True)
class Sidecar:
    """A sidecar that is up."""

    process: Process
    ready_s: float  # From its start to the first 200 of /readyz.


# All permits are free, so that what is measured is the asking and not a wait.
RESILIENT = 'rate_limit = { rate = "1000000/s" }'
PLAIN = """\
retry = false
circuit_breaker = false
bulkhead = false
hints = false
"""


def start(
    processes: Processes, base_url: str, *, python: str = sys.executable, options: str = "", name: str = "sidecar"
) -> Sidecar:
    """Start it on the contenders' core with its JSON lines in a file, and wait until it is ready."""
    require_free(EGRESS, ADMIN, TELEMETRY)
    path = config(processes.scratch, base_url, options)
    process = processes.start(name, command(path, python), cores()[0])
    return Sidecar(process, process.wait_until(READY_URL))


def is_compiled() -> bool:
    """Say whether the compiled package is there."""
    return (COMPILED / "sidecar").is_dir()


def command(path: Path, python: str, flags: str = "", *, is_from_sources: bool = False) -> str:
    """Give the command line; `flags` are the interpreter's."""
    package = COMPILED if is_compiled() and not is_from_sources else ROOT
    # -P keeps the working directory, which has the sources, out of the way.
    return f"env PYTHONPATH={package} {python} -P {flags} -m sidecar run -c {path}"


def config(scratch: Path, base_url: str, options: str = "", first_port: int = EGRESS) -> Path:
    """Write the config: one service with a bearer token, the rest at its default; `options` stand at its end."""
    egress, admin, telemetry = range(first_port, first_port + 3)
    text = f"""
[sidecar]
environment = "bench"

[listen]
egress = ["127.0.0.1:{egress}"]
admin = "127.0.0.1:{admin}"
telemetry = "127.0.0.1:{telemetry}"

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
    return write(scratch / f"sidecar-{first_port}.toml", text)
