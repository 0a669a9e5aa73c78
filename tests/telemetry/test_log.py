"""The log: one line per call in the contract's order, bounded, never in the way of the loop."""

import errno
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.body import Body
from sidecar.core.call import AttemptRecord, Call
from sidecar.core.outcome import Outcome
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Counter
from sidecar.telemetry.redact import Redactor, forms
from sidecar.telemetry.writer import Writer

ORDER = [
    "ts", "level", "msg", "request_id", "trace_id", "service", "route", "method", "path_template", "status", "outcome",
    "source", "attempts", "code", "waited_rate_ms", "waited_slot_ms", "backoff_ms", "upstream_ms", "total_ms",
    "request_bytes", "response_bytes", "app", "idempotency_key_hash",
]  # fmt: skip


class Lines:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def add(self, line: bytes) -> None:
        """Keep a line."""
        self.lines.append(line)

    def read(self) -> list[dict[str, Any]]:
        """Give the lines, decoded."""
        return [json.loads(line) for line in self.lines]


def log_into(
    lines: Lines, config: LogConfig | None = None, jitter: float = 0.5, wall: float = 1_700_000_000.042
) -> Log:
    """Make a log whose lines are kept."""
    return Log(config or LogConfig(), lines, Redactor(), lambda: wall, lambda: jitter)  # type: ignore[arg-type]


def ended(outcome: Outcome) -> Call:
    """Make a call that ended."""
    call = Call("crm", "GET", b"/contacts", [], Body.of(b""))
    call.route, call.path_template, call.request_id, call.trace_id = "search", "/contacts/**", "r1", "t1"
    call.upstream_s = 0.1234567
    call.outcome = outcome
    return call


def test_the_line_has_the_fields_of_the_contract_in_order() -> None:
    """Dashboards are built on these names."""
    lines = Lines()
    call = ended(Outcome.SUCCESS)
    call.attempts = [AttemptRecord(), AttemptRecord()]
    call.idempotency_key = b"order-7"
    log_into(lines).call(call, 200, "upstream", 0.2, 10, 2000)
    (line,) = lines.read()
    assert list(line) == ORDER
    assert line["ts"] == "2023-11-14T22:13:20.042Z"
    assert (line["level"], line["msg"], line["outcome"], line["status"]) == ("info", "call", "success", 200)
    assert (line["attempts"], line["upstream_ms"], line["total_ms"]) == (2, 123.456, 200.0)
    assert len(line["idempotency_key_hash"]) == 16
    assert b"order-7" not in lines.lines[0]


def test_the_time_is_right_over_the_turn_of_a_second_and_backwards() -> None:
    """The second's text is kept; a clock that is set back must not keep it too long."""
    wall = [0.0]
    log = Log(LogConfig(), Lines(), Redactor(), lambda: wall[0], lambda: 0)  # type: ignore[arg-type]
    for at in (1_700_000_000.999, 1_700_000_001.0, 1_700_000_001.5, 1_699_999_999.25):
        wall[0] = at
        assert abs(datetime.fromisoformat(log.stamp()).timestamp() - at) < 0.0011


def test_no_value_can_begin_a_line_of_its_own() -> None:
    """Line injection: newlines and quotes are escaped, half characters replaced."""
    lines = Lines()
    call = ended(Outcome.SUCCESS)
    call.app = 'a\n{"msg":"forged"}\r\x00\udc80'
    log_into(lines).call(call, 200, "upstream", 0.2, 0, 0)
    log_into(lines).event("info", "\n\udcff", place="\n")
    assert all(b"\n" not in line and b"\r" not in line for line in lines.lines)
    assert lines.read()[0]["app"].startswith("a\n{")


def test_only_a_share_of_successes_is_written_and_all_else_always() -> None:
    """`log.success` thins out what went well, nothing else."""
    lines = Lines()
    config = LogConfig(success=0.1)
    for jitter in (0.05, 0.1, 0.9):
        log = log_into(lines, config, jitter)
        for outcome in Outcome:
            log.call(ended(outcome), 200, "upstream", 0.1, 0, 0)
    outcomes = [line["outcome"] for line in lines.read()]
    assert [outcomes.count(outcome) for outcome in Outcome] == [1, 3, 3, 3]


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 4), ("warning", 2), ("error", 0)])
def test_lines_below_the_level_are_not_written(level: Any, seen: int) -> None:
    """Success and cancelled are info; failure and rejected are warnings."""
    lines = Lines()
    log = log_into(lines, LogConfig(level=level))
    for outcome in Outcome:
        log.call(ended(outcome), 200, "upstream", 0.1, 0, 0)
    assert len(lines.lines) == seen


def test_a_429_that_went_to_the_app_says_why_it_was_not_tried_again() -> None:
    """It is no failure of the call, but whoever reads of a throttled app asks just that."""
    lines = Lines()
    call = ended(Outcome.SUCCESS)
    call.not_retried = "attempts_max = 3"
    log_into(lines).call(call, 429, "upstream", 0.1, 0, 0)
    assert lines.read()[0]["not_retried"] == "attempts_max = 3"


def failed(value: str) -> Call:
    """Make a failed call whose attempt carried a secret everywhere."""
    record = AttemptRecord()
    record.connect_s, record.status, record.error = 0.0015, 503, f"broke at {value}"
    record.request_head = (
        f"GET /x?page=2&api_key={value} HTTP/1.1\r\nHost: vendor\r\nAuthorization: Bearer {value}\r\n\r\n".encode()
    )
    record.response_head = [(b"X-Echo", value.encode()), (b"Retry-After", b"3")]
    record.response_start = f'{{"token":"{value}","said":"{value}"}}'.encode()
    call = ended(Outcome.FAILURE)
    call.attempts = [record]
    return call


def test_the_reason_of_a_refusal_is_told_and_masked() -> None:
    """The sentence that the app got, also where it quotes what the app sent; also once more values are known."""
    lines = Lines()
    value = secrets.token_hex(16)
    log = log_into(lines)
    for _ in range(2):
        call = ended(Outcome.REJECTED)
        call.error_code, call.error_detail = "unknown_service", f"there is no service {value}"
        log.call(call, 404, "sidecar", 0.1, 0, 0)
        log.redactor.know(forms(value.encode()))
    assert [list(line) for line in lines.read()] == [[*ORDER, "detail"]] * 2
    assert [line["detail"] for line in lines.read()] == [f"there is no service {value}", "there is no service ***"]


def test_a_failed_call_tells_each_attempt_without_the_secret() -> None:
    """The engineer sees heads, status, the start of the body and timings, and the canary nowhere."""
    lines = Lines()
    value = secrets.token_hex(16)
    log = log_into(lines)
    log.redactor.know(forms(value.encode()))
    log.call(failed(value), 503, "upstream", 0.1, 0, 0)
    assert value.encode() not in lines.lines[0]
    (line,) = lines.read()
    assert list(line) == [*ORDER, "attempt_details"]
    (detail,) = line["attempt_details"]
    assert detail["connect_ms"] == 1.5
    assert "waited_ms" not in detail
    assert detail["target"] == "/x?page=2&api_key=***"
    assert (detail["method"], detail["request_head"]) == ("GET", ["Host: vendor", "Authorization: Bearer ***"])
    assert detail["response_head"] == ["X-Echo: ***", "Retry-After: 3"]
    assert detail["response_start"] == '{"token":"***","said":"***"}'


def test_a_fault_of_ours_tells_the_place_without_the_secret() -> None:
    """An error may quote anything; its words are redacted as a body is."""
    lines = Lines()
    value = secrets.token_hex(16)
    log = log_into(lines)
    log.redactor.know(forms(value.encode()))
    try:
        raise ValueError(f"bad header {value}")
    except ValueError as error:
        log.fault("a call broke", error, service="crm")
    assert value.encode() not in lines.lines[0]
    assert "test_log.py" in lines.read()[0]["where"][-1]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of 64 KiB, as a container's stdout is."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    yield reader, writer
    os.close(reader)


def test_lines_come_out_whole_and_in_order(tmp_path: Path) -> None:
    """Batches do not show."""
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    writer = Writer(Counter(), fd)
    for number in range(5000):
        writer.add(b"line %d" % number)
    writer.start()
    assert writer.flush(10)
    writer.add(b"the last")
    assert writer.close(10)
    os.close(fd)
    assert path.read_bytes().splitlines() == [*(b"line %d" % number for number in range(5000)), b"the last"]
    assert writer.waiting_bytes == 0


def test_a_stdout_that_nobody_reads_costs_lines_and_never_blocks(pipe: tuple[int, int]) -> None:
    """More than the bound is dropped and counted; once somebody reads, a line says how many are missing."""
    reader, fd = pipe
    dropped = Counter()
    writer = Writer(dropped, fd, bytes_max=200_000)
    log = Log(LogConfig(), writer, Redactor(), lambda: 1_700_000_000.0, lambda: 0.0)
    writer.start()
    for number in range(5000):  # Far more than pipe and bound hold; it returns, which is the point.
        log.event("info", "line", number=number, filler="x" * 100)
    assert dropped.value > 0
    assert writer.waiting_bytes <= 200_000
    assert not writer.flush(0.01)
    before = dropped.value
    text = b""
    while b"log lines dropped" not in text or not text.endswith(b"\n"):
        text += os.read(reader, 65536)
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["count"] for line in lines if line["msg"] == "log lines dropped"] == [before]
    numbers = [line["number"] for line in lines if line["msg"] == "line"]
    assert numbers == sorted(numbers)
    assert len(numbers) == 5000 - before
    assert writer.close(10)
    os.close(fd)


def test_a_stuck_reader_does_not_hold_up_the_end(pipe: tuple[int, int]) -> None:
    """The drain has a bound in time; the thread is a daemon and dies with the process."""
    reader, fd = pipe
    writer = Writer(Counter(), fd)
    writer.start()
    for _ in range(100):
        writer.add(b"x" * 10_000)
    assert not writer.close(0.05)
    left = 100 * 10_001
    while left:
        left -= len(os.read(reader, 65536))
    assert writer.close(10)
    os.close(fd)


def test_a_reader_that_is_gone_is_counted() -> None:
    """EPIPE: every line is lost, and the metric says so."""
    reader, fd = os.pipe()
    os.close(reader)
    dropped = Counter()
    writer = Writer(dropped, fd)
    writer.start()
    writer.add(b"one")
    assert writer.flush(10)
    assert dropped.value == 1
    assert writer.close(10)
    os.close(fd)


def test_a_line_that_a_full_disk_cut_spoils_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What comes when there is room again begins a line of its own, and tells how many are missing."""
    file = tmp_path / "log"
    fd = os.open(file, os.O_CREAT | os.O_WRONLY)
    room = [5, -1, -1, 10_000, 10_000]
    real = os.write

    def write(number: int, data: memoryview) -> int:
        if number != fd:
            return real(number, data)
        size = room.pop(0)
        if size < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:size])

    monkeypatch.setattr("sidecar.telemetry.writer.os.write", write)
    dropped = Counter()
    writer = Writer(dropped, fd)
    writer.on_dropped = lambda count: b"%d are missing" % count
    writer.start()
    for line in (b"first line", b"second line", b"third line"):
        writer.add(line)
        assert writer.flush(5)
    assert writer.close(5)
    os.close(fd)
    assert file.read_bytes() == b"first\nthird line\n2 are missing\n"
    assert dropped.value == 2
