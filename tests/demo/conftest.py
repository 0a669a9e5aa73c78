"""What the tests of the demo share."""

from pathlib import Path

import pytest

from sidecar.core.clock import SystemClock
from sidecar.demo.client import Client
from sidecar.demo.stage import PORTS, Stage
from sidecar.demo.vendor import Vendor


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage on which nobody plays."""
    clock = SystemClock()
    client = Client(
        clock, egress="http://localhost:4000", telemetry="http://localhost:4002", vendor="http://127.0.0.1:1"
    )
    return Stage(clock, Vendor(clock), client, PORTS, tmp_path)
