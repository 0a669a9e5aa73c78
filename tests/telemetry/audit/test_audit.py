"""The audit log as the other rooms see it: what is recorded, and what it costs the loop."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.body import Body
from sidecar.core.call import AttemptRecord, Call
from sidecar.core.outcome import Outcome
from sidecar.core.peer import Peer
from sidecar.core.units import Size
from sidecar.telemetry.audit.audit import Audit
from sidecar.telemetry.audit.config import AuditConfig
from sidecar.telemetry.audit.verify import verify, verify_stream
from sidecar.telemetry.audit.writer import AuditWriter
from sidecar.telemetry.metrics import Counter
from sidecar.telemetry.writer import Writer
from tests.telemetry.audit.logs import WALL, WHO, Told, records, sentences

WAIT = 10.0


class Rig:
    """An audit log with all its parts, and the log's own writer into a file."""

    def __init__(self, folder: Path) -> None:
        self.told = Told()
        self.stdout = folder / "stdout"
        self._fd = os.open(self.stdout, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.lines = Writer(Counter(), self._fd)
        self.lines.start()
        self.writer = AuditWriter(Counter(), lambda: WALL, lambda: 0.0, self.told)
        self.audit = Audit(
            self.writer, WHO, "1.2.3", lambda: WALL, self.lines, self.told, lambda text: text.replace("canary", "***")
        )

    def close(self) -> None:
        """End, in the order of the drain."""
        assert self.writer.close(WAIT)
        assert self.lines.close(WAIT)
        os.close(self._fd)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Make one; ended by the test, or here."""
    rig = Rig(tmp_path)
    yield rig
    if rig.lines._thread.is_alive():
        rig.close()


def ended(method: str = "POST", outcome: Outcome = Outcome.SUCCESS) -> Call:
    """Make a call that ended."""
    call = Call("stripe", method, b"/v1/charges?card=4242", [], Body.of(b""))
    call.route, call.path_template, call.request_id, call.app = "charges", "/v1/charges", "r1", "cart"
    call.attempts = [AttemptRecord(), AttemptRecord()]
    call.status, call.source, call.outcome = 200, "upstream", outcome
    return call


def of_kind(path: Path, kind: str) -> list[dict[str, Any]]:
    """Give the records of one kind."""
    return [record for record in records(path) if record["kind"] == kind]


def test_a_call_is_recorded_with_who_what_and_by_which_credential(rig: Rig, tmp_path: Path) -> None:
    """And without what the app sent: the target's query may hold anything."""
    path = tmp_path / "audit.jsonl"
    rig.audit.use(AuditConfig(file=str(path)))
    rig.audit.call(ended(), "main:stripe#api_key", "7", Peer(1000, 1001, 42))
    rig.close()
    (record,) = of_kind(path, "call")
    assert record == {
        "ts": "2026-01-01T00:00:00.500Z", "msg": "audit", "seq": 1, "kind": "call", "pod": "checkout-7f",
        "namespace": "shop", "service_account": "checkout", "app": "cart",
        "peer": {"uid": 1000, "gid": 1001, "pid": 42}, "service": "stripe", "route": "charges", "method": "POST",
        "path_template": "/v1/charges", "status": 200, "outcome": "success", "code": "", "source": "upstream",
        "attempts": 2, "credential": "main:stripe#api_key", "credential_version": "7", "request_id": "r1",
        "hash": record["hash"],
    }  # fmt: skip
    assert "4242" not in path.read_text()


@pytest.mark.parametrize(
    ("calls", "methods"), [("all", ["GET", "HEAD", "POST", "DELETE"]), ("writes", ["POST", "DELETE"]), ("none", [])]
)
def test_which_calls_are_recorded_is_the_operators_choice(
    rig: Rig, tmp_path: Path, calls: Any, methods: list[str]
) -> None:
    """Reads may be most of the traffic, and least of the interest."""
    path = tmp_path / "audit.jsonl"
    rig.audit.use(AuditConfig(file=str(path), calls=calls))
    for method in ("GET", "HEAD", "POST", "DELETE"):
        rig.audit.call(ended(method), "", "", None)
    rig.audit.note("login", service="crm")
    rig.close()
    assert [record["method"] for record in of_kind(path, "call")] == methods
    assert len(of_kind(path, "login")) == 1


def test_without_a_section_there_is_no_audit_log(rig: Rig, tmp_path: Path) -> None:
    """No file, no thread, no line."""
    before = threading.active_count()
    rig.audit.call(ended(), "", "", None)
    rig.audit.note("login", service="crm")
    assert not rig.audit.is_on
    assert threading.active_count() == before
    rig.close()
    assert [path.name for path in tmp_path.iterdir()] == ["stdout"]
    assert rig.stdout.read_bytes() == b""


def test_without_a_file_the_records_go_to_stdout_among_the_lines_of_the_log(rig: Rig) -> None:
    """A collector tells them apart by msg=audit; the chain holds though other lines stand in between."""
    rig.audit.use(AuditConfig())
    for number in range(5):
        rig.lines.add(b'{"msg":"call","number":%d}' % number)
        rig.audit.call(ended(), "files:key", "1", None)
        assert rig.writer.flush(WAIT)
    rig.close()
    lines = [json.loads(line) for line in rig.stdout.read_bytes().splitlines()]
    assert [line["seq"] for line in lines if line["msg"] == "audit"] == list(range(7))
    with rig.stdout.open("rb") as stream:
        report = verify_stream(stream)
    assert report.findings == []
    assert report.summary.startswith("7 records, 0 to 6")


def test_a_stdout_that_is_not_read_loses_no_record(rig: Rig) -> None:
    """The log drops lines there; the chain waits for room, for it may have no gap."""
    lines = Writer(Counter(), rig._fd, bytes_max=4096)  # Not started: nobody takes anything from it.
    audit = Audit(rig.writer, WHO, "1", lambda: WALL, lines, rig.told, str)
    audit.use(AuditConfig())
    for _ in range(50):
        audit.call(ended(), "files:key", "1", None)
    assert not rig.writer.flush(0.3)
    assert rig.told.named("audit_unwritable")[0]["error"] == "stdout is not read"
    lines.start()
    assert rig.writer.flush(WAIT)
    assert rig.writer.close(WAIT)
    assert lines.close(WAIT)
    with rig.stdout.open("rb") as stream:
        report = verify_stream(stream)
    assert report.findings == []
    assert report.summary.startswith("52 records")
    assert lines.dropped.value == 0


def test_a_reload_moves_the_audit_log_or_ends_it(rig: Rig, tmp_path: Path) -> None:
    """Each file is a chain that begins and ends."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    rig.audit.use(AuditConfig(file=str(first)))
    rig.audit.call(ended(), "", "", None)
    rig.audit.use(AuditConfig(file=str(second)))
    rig.audit.call(ended(), "", "", None)
    rig.audit.use(None)
    rig.audit.call(ended(), "", "", None)
    for path in (first, second):
        assert [record["kind"] for record in records(path)] == ["start", "call", "stop"]
        assert verify([path]).findings == []


def test_a_reload_that_changes_only_bounds_goes_on_in_the_file(rig: Rig, tmp_path: Path) -> None:
    """The lock on it is our own."""
    path = tmp_path / "audit.jsonl"
    rig.audit.use(AuditConfig(file=str(path)))
    rig.audit.use(AuditConfig(file=str(path), calls="none", size_max=Size(2**20)))
    rig.audit.call(ended(), "", "", None)
    rig.close()
    assert [record["kind"] for record in records(path)] == ["start", "stop"]


def test_a_file_that_cannot_be_opened_changes_nothing(rig: Rig, tmp_path: Path) -> None:
    """A reload with a wrong path is refused as a whole."""
    path = tmp_path / "audit.jsonl"
    rig.audit.use(AuditConfig(file=str(path)))
    with pytest.raises(OSError, match="No such file"):
        rig.audit.use(AuditConfig(file=str(tmp_path / "nowhere" / "audit.jsonl"), calls="none"))
    rig.audit.call(ended(), "", "", None)
    rig.close()
    assert len(of_kind(path, "call")) == 1


def test_what_the_log_tells_of_secrets_and_configs_is_recorded_too(rig: Rig, tmp_path: Path) -> None:
    """Whatever the log's level is; other lines are the log's alone, and values are masked."""
    path = tmp_path / "audit.jsonl"
    rig.audit.use(AuditConfig(file=str(path)))
    tell = rig.audit.beside(rig.told)
    tell("info", "secret_read", secret="files:key", version="7")
    tell("error", "secret_unreadable", secret="files:key", error="said canary")
    tell("info", "config_loaded", generation=3, services=["crm"])
    tell("info", "token_renewed", service="crm", kind="Bearer", number=1)
    tell("error", "grant_lost", service="crm", secret="files:refresh")
    tell("info", "ready", version="1")
    rig.close()
    assert [line["msg"] for line in rig.told.lines if not line["msg"].startswith("audit")] == [
        "secret_read", "secret_unreadable", "config_loaded", "token_renewed", "grant_lost", "ready",
    ]  # fmt: skip
    kinds = [record["kind"] for record in records(path)]
    assert kinds[1:-1] == ["secret_read", "secret_unreadable", "config_loaded", "token_renewed", "grant_lost"]
    assert of_kind(path, "token_renewed")[0]["kind_"] == "Bearer"
    assert of_kind(path, "secret_unreadable")[0]["error"] == "said ***"
    assert "canary" not in path.read_text()


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (AuditConfig(file=" "), "file"),
        (AuditConfig(size_max=Size(1000)), "size_max"),
        (AuditConfig(files_max=0), "files_max"),
        (AuditConfig(files_max=1001), "files_max"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(config: AuditConfig, field: str) -> None:
    """With the key that is wrong."""
    assert [name for name, _ in config.problems()] == [field]


def test_a_section_as_it_comes_is_right() -> None:
    """`[audit]` alone is enough."""
    assert AuditConfig().problems() == []


def test_two_audit_logs_at_one_place_are_told(rig: Rig, tmp_path: Path) -> None:
    """Such as two pods on one node with the same host path."""
    path = tmp_path / "audit.jsonl"
    rig.audit.use(AuditConfig(file=str(path)))
    other = AuditWriter(Counter(), lambda: WALL, lambda: 0.0, rig.told)
    with pytest.raises(OSError, match="another process"):
        Audit(other, WHO, "1", lambda: WALL, rig.lines, rig.told, str).use(AuditConfig(file=str(path)))
    rig.close()
    assert sentences(verify([path]).findings) == ""
