"""File: the audit log on disk; appended, rotated, gone on with after a restart.

Beside FILE stands FILE.last with number and hash of the last record: what is cut off at the end shows. All of this
blocks: the writer's thread alone calls it, once the file is open.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sidecar.telemetry.audit.config import AuditConfig
from sidecar.telemetry.audit.last import LastNote
from sidecar.telemetry.audit.paths import fresh_path, numbered, open_for_appending, open_fresh
from sidecar.telemetry.audit.record import LINE_MAX, Chain, Entry, Kind, Who, read

RECORD_BYTES = 1024  # What a record is taken for when a file is nearly full.
_BEGIN = b'{"ts":"'

Tell = Callable[..., None]  # Writes a log line: tell(level, msg, **fields).


class AuditFile:
    """The chain of one file, over restarts and rotations."""

    def __init__(self, config: AuditConfig, who: Who, version: str, wall: Callable[[], float], tell: Tell) -> None:
        assert config.file is not None
        self._config = config
        self._path = Path(config.file)
        self._who = who
        self._version = version
        self._wall = wall
        self._tell = tell
        self._fd = -1
        self._last = LastNote(self._path, tell)
        self._size = 0
        self._head: tuple[Kind, dict[str, object]] | None = None  # To be written before the next record.
        self._is_unsynced = False
        self._synced_at = 0.0
        self._chain = Chain(who)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def configure(self, config: AuditConfig) -> None:
        """Take the bounds of a new generation; the file is the same."""
        assert config.file == self._config.file
        self._config = config

    def open(self) -> None:
        """Open the file, go on with the chain that is in it, and write the record of the start. Raises OSError."""
        self._fd = open_for_appending(self._path)
        try:
            self._last.open()
            fields = self._resume()
            self._head = ("start", {"version": self._version, **fields})
            self._append([])
            self._flush_disk()
        except BaseException:
            self._let_go()
            raise
        self._anchor("error" if "problem" in fields else "info", "audit_started", **fields)

    def write(self, entries: Sequence[Entry], now: float) -> int:
        """Append the records, and give how many there are: all of them. Raises OSError, with none of them written."""
        if now - self._synced_at >= self._config.sync_every:
            self.sync(now)
        if self._head is None and self._size + len(entries) * RECORD_BYTES > self._config.size_max:
            self._rotate(f"size_max = {self._config.size_max} is reached")
        self._append(entries)
        return len(entries)

    def sync_in(self, now: float) -> float | None:
        """Say in how many seconds what is written is to be synced; None if all of it is."""
        return max(0.0, self._synced_at + self._config.sync_every - now) if self._is_unsynced else None

    def sync(self, now: float) -> None:
        """Have what is written reach the disk, and look whether the file is still ours. Raises OSError."""
        self._synced_at = now
        self._flush_disk()
        self._hold()

    def close(self) -> None:
        """Write the record of the stop, and close. Raises OSError, closed all the same."""
        try:
            self._append([Entry(self._wall(), "stop", {})])
            self._flush_disk()
            self._anchor("info", "audit_stopped")
        finally:
            self._let_go()

    def _append(self, entries: Sequence[Entry]) -> None:
        chain = self._chain.copy()
        lines = []
        if self._head is not None:
            kind, fields = self._head
            lines.append(chain.seal(self._wall(), kind, {"previous": chain.last.decode(), **fields}))
        lines += [chain.seal(entry.wall, entry.kind, entry.content) for entry in entries]
        self._write(b"".join([line + b"\n" for line in lines]))
        self._chain = chain
        self._head = None
        self._last.write(chain.seq - 1, chain.last)

    def _write(self, lines: bytes) -> None:
        rest = memoryview(lines)
        self._is_unsynced = True
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            if len(rest) < len(lines):  # Half a record would be found as torn.
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(lines)

    def _flush_disk(self) -> None:
        if self._is_unsynced:
            os.fdatasync(self._fd)
            self._is_unsynced = False

    def _resume(self) -> dict[str, object]:
        """Take up the chain where the file ends. Gives what is to be told of it in the record of the start."""
        self._size = os.fstat(self._fd).st_size
        end = os.pread(self._fd, LINE_MAX, max(0, self._size - LINE_MAX))
        whole, newline, torn = end.rpartition(b"\n")
        stated = read(whole.rpartition(b"\n")[2]) if newline else None
        is_ours = stated is not None or (self._size == len(end) and not newline)
        if not is_ours or (torn and not (torn.startswith(_BEGIN) or _BEGIN.startswith(torn))):
            return {"problem": f"the file did not end with a record; it is now {self._put_aside()}, and a chain begins"}
        fields: dict[str, object] = {}
        if torn:  # The process was killed, or the node went down, while it wrote.
            fields["unfinished_bytes"] = len(torn)
            self._size -= len(torn)
            os.ftruncate(self._fd, self._size)
        if stated is not None:
            self._chain = Chain(self._who, stated.seq + 1, stated.hash)
        problem = self._last.compare(stated)
        return {**fields, "problem": problem} if problem else fields

    def _put_aside(self) -> str:
        """Leave a file that is no audit log to people, and begin a new one in its place. Gives its new name."""
        aside = self._path.with_name(f"{self._path.name}.aside.{int(self._wall())}")
        fresh = open_fresh(self._path)
        self._path.replace(aside)
        self._take_place(fresh)
        return aside.name

    def _rotate(self, reason: str, *, is_gone: bool = False) -> None:
        """Go on in a new file, which begins with the last hash of this one. Raises OSError; then this one goes on."""
        self._flush_disk()
        fresh = open_fresh(self._path)
        try:
            if not is_gone:
                self._shift()
            self._take_place(fresh)
        except OSError:
            os.close(fresh)
            raise
        self._head = ("rotated", {"reason": reason})
        self._anchor("error" if is_gone else "info", "audit_rotated", reason=reason)

    def _shift(self) -> None:
        """Give each file the next number; the one over `files_max` goes."""
        for number in range(self._config.files_max - 1, 0, -1):
            newer = numbered(self._path, number - 1)
            if newer.exists():
                newer.replace(numbered(self._path, number))

    def _take_place(self, fresh: int) -> None:
        fresh_path(self._path).replace(self._path)
        os.close(self._fd)  # Its lock goes with it; the new one is locked already.
        self._fd = fresh
        self._size = 0

    def _hold(self) -> None:
        """Go on in a new file if somebody moved or removed ours, and say so if somebody cut it. Raises OSError."""
        ours = os.fstat(self._fd)
        try:
            there = self._path.lstat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            self._rotate("somebody moved or removed the file while it was written", is_gone=True)
        elif ours.st_size < self._size:
            self._head = ("rotated", {"reason": f"somebody cut the file to {ours.st_size} bytes"})
            self._size = ours.st_size
            self._anchor("error", "audit_cut")

    def _anchor(self, level: str, msg: str, **fields: object) -> None:
        """Note in the log, which is another stream, where the chain stands: so its end cannot be cut off unseen."""
        self._tell(level, msg, file=str(self._path), seq=self._chain.seq - 1, hash=self._chain.last.decode(), **fields)

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._last.close()
