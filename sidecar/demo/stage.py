"""Stage: a vendor, a sidecar in front of it, and an app, in one process; config and secret in a temporary folder."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path

from sidecar.app import App
from sidecar.config.problem import ConfigError
from sidecar.core.clock import Clock
from sidecar.core.units import Duration
from sidecar.demo.client import Answer, Client
from sidecar.demo.vendor import Vendor

CONFIG_NAME = "sidecar.toml"
PRESETS = "providers"
LOG = "sidecar.log"
PORTS = {"egress": 4000, "admin": 4001, "telemetry": 4002}

CONFIG = """\
# The config of the demo; the secret itself stands in its own file.
[sidecar]
environment = "demo"
providers_dir = "providers"  # What all services below have in common: this vendor's address and credential.

[listen]
egress = ["127.0.0.1:{egress}"]
admin = "127.0.0.1:{admin}"
telemetry = "127.0.0.1:{telemetry}"

[store]  # A file beside this one, for answers that are repeated, and for jobs.
kind = "sqlite"

[secrets.files]
kind = "file"
path = "{secrets}"

[services.payments]
provider = "vendor"
timeout = "5s"
allow = ["GET /v1/**", "POST /v1/charges"]

# Each of the others shows one policy, on a vendor that misbehaves; what would interfere with it is off.
[services.flaky]
provider = "vendor"
retry = {{ backoff = "100ms", budget_min = 10 }}  # Here most calls fail, so the usual budget would be used up.
circuit_breaker = false

[services.flaky.routes.refunds]
match = "POST /v1/refunds"
idempotency = {{ header = "Idempotency-Key" }}

[services.metered]  # The vendor announces its limit; nobody wrote it down here.
provider = "vendor"
hints = {{ wait_max = "3s" }}

[services.agreed]
provider = "vendor"
rate_limit = {{ rate = "3/min", burst = 3 }}

[services.down]
provider = "vendor"
retry = false
circuit_breaker = {{ calls_min = 4, open_for = "{open_for}" }}

[services.uneven]
provider = "vendor"
hedge = {{ samples_min = 5, delay_min = "200ms" }}

[services.catalog]
provider = "vendor"
coalesce = {{}}

[services.kept]
provider = "vendor"
retry = false
circuit_breaker = false
idempotency = {{ header = "Idempotency-Key", replay = "24h" }}
queue = {{ schedule = ["100ms"] }}
"""

PRESET = """\
# A preset of the user's own: what stands here holds for every service that names it.
base_url = "{vendor}"
allow_private = true  # The vendor of the demo is on loopback; a real one is not.
auth = {{ kind = "bearer", secret = "files:vendor-token" }}
"""

OPEN_FOR = 0.5  # Seconds for which the circuit stays open in the demo; up to a fifth more, by chance.


class Stage:
    """What the steps of the tour look at."""

    def __init__(self, clock: Clock, vendor: Vendor, client: Client, ports: dict[str, int], directory: Path) -> None:
        self.clock = clock
        self.vendor = vendor
        self.client = client
        self.ports = ports
        self.log_file = directory / LOG
        self.config_file = directory / CONFIG_NAME
        self.answers: list[Answer] = []  # Everything the app got, in order; as many as the steps make calls.

    @property
    def taken(self) -> dict[str, int]:
        """The usual ports that somebody else has, by listener."""
        return {name: usual for name, usual in PORTS.items() if self.ports[name] != usual}

    def log(self) -> bytes:
        """Give what the sidecar has written up to now."""
        return self.log_file.read_bytes()


@asynccontextmanager
async def raised(clock: Clock) -> AsyncIterator[Stage]:
    """Set the stage, and leave nothing behind: no listener, no file. Raises ConfigError if no port can be had."""
    with tempfile.TemporaryDirectory(prefix="sidecar-demo-") as name:
        directory = Path(name)
        async with Vendor(clock) as vendor:
            await asyncio.to_thread(_keep_secret, directory, vendor)
            with (directory / LOG).open("wb", buffering=0) as log_stream:
                app = await _started(directory, vendor, log_stream)
                try:
                    yield _stage(clock, vendor, app, directory)
                finally:
                    await app.stop()


async def _started(directory: Path, vendor: Vendor, log_stream: FileIO) -> App:
    """Start the sidecar on the usual ports, or on free ones if somebody has one of them."""
    try:
        return await _start(directory, vendor, log_stream, PORTS)
    except ConfigError:
        return await _start(directory, vendor, log_stream, dict.fromkeys(PORTS, 0))


async def _start(directory: Path, vendor: Vendor, log_stream: FileIO, ports: dict[str, int]) -> App:
    await asyncio.to_thread(_configure, directory, vendor, ports)
    app = App(directory / CONFIG_NAME, log_stream=log_stream)
    await app.start()
    return app


def _stage(clock: Clock, vendor: Vendor, app: App, directory: Path) -> Stage:
    bound = {"egress": app.egress_addresses[0], "admin": app.address("admin"), "telemetry": app.address("telemetry")}
    ports = {door: int(address.rpartition(":")[2]) for door, address in bound.items()}
    client = Client(
        clock,
        egress=f"http://localhost:{ports['egress']}",
        telemetry=f"http://localhost:{ports['telemetry']}",
        vendor=vendor.url,
    )
    return Stage(clock, vendor, client, ports, directory)


def _keep_secret(directory: Path, vendor: Vendor) -> None:
    """Write the secret as a mounted one would be: for its owner alone."""
    secrets = directory / "secrets"
    secrets.mkdir(mode=0o700)
    token = secrets / "vendor-token"
    token.touch(mode=0o600)
    token.write_bytes(vendor.token.reveal() + b"\n")


def _configure(directory: Path, vendor: Vendor, ports: dict[str, int]) -> None:
    presets = directory / PRESETS
    presets.mkdir(exist_ok=True)
    (presets / "vendor.toml").write_text(PRESET.format(vendor=vendor.url))
    text = CONFIG.format(**ports, secrets=directory / "secrets", open_for=Duration(OPEN_FOR))
    (directory / CONFIG_NAME).write_text(text)
