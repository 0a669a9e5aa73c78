"""Changes: whether a file that the config was made from is another one now.

Kubernetes swaps the `..data` symlink of a mounted ConfigMap, so it is the file at the end of the links that is
compared. Files are looked at from time to time: inotify does not see the swap through a bind mount of one file.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from sidecar.auth.secrets.file import FileStoreConfig
from sidecar.config.load import preset_files
from sidecar.config.model import Config
from sidecar.config.walk import leaves


class FileMark(msgspec.Struct, frozen=True):
    """What tells one state of a file from another; all -1 when there is no file."""

    path: str
    device: int = -1
    inode: int = -1
    modified_ns: int = -1
    size_bytes: int = -1


class Fingerprint(msgspec.Struct, frozen=True):
    """The marks of all files of one generation."""

    files: tuple[FileMark, ...]

    def changed(self, previous: "Fingerprint") -> tuple[str, ...]:
        """Give the paths that came, went, or are other files than before; empty when nothing changed."""
        now, before = set(self.files), set(previous.files)
        return tuple(sorted({mark.path for mark in now ^ before}))


def sources(path: Path) -> Fingerprint:
    """Look at the files that a config is read from: its own, and the user's presets that it names.

    Each is looked at before it is read, here or by `load`, so that a change in between is seen the next time.
    """
    own = fingerprint((path,))
    return Fingerprint(own.files + fingerprint(preset_files(path)).files)


def ca_files(config: Config) -> Iterator[tuple[str, str]]:
    """Give (path, file) of every `ca_file`: of services, token endpoints and secret stores."""
    for name, entry in config.services.items():
        if entry.config.ca_file:
            yield f"services.{name}.ca_file", entry.config.ca_file
    yield from ((path, str(value)) for path, value in leaves(config) if path.endswith(".auth.ca_file"))
    for name, store in config.secrets.items():
        if not isinstance(store, FileStoreConfig) and store.ca_file:
            yield f"secrets.{name}.ca_file", store.ca_file


def authorities(config: Config) -> tuple[Path, ...]:
    """Give every `ca_file` once: files that a config stands on without being read from them."""
    return tuple(sorted({Path(file) for _, file in ca_files(config)}))


def fingerprint(paths: Iterable[Path], stat: Callable[[Path], os.stat_result] = os.stat) -> Fingerprint:
    """Look at the files, through links. One that is missing or unreadable is part of the picture, not an error."""
    return Fingerprint(tuple(_mark(path, stat) for path in paths))


def _mark(path: Path, stat: Callable[[Path], os.stat_result]) -> FileMark:
    try:
        found = stat(path)
    except OSError:
        return FileMark(str(path))
    return FileMark(str(path), found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
