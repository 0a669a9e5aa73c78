"""Audit logs for tests: files that were really written, and what was told on the way."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidecar.core.units import Duration, Size
from sidecar.telemetry.audit.config import AuditConfig
from sidecar.telemetry.audit.file import AuditFile
from sidecar.telemetry.audit.record import Entry, Who

WALL = 1_767_225_600.5
WHO = Who(pod="checkout-7f", namespace="shop", service_account="checkout")


class Told:
    """A `tell` that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def __call__(self, level: str, msg: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append({"level": level, "msg": msg, **fields})

    def named(self, msg: str) -> list[dict[str, Any]]:
        """Give the lines of one name."""
        return [line for line in self.lines if line["msg"] == msg]


def section(path: Path, *, size_max: int = 100 * 2**20, files_max: int = 5, sync_every: float = 1.0) -> AuditConfig:
    """Make a section; a size below what a config may say makes rotation cheap to see."""
    return AuditConfig(file=str(path), size_max=Size(size_max), files_max=files_max, sync_every=Duration(sync_every))


def audit_file(path: Path, told: Told | None = None, **bounds: Any) -> AuditFile:
    """Make the audit log at `path`, not open yet."""
    return AuditFile(section(path, **bounds), WHO, "1.2.3", lambda: WALL, told or Told())


def events(count: int, start: int = 0) -> list[Entry]:
    """Give records that can be told apart."""
    return [Entry(WALL, "secret_read", {"secret": f"files:key-{number}"}) for number in range(start, start + count)]


def write_log(path: Path, count: int, **bounds: Any) -> None:
    """Write a log of one process: a start, `count` records, a stop."""
    log = audit_file(path, **bounds)
    log.open()
    for entry in events(count):
        log.write([entry], 0.0)
    log.close()


def records(path: Path) -> list[dict[str, Any]]:
    """Read a log as a program would."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def sentences(findings: Sequence[object]) -> str:
    """Give findings as one text."""
    return "\n".join(map(str, findings))
