"""File store: a mounted directory, as Kubernetes Secrets and CSI drivers make them."""

import asyncio
import os
import stat
from pathlib import Path

from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.secret import Secret
from sidecar.core.section import Section

SECRET_MAX = 1024 * 1024  # Bytes, as a Kubernetes Secret; a larger file is refused: it is not a secret.


class FileStoreConfig(Section, kw_only=True, tag_field="kind", tag="file"):
    """`[secrets.<name>]` with `kind = "file"`: `<name>:<file>` names a file below `path`."""

    path: str


class FileStore:
    """Reads files below one directory. Kubernetes swaps the directory by a symlink, so a version is what stat says."""

    def __init__(self, config: FileStoreConfig) -> None:
        self._root = Path(config.path)

    async def fetch(self, path: str) -> Secret:
        """Read a file; a newline at its end is trimmed, since editors and `echo` leave one. Raises StoreFailed."""
        return await asyncio.to_thread(self._read, path)

    async def has_changed(self, path: str, version: str) -> bool:
        """Whether the file is another than the one read as `version`."""
        return await asyncio.to_thread(self._version, path) != version

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
            with open(place, "rb", opener=_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise StoreFailed(f"{place} is not a regular file")
                if status.st_mode & stat.S_IWOTH:
                    raise StoreFailed(
                        f"{place} may be written by anyone (mode {stat.filemode(status.st_mode)}); chmod o-w"
                    )
                content = file.read(SECRET_MAX + 1)
        except OSError as error:
            raise StoreFailed(f"{place} cannot be read: {error.strerror or error}") from None
        if len(content) > SECRET_MAX:
            raise StoreFailed(f"{place} is over {SECRET_MAX} bytes: not a secret")
        value = content.removesuffix(b"\n").removesuffix(b"\r")
        if not value.strip():
            raise StoreFailed(f"{place} is empty")
        return Secret(value, _describe(status))


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody fills would be waited for without end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _describe(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"
