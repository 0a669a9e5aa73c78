"""What `sidecar audit verify` finds, where, and in which words."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.telemetry.audit.record import Entry
from sidecar.telemetry.audit.verify import verify, verify_stream
from tests.telemetry.audit.logs import WALL, audit_file, events, sentences, write_log

Change = Callable[[list[bytes]], list[bytes]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of ten records: a start, eight that can be told apart, a stop."""
    path = tmp_path / "audit.jsonl"
    write_log(path, 8)
    return path


def changed(path: Path, change: Change) -> str:
    """Change the lines of a log, and give what is found."""
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    report = verify([path])
    assert report.exit_code == 1
    return sentences(report.findings)


def test_a_whole_log_is_right(path: Path) -> None:
    """The summary tells how far it goes, and the hash to note down."""
    report = verify([path])
    assert (report.findings, report.exit_code) == ([], 0)
    assert report.summary.startswith("10 records, 0 to 9, last hash ")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: lines[:4] + lines[5:], "audit.jsonl:5: record 4 is missing before this line"),
        (lambda lines: lines[:4] + lines[7:], "audit.jsonl:5: records 4 to 6 are missing before this line"),
        (lambda lines: lines[1:], "audit.jsonl:1: the chain does not begin here"),
        (lambda lines: lines[:5] + lines[4:], "audit.jsonl:6: record 4 comes after record 4: the line was put in"),
        (
            lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
            "audit.jsonl:6: record 4 comes after record 5: the line was put in, repeated or moved",
        ),
        (
            lambda lines: [*lines[:4], lines[4].replace(b"key-3", b"key-X"), *lines[5:]],
            "audit.jsonl:5: record 4 does not have the hash that follows from record 3",
        ),
        (lambda lines: [*lines[:4], b"\n", *lines[4:]], "audit.jsonl:5: this is no audit record"),
        (lambda lines: [*lines[:4], b'{"msg":"call"}\n', *lines[4:]], "audit.jsonl:5: this is no audit record"),
        (lambda lines: [*lines[:4], lines[4][:50] + b"\n", *lines[5:]], "audit.jsonl:5: this is no audit record"),
        (lambda lines: [*lines[:4], lines[4][:-1], *lines[5:]], "audit.jsonl:5: this is no audit record"),
        (lambda lines: [*lines[:-1], lines[-1][:-1]], "audit.jsonl:10: the line is cut off"),
        (lambda lines: [*lines[:-1], lines[-1][:70]], "audit.jsonl:10: the line is cut off"),
        (lambda lines: [*lines, b"x" * 70_000], "audit.jsonl:11: the line is longer than any record"),
        (lambda lines: lines[:-1], "the file ends with record 8, though record 9 was written: its end was cut off"),
        (lambda lines: lines[:3], "the file ends with record 2, though record 9 was written: its end was cut off"),
        (lambda _: [], "the file is empty, though record 9 was written: its end was cut off"),
    ],
)
def test_what_was_done_to_a_log_is_found_where_it_was_done(path: Path, change: Change, expected: str) -> None:
    """File, line, and what happened there."""
    assert expected in changed(path, change)


def test_a_change_is_found_at_its_line_and_nowhere_else(path: Path) -> None:
    """Those after it hold on to the hash that it says of itself."""
    found = changed(path, lambda lines: [*lines[:4], lines[4].replace(b"key-3", b"key-X"), *lines[5:]])
    assert len(found.splitlines()) == 1


def test_a_line_that_was_put_in_or_moved_is_one_finding(path: Path) -> None:
    """Those after it go on from the one before it."""
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(changed(path, lambda _: [*lines[:5], lines[2], *lines[5:]]).splitlines()) == 1
    assert len(changed(path, lambda _: [*lines[:3], *lines[4:8], lines[3], *lines[8:]]).splitlines()) == 2


def test_what_a_config_had_wrong_is_no_problem_of_the_log(path: Path) -> None:
    """Only where a file begins does the sidecar write of the file."""
    log = audit_file(path)
    log.open()
    log.write([Entry(WALL, "config_refused", {"problem": "wrong", "previous": "0" * 64})], 0.0)
    log.close()
    assert verify([path]).findings == []


def test_a_line_whose_hash_was_made_anew_is_found_at_the_next(path: Path) -> None:
    """Whoever changes one has to change all that follow, and then the last hash is another."""
    lines = path.read_bytes().splitlines(keepends=True)
    other = path.with_name("other.jsonl")
    log = audit_file(other)
    log.open()
    log.write(events(4, 100), 0.0)
    log.close()
    forged = other.read_bytes().splitlines(keepends=True)
    assert "audit.jsonl:6: record 5 does not have the hash that follows from record 4" in changed(
        path, lambda _: forged[:5] + lines[5:]
    )


def test_a_log_that_was_made_anew_as_a_whole_does_not_have_the_hash_that_was_noted(path: Path) -> None:
    """The chain proves nothing to who may write the file; the hash in the log, which is elsewhere, does."""
    noted = verify([path]).summary.rpartition(" ")[2]
    assert verify([path], noted).findings == []
    path.unlink()
    path.with_name("audit.jsonl.last").unlink()
    write_log(path, 7)
    assert verify([path]).findings == []
    assert f"no record has the hash {noted}" in sentences(verify([path], noted).findings)


def test_without_the_note_it_says_what_it_cannot_tell(path: Path, tmp_path: Path) -> None:
    """A copy that ends with a stop is whole; one that does not may have been cut."""
    copy = tmp_path / "copy" / "audit.jsonl"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    assert "cannot be told" not in verify([copy]).summary
    copy.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    report = verify([copy])
    assert report.findings == []
    assert "cannot be told" in report.summary


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """A typing error is no clean bill."""
    report = verify([tmp_path / "audit.jsonl"])
    assert report.exit_code == 1
    assert "cannot be read: No such file" in sentences(report.findings)


# Several files.


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """A log in several files."""
    path = tmp_path / "rotated.jsonl"
    write_log(path, 80, size_max=4096, files_max=20)
    assert path.with_name("rotated.jsonl.3").exists()
    return path


def test_files_may_be_named_in_any_order(rotated: Path) -> None:
    """A shell sorts .10 before .2."""
    files = [path for path in rotated.parent.glob("rotated.jsonl*") if path.suffix != ".last"]
    assert verify(sorted(files)).findings == []
    assert verify(sorted(files, reverse=True)).summary == verify([rotated]).summary


def test_a_file_that_is_missing_between_others_is_found(rotated: Path) -> None:
    """Its removal takes thousands of records at once."""
    rotated.with_name("rotated.jsonl.2").unlink()
    files = [rotated.with_name(f"rotated.jsonl{suffix}") for suffix in ("", ".1", ".3")]
    found = sentences(verify(files).findings)
    assert "rotated.jsonl.1:1: the file does not go on from record" in found
    assert len(found.splitlines()) == 1


def test_the_end_of_an_older_file_that_was_cut_off_is_found(rotated: Path) -> None:
    """The one after it says with which hash it ended."""
    older = rotated.with_name("rotated.jsonl.1")
    older.write_bytes(b"".join(older.read_bytes().splitlines(keepends=True)[:-1]))
    assert "rotated.jsonl:1: the file does not go on from record" in sentences(verify([rotated]).findings)


def test_a_file_of_another_chain_is_found(rotated: Path) -> None:
    """Two whole chains are not one."""
    other = rotated.with_name("other.jsonl")
    write_log(other, 2)
    assert verify([rotated, other]).exit_code == 1


# What was captured of stdout.


def test_lines_of_the_log_are_passed_over_in_a_capture(path: Path) -> None:
    """And a restart begins a chain; but a gap is a gap."""
    lines = path.read_bytes().splitlines(keepends=True)
    mixed = [b'{"msg":"call"}\n', *lines[:5], b"Traceback\n", *lines[5:], *lines]
    assert verify_stream(io.BytesIO(b"".join(mixed))).findings == []
    del mixed[4]
    assert "-:5: record 3 is missing" in sentences(verify_stream(io.BytesIO(b"".join(mixed))).findings)


def test_a_record_that_is_made_to_look_like_a_line_of_the_log_is_missed_by_the_next(path: Path) -> None:
    """What is passed over leaves a gap."""
    content = path.read_bytes().replace(b'"msg":"audit","seq":4', b'"msg":"other","seq":4')
    assert "record 4 is missing" in sentences(verify_stream(io.BytesIO(content)).findings)
