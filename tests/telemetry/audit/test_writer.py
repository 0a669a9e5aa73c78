"""The writer's thread: nothing is lost while there is room to wait, and what is lost is counted and told."""

import threading
from collections.abc import Sequence

import pytest

from sidecar.telemetry.audit.record import Entry
from sidecar.telemetry.audit.writer import SLICE, AuditWriter
from sidecar.telemetry.metrics import Counter
from tests.telemetry.audit.logs import Told, events

WAIT = 10.0  # Seconds: real time, for a thread to come to something that it does at once.


class Memory:
    """A sink that keeps what it gets, and may be told to refuse, to take a part, or to hang."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.sizes: list[int] = []
        self.refuses = False
        self.room = 10**9
        self.tried = threading.Event()
        self.may_go = threading.Event()
        self.may_go.set()
        self.due: float | None = None
        self.synced = threading.Event()
        self.is_closed = False

    def open(self) -> None:
        """Begin."""
        if self.refuses:
            raise OSError("no such directory")

    def write(self, entries: Sequence[Entry], now: float) -> int:  # noqa: ARG002
        """Keep records."""
        self.tried.set()
        assert self.may_go.wait(WAIT)
        if self.refuses:
            raise OSError("disk full")
        taken = entries[: self.room]
        self.room -= len(taken)
        self.entries += taken
        self.sizes.append(len(taken))
        return len(taken)

    def sync_in(self, now: float) -> float | None:  # noqa: ARG002
        """Say when a sync is due."""
        return self.due

    def sync(self, now: float) -> None:  # noqa: ARG002
        """Sync."""
        self.due = None
        self.synced.set()

    def close(self) -> None:
        """End."""
        self.is_closed = True

    def secrets(self) -> list[object]:
        """Give what tells the records apart."""
        return [getattr(entry.content, "get", str)("secret") for entry in self.entries if entry.kind == "secret_read"]

    def lost(self) -> list[object]:
        """Give the counts of the records about losses."""
        return [getattr(entry.content, "get", str)("count") for entry in self.entries if entry.kind == "lost"]


class Rig:
    """A writer with its sink and what it told."""

    def __init__(self, waiting_max: int = 20_000) -> None:
        self.told = Told()
        self.lost = Counter()
        self.now = 100.0
        self.sink = Memory()
        self.writer = AuditWriter(self.lost, lambda: 0.0, lambda: self.now, self.told, waiting_max)
        self.writer.use(self.sink)

    def add(self, count: int, start: int = 0) -> None:
        """Add records."""
        for entry in events(count, start):
            self.writer.add(entry)

    def expected(self, count: int) -> list[object]:
        """Give what tells the first records apart."""
        return [f"files:key-{number}" for number in range(count)]


@pytest.fixture
def rig() -> Rig:
    """Make a writer with room."""
    return Rig()


def test_records_come_out_in_order_in_slices(rig: Rig) -> None:
    """A slice is as long as the thread may hold the interpreter."""
    rig.add(1000)
    assert rig.writer.flush(WAIT)
    assert rig.sink.secrets() == rig.expected(1000)
    assert max(rig.sink.sizes) <= SLICE
    assert rig.writer.waiting == 0
    assert rig.writer.close(WAIT)
    assert rig.sink.is_closed


def test_a_record_wakes_the_thread_each_time(rig: Rig) -> None:
    """Not only the first one, and not only when somebody asks."""
    for number in range(3):
        rig.sink.tried.clear()
        rig.add(1, number)
        assert rig.sink.tried.wait(WAIT)
    rig.writer.close(WAIT)
    assert rig.sink.secrets() == rig.expected(3)


def test_close_writes_what_waits(rig: Rig) -> None:
    """The last calls of a pod are in its audit log."""
    rig.add(500)
    assert rig.writer.close(WAIT)
    assert rig.sink.secrets() == rig.expected(500)


def test_what_a_disk_refused_is_written_later_and_both_are_told_once(rig: Rig) -> None:
    """A disk that is full for a while loses nothing."""
    rig.sink.refuses = True
    rig.add(40)
    assert rig.sink.tried.wait(WAIT)
    assert not rig.writer.flush(0.05)
    rig.add(10, 40)
    rig.sink.refuses = False
    assert rig.writer.flush(WAIT)
    rig.writer.close(WAIT)
    assert rig.sink.secrets() == rig.expected(50)
    assert rig.lost.value == 0
    (unwritable,) = rig.told.named("audit_unwritable")
    assert unwritable["error"] == "disk full"
    assert len(rig.told.named("audit_written")) == 1


def test_what_has_no_room_to_wait_is_counted_and_told_in_the_chain() -> None:
    """A gap that nobody tells of would look like peace."""
    rig = Rig(waiting_max=50)
    rig.sink.may_go.clear()
    rig.add(1)
    assert rig.sink.tried.wait(WAIT)  # The thread has it in its hands now.
    rig.add(70, 1)
    assert rig.lost.value == 20
    rig.sink.may_go.set()
    assert rig.writer.flush(WAIT)
    rig.writer.close(WAIT)
    assert rig.sink.secrets() == rig.expected(51)
    assert rig.sink.lost() == [20]


def test_a_stdout_that_takes_a_part_gets_the_rest_later(rig: Rig) -> None:
    """No record twice, none left out."""
    rig.sink.room = 10
    rig.add(30)
    assert rig.sink.tried.wait(WAIT)
    assert not rig.writer.flush(0.05)
    rig.sink.room = 10**9
    assert rig.writer.flush(WAIT)
    rig.writer.close(WAIT)
    assert rig.sink.secrets() == rig.expected(30)


def test_a_sync_comes_without_a_further_record(rig: Rig) -> None:
    """The last record of a quiet hour reaches the disk, too."""
    rig.sink.due = 0.01
    rig.add(1)
    assert rig.writer.flush(WAIT)
    rig.sink.due = 0.0
    rig.add(1, 1)
    assert rig.sink.synced.wait(WAIT)
    rig.writer.close(WAIT)


def test_a_change_of_the_sink_loses_nothing(rig: Rig) -> None:
    """What waits goes to the one before, what comes later to the new one."""
    other = Memory()
    rig.add(100)
    rig.writer.use(other)
    assert rig.sink.is_closed
    rig.add(100, 100)
    rig.writer.close(WAIT)
    assert rig.sink.secrets() + other.secrets() == rig.expected(200)


def test_a_sink_that_cannot_be_opened_changes_nothing(rig: Rig) -> None:
    """A reload with a wrong path is refused, and the audit goes on."""
    other = Memory()
    other.refuses = True
    with pytest.raises(OSError, match="no such directory"):
        rig.writer.use(other)
    rig.add(3)
    rig.writer.close(WAIT)
    assert rig.sink.secrets() == rig.expected(3)


def test_a_disk_that_never_comes_back_does_not_hold_the_end_up(rig: Rig) -> None:
    """The drain has its own bound."""
    rig.sink.may_go.clear()
    rig.add(1)
    assert rig.sink.tried.wait(WAIT)
    assert not rig.writer.close(0.05)
    rig.sink.may_go.set()


def test_a_writer_that_was_never_used_has_no_thread() -> None:
    """A pod without an audit log pays nothing for it."""
    before = threading.active_count()
    writer = AuditWriter(Counter(), lambda: 0.0, lambda: 0.0, Told())
    assert threading.active_count() == before
    assert writer.close(0.0)
