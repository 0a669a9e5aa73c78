"""Paths: the files of one audit log by their names, and how they are opened."""

import fcntl
import os
import stat
from pathlib import Path

MODE = 0o640  # Of a new file: readable by a collector of the file's group.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class FileTaken(OSError):
    """Another process writes this audit log; two would tear the chain."""


def numbered(path: Path, number: int) -> Path:
    """Give the path of a rotated file: 1 is the latest; 0 is the one that is written."""
    return path.with_name(f"{path.name}.{number}") if number else path


def last_path(path: Path) -> Path:
    """Give the path of the note about the last record."""
    return path.with_name(f"{path.name}.last")


def fresh_path(path: Path) -> Path:
    """Give the path at which the next file is made before it takes its place."""
    return path.with_name(f"{path.name}.new")


def open_for_appending(path: Path) -> int:
    """Open and lock a file of audit records. Raises OSError, FileTaken if another process has it."""
    fd = open_regular(path, os.O_APPEND)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise FileTaken(f"another process writes the audit log {path}; give each its own file") from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_fresh(path: Path) -> int:
    """Open the file that will take the place of `path`; what a killed process left of one goes."""
    fresh_path(path).unlink(missing_ok=True)
    return open_for_appending(fresh_path(path))


def open_regular(path: Path, flags: int = 0) -> int:
    """Open a file for reading and writing, made if it is not there; no link, no pipe. Raises OSError."""
    fd = os.open(path, _FLAGS | flags, MODE)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(f"{path} is not a regular file")
