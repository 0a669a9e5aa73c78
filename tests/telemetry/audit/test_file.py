"""The audit log on disk: one chain over restarts, rotations and a full disk."""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sidecar.telemetry.audit.file import AuditFile
from sidecar.telemetry.audit.last import Last, noted
from sidecar.telemetry.audit.paths import FileTaken
from sidecar.telemetry.audit.record import GENESIS
from sidecar.telemetry.audit.verify import verify
from tests.telemetry.audit.logs import Told, audit_file, events, records, section, sentences, write_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the audit log is."""
    return tmp_path / "audit.jsonl"


def kinds(path: Path) -> list[str]:
    """Give the kinds of the records in a file."""
    return [record["kind"] for record in records(path)]


def test_a_log_begins_with_a_start_and_ends_with_a_stop(path: Path) -> None:
    """So an end that was cut off does not look like an end."""
    write_log(path, 2)
    first, *_, last = records(path)
    assert kinds(path) == ["start", "secret_read", "secret_read", "stop"]
    assert (first["seq"], first["previous"], first["version"]) == (0, GENESIS.decode(), "1.2.3")
    assert last["seq"] == 3
    assert verify([path]).findings == []


def test_others_may_not_read_it(path: Path) -> None:
    """It says who calls whom; a collector gets in by its group."""
    write_log(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


def test_a_restart_goes_on_with_the_chain(path: Path) -> None:
    """One file, one chain, however often the pod was restarted."""
    for _ in range(3):
        write_log(path, 2)
    assert [record["seq"] for record in records(path)] == list(range(12))
    assert verify([path]).findings == []


def test_a_line_that_was_not_finished_is_taken_away_and_told(path: Path) -> None:
    """The process was killed while it wrote: half a record is none, and must not spoil those after it."""
    write_log(path, 2)
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"ts":"2026-01-')
    write_log(path, 1)
    assert path.read_bytes().startswith(whole)
    assert records(path)[4]["unfinished_bytes"] == 15
    assert verify([path]).findings == []


def test_a_file_that_is_no_audit_log_is_put_aside(path: Path) -> None:
    """It may be somebody's data, or what an attacker left; neither is written to, and neither is lost."""
    for content in (b"precious\n", b"precious", b"x" * 100_000, b'{"msg":"audit"}\n'):
        path.write_bytes(content)
        told = Told()
        log = audit_file(path, told)
        log.open()
        log.close()
        (aside,) = path.parent.glob("audit.jsonl.aside.*")
        assert aside.read_bytes() == content
        assert "did not end with a record" in records(path)[0]["problem"]
        assert told.named("audit_started")[0]["level"] == "error"
        assert "did not end with a record" in sentences(verify([path]).findings)
        for left in path.parent.iterdir():
            left.unlink()


def test_an_end_that_was_cut_off_while_nobody_wrote_is_found_at_the_start(path: Path) -> None:
    """The note beside the file says how far it went, and the chain keeps for good that it was cut."""
    write_log(path, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-3]))
    told = Told()
    log = audit_file(path, told)
    log.open()
    log.close()
    assert "its end was cut off" in records(path)[4]["problem"]
    assert "its end was cut off" in sentences(verify([path]).findings)
    assert told.named("audit_started")[0]["level"] == "error"


def test_a_file_that_was_emptied_is_found_at_the_start(path: Path) -> None:
    """Also by removing it."""
    for empty in (lambda: path.write_bytes(b""), path.unlink):
        write_log(path, 50)
        empty()
        write_log(path, 1)
        assert "is empty" in records(path)[0]["problem"]
        assert noted(path) == Last(2, records(path)[2]["hash"])  # Though the note before was longer.
        path.unlink()
        path.with_name("audit.jsonl.last").unlink()


def test_two_processes_cannot_write_one_chain(path: Path) -> None:
    """Their records would tear each other's chain."""
    first = audit_file(path)
    first.open()
    with pytest.raises(FileTaken, match="another process writes"):
        audit_file(path).open()
    first.close()
    write_log(path, 1)
    assert verify([path]).findings == []


@pytest.mark.parametrize("place", ["directory", "pipe", "link", "missing"])
def test_a_place_that_is_no_file_is_refused(place: str, tmp_path: Path) -> None:
    """A link may lead to somebody else's file, and a pipe would hang."""
    path = tmp_path / "audit.jsonl"
    if place == "directory":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    elif place == "link":
        path.symlink_to(tmp_path / "other")
    else:
        path = tmp_path / "nowhere" / "audit.jsonl"
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=r".+"):
        audit_file(path).open()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_another_end_of_the_same_length_is_found_at_the_start(path: Path) -> None:
    """Somebody put other records in the place of the last ones."""
    write_log(path, 5)
    other = path.with_name("other.jsonl")
    log = audit_file(other)
    log.open()
    log.write(events(5, 100), 0.0)
    log.close()
    path.write_bytes(other.read_bytes())
    assert "record 6, the last one, is another than was written" in sentences(verify([path]).findings)
    write_log(path, 1)
    assert "is another than was written" in records(path)[7]["problem"]


# Rotation.


def test_a_full_file_is_moved_and_the_next_begins_with_its_hash(path: Path) -> None:
    """Each file can be verified with the one before it; the sizes hold."""
    write_log(path, 60, size_max=8192, files_max=100)
    files = sorted(path.parent.glob("audit.jsonl.*[0-9]"), key=lambda file: int(file.suffix[1:]))
    assert len(files) > 1
    assert all(file.stat().st_size <= 8192 for file in [path, *files])
    head, tail = records(path)[0], records(files[0])[-1]
    assert (head["kind"], head["previous"], head["seq"]) == ("rotated", tail["hash"], tail["seq"] + 1)
    assert "size_max = 8KiB" in head["reason"]
    report = verify([path])
    assert report.findings == []
    assert "records, 0 to " in report.summary


def test_the_oldest_files_go(path: Path) -> None:
    """The disk has a bound: size_max times files_max, with the one that is written."""
    write_log(path, 200, size_max=4096, files_max=3)
    assert {file.name for file in path.parent.iterdir()} == {
        "audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.last",
    }  # fmt: skip
    report = verify([path])
    assert report.findings == []
    assert "the chain began in an earlier file" in report.summary


def test_one_file_alone_is_replaced_when_it_is_full(path: Path) -> None:
    """With files_max = 1 nothing older is kept."""
    write_log(path, 50, size_max=4096, files_max=1)
    assert {file.name for file in path.parent.iterdir()} == {"audit.jsonl", "audit.jsonl.last"}
    assert verify([path]).findings == []


def test_where_the_chain_stands_is_noted_in_the_log(path: Path) -> None:
    """Another stream holds a hash of every file, so that whole files cannot be made anew unseen."""
    told = Told()
    log = audit_file(path, told, size_max=4096, files_max=9)
    log.open()
    for entry in events(20):
        log.write([entry], 0.0)
    log.close()
    assert [line["msg"] for line in told.lines[:2]] == ["audit_started", "audit_rotated"]
    assert told.lines[-1]["msg"] == "audit_stopped"
    for line in told.lines:
        assert verify([path], line["hash"]).findings == []
    assert "no record has the hash" in sentences(verify([path], "f" * 64).findings)


@pytest.mark.parametrize("is_moved", [True, False])
def test_a_file_that_somebody_moved_or_removed_is_begun_anew(path: Path, is_moved: bool) -> None:
    """Such as logrotate: what is written to a file that is gone would be lost unseen."""
    told = Told()
    log = audit_file(path, told)
    log.open()
    log.write(events(2), 10.0)
    if is_moved:
        path.rename(path.with_name("audit.jsonl.1"))
    else:
        path.unlink()
    log.sync(20.0)
    log.write(events(1), 20.1)
    log.close()
    assert kinds(path) == ["rotated", "secret_read", "stop"]
    assert "moved or removed" in records(path)[0]["reason"]
    assert path.with_name("audit.jsonl.1").exists() == is_moved
    assert told.named("audit_rotated")[0]["level"] == "error"
    assert verify([path]).findings == []


def test_a_file_that_somebody_cut_says_so(path: Path) -> None:
    """Such as logrotate with copytruncate."""
    log = audit_file(path)
    log.open()
    log.write(events(2), 10.0)
    os.truncate(path, 0)
    log.sync(20.0)
    log.close()
    assert kinds(path) == ["rotated", "stop"]
    assert "cut the file to 0 bytes" in records(path)[0]["reason"]


# A disk that refuses.


class FullDisk:
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def write(self, fd: int, data: Sequence[int]) -> int:
        """Write what there is room for, as the kernel does."""
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = bytes(data)[: self.room]
        self.room -= len(taken)
        return self._write(fd, taken)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    """Have the file's writes go to a disk that may be full."""
    disk = FullDisk(10**9)
    monkeypatch.setattr("sidecar.telemetry.audit.file.os.write", disk.write)
    return disk


def opened(path: Path, **bounds: Any) -> AuditFile:
    """Open a log with two records in it."""
    log = audit_file(path, **bounds)
    log.open()
    log.write(events(2), 0.0)
    return log


@pytest.mark.parametrize("room", [0, 1, 200, 400])
def test_a_full_disk_leaves_no_half_record_and_no_gap(path: Path, disk: FullDisk, room: int) -> None:
    """What it refused is written when there is room: the same records, once."""
    log = opened(path)
    disk.room = room
    with pytest.raises(OSError, match="No space left"):
        log.write(events(4, 2), 0.0)
    assert verify([path]).findings == []
    assert len(records(path)) == 3
    disk.room = 10**9
    log.write(events(4, 2), 0.0)
    log.close()
    assert [record["secret"] for record in records(path)[1:-1]] == [f"files:key-{number}" for number in range(6)]
    assert verify([path]).findings == []


def test_a_disk_that_is_full_while_a_file_is_rotated_keeps_the_chain(path: Path, disk: FullDisk) -> None:
    """The new file's head is written with its first records, or not at all."""
    log = opened(path, size_max=2048)
    disk.room = 0
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            log.write(events(4, 2), 0.0)
    disk.room = 10**9
    log.write(events(4, 2), 0.0)
    log.close()
    assert kinds(path)[0] == "rotated"
    assert verify([path]).findings == []
    assert sum(map(len, (records(path), records(path.with_name("audit.jsonl.1"))))) == 1 + 2 + 1 + 4 + 1


def test_a_note_that_cannot_be_written_is_told_once_and_stops_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record itself is in the file: written again, it would be there twice."""
    told = Told()
    log = audit_file(path, told)
    log.open()

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("sidecar.telemetry.audit.last.os.pwrite", refuse)
        log.write(events(1), 0.0)
        log.write(events(1, 1), 0.0)
    log.write(events(1, 2), 0.0)
    log.close()
    assert len(told.named("audit_note_unwritable")) == 1
    assert len(records(path)) == 5
    assert verify([path]).findings == []


# Reaching the disk.


def test_what_is_written_reaches_the_disk_as_often_as_the_config_says(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at every record: a disk does a few hundred in a second."""
    synced: list[int] = []
    monkeypatch.setattr("sidecar.telemetry.audit.file.os.fdatasync", synced.append)
    log = audit_file(path, sync_every=1.0)
    log.open()
    log.sync(100.0)
    synced.clear()
    assert log.sync_in(100.0) is None
    for number in range(9):
        log.write(events(1, number), 100.1 + number / 10)
    assert synced == []
    assert log.sync_in(100.9) == pytest.approx(0.1)
    log.write(events(1, 9), 101.0)
    assert len(synced) == 1
    log.close()
    assert len(synced) == 2


def test_the_bounds_of_a_reload_hold_at_once(path: Path) -> None:
    """The file stays open: a reload is no restart."""
    log = opened(path)
    log.configure(section(path, size_max=1024, files_max=2))
    log.write(events(1, 2), 0.0)
    log.close()
    assert path.with_name("audit.jsonl.1").exists()
    assert verify([path]).findings == []
