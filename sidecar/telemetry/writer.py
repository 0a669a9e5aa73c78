"""Writer: the one thread that writes log lines, so that a full stdout pipe never blocks the loop."""

import os
import select
import threading
from collections.abc import Callable

from sidecar.telemetry.metrics import Counter

BYTES_MAX = 4 * 1024 * 1024  # Waiting and being written. Full: the newest line is dropped and counted.
GATHER_S = 0.1  # The longest that a line waits for company.
GATHER_BYTES = 32 * 1024  # As much as that goes out at once. More at a time would hold the core, and calls, for longer.


def _silent(_: int) -> bytes:
    return b""


class Writer:
    """A bounded line of lines before a file descriptor. `add` never blocks; any thread may call it."""

    def __init__(self, dropped: Counter, fd: int = 1, bytes_max: int = BYTES_MAX) -> None:
        self.dropped = dropped
        self.on_dropped: Callable[[int], bytes] = _silent  # Makes the line that tells how many are missing.
        self._fd = fd
        self._bytes_max = bytes_max
        self._lines: list[bytes] = []
        self._bytes = 0  # Of the lines, and of the batch that is being written.
        self._wake_at = 1  # With so many bytes the thread has something to be told.
        self._untold = 0  # Dropped, and no line says so yet.
        self._lock = threading.Lock()
        self._some = threading.Event()  # At least one line waits.
        self._enough = threading.Event()  # A full batch waits, or somebody wants it out now.
        self._empty = threading.Event()  # Everything is written.
        self._empty.set()
        self._is_torn = False  # What was written last ends inside of a line: the disk was full.
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """Begin to write; what was added before is written first."""
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are not written yet."""
        return self._bytes

    def add(self, line: bytes) -> None:
        """Add a line, without its newline; dropped and counted when there is no room."""
        with self._lock:
            after = self._bytes + len(line) + 1
            if after > self._bytes_max:
                self._drop(1)
                return
            self._lines.append(line)
            self._bytes = after
            if after >= self._wake_at:
                self._wake(after)

    def offer(self, line: bytes) -> bool:
        """Add a line if there is room, and say so; for who keeps it until there is."""
        with self._lock:
            after = self._bytes + len(line) + 1
            if after > self._bytes_max:
                return False
            self._lines.append(line)
            self._bytes = after
            if after >= self._wake_at:
                self._wake(after)
            return True

    def _wake(self, waiting_bytes: int) -> None:
        """Tell the thread that a first line is there, or that a write is worth while; once each."""
        self._empty.clear()
        self._some.set()
        self._wake_at = GATHER_BYTES
        if waiting_bytes >= GATHER_BYTES:
            self._enough.set()
            self._wake_at = self._bytes_max + 1

    def flush(self, seconds: float) -> bool:
        """Write what is there now; wait up to `seconds`, and say whether all of it is out. Blocks: call in a thread."""
        self._enough.set()
        return self._empty.wait(seconds)

    def close(self, seconds: float) -> bool:
        """Flush, and end the thread. What a stuck reader did not take within `seconds` is lost with the process."""
        with self._lock:
            self._is_closing = True
            self._enough.set()
            self._some.set()
        if self._thread.ident is None:
            return not self._lines
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _drop(self, count: int) -> None:
        self._untold += count
        self.dropped.value += count

    def _run(self) -> None:
        while True:
            self._some.wait()
            if not self._is_closing:
                self._enough.wait(GATHER_S)
            batch, count = self._take()
            if not batch:
                return
            is_written = self._write(batch)
            self._written(len(batch), 0 if is_written else count)

    def _take(self) -> tuple[bytes, int]:
        """Take one batch; an empty one means that we are closing and done."""
        with self._lock:  # For as short as can be: the loop waits for it.
            taken, self._lines = self._lines, []
        taken.append(b"")
        return b"\n".join(taken), len(taken) - 1

    def _written(self, size: int, lost: int) -> None:
        with self._lock:
            self._bytes -= size
            assert self._bytes >= 0
            if lost:
                self._drop(lost)
            elif self._untold:
                self._tell()
            if self._bytes < GATHER_BYTES:
                self._enough.clear()
                self._wake_at = GATHER_BYTES
            if self._bytes == 0:
                self._wake_at = 1
                self._empty.set()
                if not self._is_closing:
                    self._some.clear()

    def _tell(self) -> None:
        line = self.on_dropped(self._untold)
        if line and self._bytes + len(line) + 1 <= self._bytes_max:
            self._lines.append(line)
            self._bytes += len(line) + 1
            self._untold = 0

    def _write(self, batch: bytes) -> bool:
        """Write all of it, however long the reader takes; False when nobody will ever read it."""
        whole = b"\n" + batch if self._is_torn else batch
        rest = memoryview(whole)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # Somebody else made the terminal non-blocking.
                select.select((), (self._fd,), ())
            except OSError:  # The reader is gone, or the disk is full: counted as dropped by the caller.
                if len(rest) < len(whole):
                    self._is_torn = not whole.endswith(b"\n", 0, len(whole) - len(rest))
                return False
        self._is_torn = False
        return True
