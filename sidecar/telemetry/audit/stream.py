"""Stream: the audit log on stdout, among the lines of the log; one chain per process."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.telemetry.audit.record import Chain, Entry, Who


class Lines(Protocol):
    """What writes to stdout: telemetry/writer.py."""

    def offer(self, line: bytes) -> bool:
        """Add a line if there is room."""


class AuditStream:
    """Seals records and hands them to the one writer of stdout; what has no room there yet stays with the caller."""

    def __init__(self, who: Who, version: str, wall: Callable[[], float], lines: Lines) -> None:
        self._chain = Chain(who)
        self._version = version
        self._wall = wall
        self._lines = lines

    def open(self) -> None:
        """Write the record of the start."""
        head = {"previous": self._chain.last.decode(), "version": self._version}
        self.write([Entry(self._wall(), "start", head)], 0.0)

    def write(self, entries: Sequence[Entry], now: float) -> int:  # noqa: ARG002 - as the file has it
        """Hand over as many records as there is room for, and say how many."""
        for count, entry in enumerate(entries):
            chain = self._chain.copy()
            if not self._lines.offer(chain.seal(entry.wall, entry.kind, entry.content)):
                return count
            self._chain = chain
        return len(entries)

    def sync_in(self, now: float) -> float | None:  # noqa: ARG002 - as the file has it
        """Nothing here is synced: the collector keeps what it read."""
        return None

    def sync(self, now: float) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Write the record of the stop, if there is room."""
        self.write([Entry(self._wall(), "stop", {})], 0.0)
