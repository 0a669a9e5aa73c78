"""Promtool: Prometheus' own tool, which reads rules, runs their unit tests, and lints what a scrape gives."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ALERTS = [ROOT / "helm" / chart / "files" / "alerts.yaml" for chart in ("sidecar", "injector")]
DASHBOARD = ROOT / "helm" / "sidecar" / "files" / "dashboard.json"
RUNBOOK = ROOT / "docs" / "runbook.md"

MISSING = "promtool is not here: `make tools` fetches it where apt is, or install Prometheus"


def promtool(*arguments: str, stdin: str | None = None) -> tuple[int, str]:
    """Run it, and give its exit code with all that it said. Skips the test where it is not, unless it has to be."""
    path = shutil.which("promtool")
    if path is None:
        if os.environ.get("REQUIRE_TOOLS"):
            pytest.fail(f"{MISSING}; REQUIRE_TOOLS says that it has to be", pytrace=False)
        pytest.skip(MISSING)
    done = subprocess.run([path, *arguments], input=stdin, capture_output=True, text=True, timeout=50, check=False)
    return done.returncode, done.stdout + done.stderr


def rules() -> dict[str, dict[str, Any]]:
    """Give every alert by its name."""
    groups = [group for file in ALERTS for group in yaml.safe_load(file.read_text())["groups"]]
    found = [rule for group in groups for rule in group["rules"]]
    by_name = {rule["alert"]: rule for rule in found}
    assert len(by_name) == len(found), "each alert has a name of its own"
    return by_name


SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """Read a length of time as Prometheus writes it, such as `1h30m`."""
    parts = re.findall(r"([0-9]+)([smhd])", text)
    assert "".join(number + unit for number, unit in parts) == text, text
    return sum(int(number) * SECONDS[unit] for number, unit in parts)
