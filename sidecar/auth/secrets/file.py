"""File store: a mounted directory, as Kubernetes Secrets and CSI drivers make them."""

import asyncio
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.auth.secrets.document import with_field
from sidecar.auth.secrets.store import StoreConflict, StoreFailed
from sidecar.core.secret import Secret
from sidecar.core.section import Section

SECRET_MAX = 1024 * 1024  # Bytes, as a Kubernetes Secret; a larger file is refused: it is not a secret.


class FileStoreConfig(Section, kw_only=True, tag_field="kind", tag="file"):
    """`[secrets.<name>]` with `kind = "file"`: `<name>:<file>` names a file below `path`."""

    path: str


class FileStore:
    """Reads files below one directory. Kubernetes swaps the directory by a symlink, so a version is what stat says."""

    poll_s = 1.0
    stale_max = float("inf")  # What is mounted stays mounted: the last value of a file that went is used on.

    def __init__(self, config: FileStoreConfig) -> None:
        self._root = Path(config.path)
        self._writing = asyncio.Lock()

    async def fetch(self, path: str) -> Secret:
        """Read a file; a newline at its end is trimmed, since editors and `echo` leave one. Raises StoreFailed."""
        return await asyncio.to_thread(self._read, path)

    async def has_changed(self, path: str, version: str) -> bool:
        """Whether the file is another than the one read as `version`."""
        return await asyncio.to_thread(self._version, path) != version

    async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:
        """Write a file, or one field of the JSON object in it, where `version` is the stored one ("": nothing is).

        Sidecars that share the volume exclude each other by a lock on the directory, so of two writers one gets
        StoreConflict; one who knows of no lock can still come between. Raises StoreFailed.
        """
        async with self._writing:
            return await asyncio.to_thread(self._put, path, field, value, version)

    async def close(self) -> None:
        """Do nothing: no file is held open."""

    def _place(self, path: str) -> Path:
        place = self._root / path
        if ".." in place.parts or Path(path).is_absolute():
            raise StoreFailed(f"{path} leads out of {self._root}")
        return place

    def _hold_inside(self, place: Path) -> None:
        """Refuse a link that leads to somebody else's file: whose it is, is not for the one who links to say."""
        if not place.resolve().is_relative_to(self._root.resolve()):
            raise StoreFailed(f"{place} is a link that leads out of {self._root}; mount what it leads to there")

    def _version(self, path: str) -> str:
        try:
            return _describe(self._place(path).stat())
        except (OSError, StoreFailed):
            return ""

    def _read(self, path: str) -> Secret:
        place = self._place(path)
        try:
            self._hold_inside(place)
        except OSError as error:
            raise _unreadable(place, error) from None
        return read_file(place)

    def _put(self, path: str, field: str | None, value: bytes, version: str) -> str:
        """Write beside the file and rename over it, so that a reader sees the old value or the new one, whole."""
        place = self._place(path)
        try:
            self._hold_inside(place)
            place = place.resolve()  # A link stays, and what it leads to is replaced.
            if self._root.is_dir():  # A mount that is away for now is not made up for by a directory of our own.
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _only_writer(place):
                stored = read_file(place) if place.exists() else None
                if (stored.version if stored is not None else "") != version:
                    raise _conflict(place)
                before = stored.reveal() if stored is not None else b""
                return _replace(place, with_field(before, field, value, str(place)))
        except OSError as error:
            raise _unwritable(place, error) from None


def read_file(place: Path) -> Secret:
    """Read a file that holds a secret. Blocks. Raises StoreFailed with a sentence that names it."""
    try:
        with open(place, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise StoreFailed(f"{place} is not a regular file")
            if status.st_mode & stat.S_IWOTH:
                raise StoreFailed(f"{place} may be written by anyone (mode {stat.filemode(status.st_mode)}); chmod o-w")
            content = file.read(SECRET_MAX + 1)
    except OSError as error:
        raise _unreadable(place, error) from None
    if len(content) > SECRET_MAX:
        raise StoreFailed(f"{place} is over {SECRET_MAX} bytes: not a secret")
    value = content.removesuffix(b"\n").removesuffix(b"\r")
    if not value.strip():
        raise StoreFailed(f"{place} is empty")
    return Secret(value, _describe(status))


@contextmanager
def _only_writer(place: Path) -> Iterator[None]:
    """Hold the directory's lock, which every sidecar that writes there takes; StoreConflict while another has it."""
    directory = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _conflict(place) from None
        yield
        os.fsync(directory)  # So that the new name outlives a crash of the node.
    finally:
        os.close(directory)  # The lock ends with it.


def _replace(place: Path, value: bytes) -> str:
    """Put `value` in the file's place, on the disk before it has the name; give its version."""
    if not value.strip():
        raise StoreFailed(f"{place} is not written: an empty value is no secret")
    # What reads it trims one line break, which must not be the value's own.
    content = value + b"\r\n" if value.endswith((b"\r", b"\n")) else value
    if len(content) > SECRET_MAX:
        raise StoreFailed(f"{place} is not written: over {SECRET_MAX} bytes it is not a secret")
    fresh = place.with_name(f".{secrets.token_hex(8)}.new")
    try:
        with open(fresh, "xb", opener=_for_us_alone) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            version = _describe(os.fstat(file.fileno()))
        fresh.replace(place)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return version


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody fills would be waited for without end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _describe(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"


def _unreadable(place: Path, error: OSError) -> StoreFailed:
    return StoreFailed(f"{place} cannot be read: {error.strerror or error}")


def _unwritable(place: Path, error: OSError) -> StoreFailed:
    hint = ""
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        hint = (
            "; a mounted Secret is read-only: what is written back needs a writable volume, or a store of another kind"
        )
    return StoreFailed(f"{place} cannot be written: {error.strerror or error}{hint}")


def _conflict(place: Path) -> StoreConflict:
    return StoreConflict(f"somebody else wrote {place} first, or writes beside it now; read it again")
