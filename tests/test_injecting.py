"""When files are read again, and what is told of it."""

from pathlib import Path

import pytest

from sidecar.injecting import LOOKS_MAX, Source


class Read:
    """Files that are read: counts, and says what the test wants."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self.times = 0
        self.problems: list[str] = []
        self.meanwhile: list[str] = []  # What is written into the first file while it is read, one each time.
        self.source = Source("files", lambda: self.paths, self._read)

    def _read(self) -> list[str]:
        self.times += 1
        if self.meanwhile:
            self.paths[0].write_text(self.meanwhile.pop(0))
        return self.problems


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """One file that was read well."""
    path = tmp_path / "a"
    path.write_text("")
    read = Read(path)
    assert read.source.look()
    assert read.times == 1
    return read


def test_a_file_that_did_not_change_is_not_read_again(read: Read) -> None:
    """However often somebody looks."""
    assert [read.source.look() for _ in range(3)] == [False] * 3
    assert read.times == 1


def test_a_changed_file_is_read_and_told(read: Read) -> None:
    """Whether it is good or not; a file that went is a change, too."""
    read.paths[0].write_text("changed")
    assert read.source.look()
    read.problems = ["bad"]
    read.paths[0].unlink()
    assert read.source.look()
    assert (read.times, read.source.problems) == (3, ["bad"])


def test_what_has_problems_is_tried_again_and_told_once(read: Read) -> None:
    """What was wrong may pass without a change of the file: a clock that was behind, a disk that failed."""
    read.problems = ["bad"]
    read.paths[0].write_text("changed")
    assert [read.source.look() for _ in range(3)] == [True, False, False]
    read.problems = ["worse"]
    assert read.source.look()
    read.problems = []
    assert [read.source.look() for _ in range(3)] == [True, False, False]
    assert read.times == 6


def test_files_that_change_while_they_are_read_are_read_once_more(read: Read) -> None:
    """A key may be that of a certificate which was read a moment too early."""
    read.paths[0].write_text("begun")
    read.meanwhile = ["changed again"]
    assert read.source.look()
    assert read.times == 3
    assert not read.source.look()


def test_files_that_change_without_end_are_told_as_they_are(read: Read) -> None:
    """And looked at again at the next turn."""
    read.meanwhile = ["x" * n for n in range(1, 2 * LOOKS_MAX)]
    read.paths[0].write_text("begun")
    assert read.source.look()
    assert read.times == 1 + LOOKS_MAX
    assert read.source.look()
