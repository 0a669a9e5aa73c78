"""Last: the note beside an audit log of how far it went, so that what is cut off at its end shows.

It is written after the records, so it may lag behind them when a node goes down, and is never ahead.
"""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from sidecar.telemetry.audit.paths import last_path, open_regular
from sidecar.telemetry.audit.record import Stated

NOTE_MAX = 256  # Bytes.


class Last(msgspec.Struct):
    """The last record that was written."""

    seq: int
    hash: str


class LastNote:
    """FILE.last, open while FILE is."""

    def __init__(self, path: Path, tell: Callable[..., None]) -> None:
        self._path = last_path(path)
        self._tell = tell
        self._fd = -1
        self._length = 0  # Of the text in it.
        self._is_failing = False

    def open(self) -> None:
        """Open or make it. Raises OSError."""
        self._fd = open_regular(self._path)
        self._length = NOTE_MAX

    def write(self, seq: int, digest: bytes) -> None:
        """Note a record. Raises nothing: the record itself is written, and must not be written again."""
        note = msgspec.json.encode(Last(seq, digest.decode())) + b"\n"
        try:
            os.pwrite(self._fd, note, 0)
            if len(note) < self._length:
                os.ftruncate(self._fd, len(note))
        except OSError as error:
            if not self._is_failing:
                self._tell("error", "audit_note_unwritable", file=str(self._path), error=error.strerror)
            self._is_failing = True
            return
        self._is_failing = False
        self._length = len(note)

    def compare(self, stated: Stated | None) -> str:
        """Say what is wrong with a file that ends with `stated` (None: with nothing); empty if nothing is."""
        return compare(_read(self._fd), stated)

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def noted(path: Path) -> Last | None:
    """Read the note beside the audit log `path`; None where there is none, or nothing in it."""
    try:
        fd = os.open(last_path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return _read(fd)
    finally:
        os.close(fd)


def compare(note: Last | None, stated: Stated | None) -> str:
    """Say what is wrong with a file that ends with `stated` (None: with nothing); empty if nothing is."""
    if note is None:
        return ""
    ends_at = -1 if stated is None else stated.seq
    if note.seq > ends_at:
        where = "is empty" if stated is None else f"ends with record {ends_at}"
        return f"the file {where}, though record {note.seq} was written: its end was cut off"
    if stated is not None and note.seq == ends_at and note.hash.encode() != stated.hash:
        return f"record {ends_at}, the last one, is another than was written"
    return ""


def _read(fd: int) -> Last | None:
    try:
        return msgspec.json.decode(os.pread(fd, NOTE_MAX, 0), type=Last)
    except (OSError, ValueError):
        return None
