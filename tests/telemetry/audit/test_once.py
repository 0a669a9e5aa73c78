"""A record of a command that runs beside or without the sidecar."""

from pathlib import Path

from sidecar.telemetry.audit.config import AuditConfig
from sidecar.telemetry.audit.once import append_once
from sidecar.telemetry.audit.verify import verify
from tests.telemetry.audit.logs import WALL, WHO, audit_file, records, write_log


def test_a_login_goes_on_with_the_chain(tmp_path: Path) -> None:
    """Somebody consented while no sidecar ran."""
    path = tmp_path / "audit.jsonl"
    write_log(path, 2)
    assert append_once(AuditConfig(file=str(path)), WHO, "1", lambda: WALL, "login", service="crm", version="7")
    assert [record["kind"] for record in records(path)][-3:] == ["start", "login", "stop"]
    assert records(path)[-2]["version"] == "7"
    assert verify([path]).findings == []


def test_a_running_sidecar_is_not_written_beside(tmp_path: Path) -> None:
    """It is told by its admin API instead; nor can another process write to its stdout."""
    path = tmp_path / "audit.jsonl"
    log = audit_file(path)
    log.open()
    assert not append_once(AuditConfig(file=str(path)), WHO, "1", lambda: WALL, "login", service="crm")
    log.close()
    assert len(records(path)) == 2
    assert not append_once(AuditConfig(), WHO, "1", lambda: WALL, "login", service="crm")
