"""Writer: the thread that numbers, hashes and writes audit records, so that a slow disk never blocks a call.

Not telemetry/writer.py: that one drops what a full pipe does not take, and a chain has no gaps. Here a batch that the
disk refused is kept and tried again, and only what comes meanwhile, over the bound, is lost: counted, and told in the
chain by a record of kind `lost` as soon as there is room.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.telemetry.audit.record import Entry
from sidecar.telemetry.metrics import Counter

WAITING_MAX = 20_000  # Records, 1 KiB each at most. Full: the newest is lost, counted and told.
GATHER_S = 0.1  # The longest that a record waits for company.
SLICE = 32  # Records per write: between two writes the thread holds the interpreter, and with it the calls.
BREATH_S = 0.0005  # Before each full slice: a write is over before the loop can take the interpreter by itself.
RETRY_S = 1.0  # Between two tries while the disk refuses, or stdout is not read.


class Sink(Protocol):
    """Where records go."""

    def open(self) -> None:
        """Begin, with the record of the start. Raises OSError."""

    def write(self, entries: Sequence[Entry], now: float) -> int:
        """Write as many as there is room for, and say how many. Raises OSError, with none of them written."""

    def sync_in(self, now: float) -> float | None:
        """Say in how many seconds `sync` is due; None: not before something is written."""

    def sync(self, now: float) -> None:
        """Have what is written reach the disk. Raises OSError."""

    def close(self) -> None:
        """Write the record of the stop, and let go. Raises OSError, closed all the same."""


class AuditWriter:
    """A bounded line of records before a sink. `add` never blocks; the loop calls it."""

    def __init__(
        self,
        lost: Counter,
        wall: Callable[[], float],
        now: Callable[[], float],
        tell: Callable[..., None],
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self.lost = lost
        self._wall = wall
        self._now = now
        self._tell = tell
        self._waiting_max = waiting_max
        self._waiting: deque[Entry] = deque()
        self._slice: list[Entry] = []  # Taken from the line, and not written yet.
        self._lost = 0  # Written by the loop alone, and the next by the thread alone.
        self._told = 0  # Of the lost, those that a record tells of.
        self._problem = ""  # Why the last try failed.
        self._is_woken = False
        self._is_closing = False
        self._some = threading.Event()  # There is something to do.
        self._hurry = threading.Event()  # Somebody waits for it.
        self._empty = threading.Event()  # Everything is written.
        self._empty.set()
        self._turn = threading.Lock()  # Held while the sink is used, or changed for another.
        self._sink: Sink | None = None
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """How many records are not written yet."""
        return len(self._waiting) + len(self._slice)

    def add(self, entry: Entry) -> None:
        """Add a record; lost and counted when there is no room."""
        if len(self._waiting) >= self._waiting_max:
            self._lost += 1
            self.lost.value += 1
            return
        self._waiting.append(entry)
        if not self._is_woken:  # Once per batch, since waking costs ten times as much as adding.
            self._is_woken = True
            self._empty.clear()
            self._some.set()

    def use(self, sink: Sink | None) -> None:
        """Open `sink` and write there from now on; what waits goes to the one before, if it can. Blocks.

        Raises OSError when it cannot be opened; then nothing changed.
        """
        if sink is not None:
            sink.open()
        with self._turn:
            before, self._sink = self._sink, sink
            if before is not None:
                self._end(before)
        if sink is not None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
            self._thread.start()
        self._some.set()

    def flush(self, seconds: float) -> bool:
        """Write what is there; wait up to `seconds`, and say whether all of it is out. Blocks."""
        self._hurry.set()
        self._some.set()
        return self._empty.wait(seconds)

    def close(self, seconds: float) -> bool:
        """Flush, write the record of the stop, end the thread. What cannot be written in time is lost. Blocks."""
        self._is_closing = True
        self._hurry.set()
        self._some.set()
        if self._thread is None:
            return not self._waiting
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # The thread.

    def _run(self) -> None:
        while not self._is_closing:
            self._some.wait(self._pause())
            if self._is_woken and not self._is_closing:
                self._hurry.wait(GATHER_S)
            self._turn_once()
        with self._turn:
            if self._sink is not None:
                self._end(self._sink)
                self._sink = None

    def _pause(self) -> float | None:
        """Say how long to sleep when nothing comes."""
        if self._problem:
            return RETRY_S
        sink = self._sink
        return None if sink is None else sink.sync_in(self._now())

    def _turn_once(self) -> None:
        # In this order: a record that comes after the first line wakes us again, one from before it is taken now.
        self._is_woken = False
        self._some.clear()
        self._hurry.clear()
        with self._turn:
            sink = self._sink
            if sink is None:
                return
            try:
                self._write_all(sink)
                if (due := sink.sync_in(self._now())) is not None and due <= 0.0:
                    sink.sync(self._now())
            except OSError as error:
                self._fail(str(error.strerror or error))
        if self._is_idle():
            self._empty.set()
            if not self._is_idle():  # Something came just now.
                self._empty.clear()

    def _is_idle(self) -> bool:
        return not self._waiting and not self._slice

    def _write_all(self, sink: Sink) -> None:
        """Write what waits, slice by slice. Raises OSError; what it could not write stays in `_slice`."""
        while self._slice or self._waiting or self._lost > self._told:
            self._fill()
            if len(self._slice) == SLICE and not self._is_closing:
                self._hurry.wait(BREATH_S)
            written = sink.write(self._slice, self._now())
            is_stuck = written < len(self._slice)
            del self._slice[:written]
            if is_stuck:
                self._fail("stdout is not read")
                return
        self._recover()

    def _fill(self) -> None:
        while self._waiting and len(self._slice) < SLICE:
            self._slice.append(self._waiting.popleft())
        lost = self._lost
        if lost > self._told and not self._waiting:
            self._slice.append(Entry(self._wall(), "lost", {"count": lost - self._told}))
            self._told = lost

    def _end(self, sink: Sink) -> None:
        """Write what waits, and close the sink; what fails is told, and lost."""
        try:
            self._write_all(sink)
        except OSError as error:
            self._fail(str(error.strerror or error))
        try:
            sink.close()
        except OSError as error:
            self._fail(str(error.strerror or error))
        self._problem = ""

    def _fail(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._tell("error", "audit_unwritable", error=problem, waiting=self.waiting)

    def _recover(self) -> None:
        if self._problem:
            self._problem = ""
            self._tell("info", "audit_written", waiting=self.waiting)
