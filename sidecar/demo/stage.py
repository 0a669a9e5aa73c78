"""Stage: a vendor, a sidecar in front of it, and an app, in one process; config and secret in a temporary folder."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sidecar.app import App
from sidecar.core.clock import Clock
from sidecar.demo.client import Answer, Client
from sidecar.demo.vendor import Vendor

PORTS = {"egress": 4000, "admin": 4001, "telemetry": 4002}

CONFIG = """\
# The config of the demo; the secret itself stands in its own file.
[sidecar]
environment = "demo"

[listen]
egress = ["127.0.0.1:{egress}"]
admin = "127.0.0.1:{admin}"
telemetry = "127.0.0.1:{telemetry}"

[secrets.files]
kind = "file"
path = "{secrets}"

[services.payments]
base_url = "{vendor}"
allow_private = true  # The vendor of the demo is on loopback; a real one is not.
auth = {{ kind = "bearer", secret = "files:vendor-token" }}
timeout = "5s"
allow = ["GET /v1/**", "POST /v1/charges"]
"""


class Stage:
    """What the steps of the tour look at."""

    def __init__(self, clock: Clock, vendor: Vendor, client: Client, ports: dict[str, int], directory: Path) -> None:
        self.clock = clock
        self.vendor = vendor
        self.client = client
        self.ports = ports
        self.log_file = directory / "sidecar.log"
        self.config_file = directory / "sidecar.toml"
        self.answers: list[Answer] = []  # Everything the app got, in order; as many as there are steps.

    @property
    def taken(self) -> dict[str, int]:
        """The usual ports that somebody else has, by listener."""
        return {name: usual for name, usual in PORTS.items() if self.ports[name] != usual}

    def log(self) -> bytes:
        """Give what the sidecar has written up to now."""
        return self.log_file.read_bytes()


@asynccontextmanager
async def raised(clock: Clock) -> AsyncIterator[Stage]:
    """Set the stage, and leave nothing behind: no listener, no file. Raises OSError if a port cannot be had."""
    with tempfile.TemporaryDirectory(prefix="sidecar-demo-") as name:
        async with Vendor(clock) as vendor:
            ports = {listener: _free(usual) for listener, usual in PORTS.items()}
            client = Client(
                clock,
                egress=f"http://localhost:{ports['egress']}",
                telemetry=f"http://localhost:{ports['telemetry']}",
                vendor=vendor.url,
            )
            stage = Stage(clock, vendor, client, ports, Path(name))
            await asyncio.to_thread(_furnish, stage)
            with stage.log_file.open("wb", buffering=0) as log_stream:
                app = App(stage.config_file, log_stream=log_stream)
                await app.start()
                try:
                    yield stage
                finally:
                    await app.stop()


def _furnish(stage: Stage) -> None:
    """Write the config and the secret, the latter as a mounted one would be: for its owner alone."""
    secrets = stage.config_file.parent / "secrets"
    secrets.mkdir(mode=0o700)
    token = secrets / "vendor-token"
    token.touch(mode=0o600)
    token.write_bytes(stage.vendor.token.reveal() + b"\n")
    stage.config_file.write_text(CONFIG.format(**stage.ports, secrets=secrets, vendor=stage.vendor.url))


def _free(usual: int) -> int:
    """Give the usual port if nobody has it, else any that is free."""
    for port in (usual, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as holder:
                return int(holder.getsockname()[1])
        except OSError:
            continue  # The next one; port 0 is refused only when there are none left at all.
    raise OSError("there is no free port on 127.0.0.1")
