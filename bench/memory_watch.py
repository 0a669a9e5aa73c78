"""Memory watch: the highest resident memory of a process over a while, read every 50 ms."""

import threading
from types import TracebackType
from typing import Self

from bench.processes import Process

EVERY = 0.05  # Seconds between two readings.


class MemoryWatch:
    """Reads in a thread of its own while the block runs."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="memory watch", daemon=True)
        self.before_mib = process.rss_mib()
        self.peak_mib = self.before_mib

    @property
    def growth_mib(self) -> float:
        """Give the peak less what was there before."""
        return self.peak_mib - self.before_mib

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._look()

    def _read(self) -> None:
        while not self._is_over.wait(EVERY):
            self._look()

    def _look(self) -> None:
        self.peak_mib = max(self.peak_mib, self._process.rss_mib())
