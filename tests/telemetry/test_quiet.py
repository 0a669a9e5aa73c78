"""What nobody catches: told by kind and place, never in its own words."""

import secrets
import sys
import threading
from collections.abc import Iterator

import pytest

from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.quiet import quiet_hooks
from sidecar.telemetry.redact import Redactor


class Kept:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def add(self, line: bytes) -> None:
        """Keep a line."""
        self.lines.append(line)


@pytest.fixture
def kept() -> Iterator[Kept]:
    """The lines of a log that has taken the process's hooks."""
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    kept = Kept()
    quiet_hooks(Log(LogConfig(level="debug"), kept, Redactor(), lambda: 0.0, lambda: 0.0))  # type: ignore[arg-type]
    yield kept
    sys.excepthook, threading.excepthook, sys.unraisablehook = before


CANARY = secrets.token_hex(16)


def broken() -> None:
    """Fail with words that quote a secret, and with another failure behind it."""
    try:
        raise KeyError(CANARY)
    except KeyError as error:
        raise RuntimeError(f"cannot use {CANARY}") from error


class Broken:
    """Fails where Python can only ignore it."""

    def __del__(self) -> None:
        broken()


def test_a_thread_that_fails_has_a_line(kept: Kept, capfd: pytest.CaptureFixture[str]) -> None:
    """Python would print the whole chain to stderr."""
    thread = threading.Thread(target=broken)
    thread.start()
    thread.join(5)
    _assert_told(kept.lines, capfd)


def test_what_python_ignores_has_a_line(kept: Kept, capfd: pytest.CaptureFixture[str]) -> None:
    """A destructor, or a callback of C code."""
    Broken()
    _assert_told(kept.lines, capfd)


def test_what_ends_the_process_is_told_on_stderr_without_its_words(
    kept: Kept, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log is closed by then."""
    with pytest.raises(RuntimeError) as caught:
        broken()
    sys.excepthook(caught.type, caught.value, caught.tb)
    assert not kept.lines
    told = capfd.readouterr().err
    assert told.startswith("sidecar ended by RuntimeError at ")
    assert "test_quiet.py:" in told
    assert CANARY not in told


def _assert_told(lines: list[bytes], capfd: pytest.CaptureFixture[str]) -> None:
    assert len(lines) == 1
    assert b'"msg":"uncaught","error":"RuntimeError","where":[' in lines[0]
    assert b" broken" in lines[0]
    assert CANARY.encode() not in lines[0]
    assert capfd.readouterr() == ("", "")
