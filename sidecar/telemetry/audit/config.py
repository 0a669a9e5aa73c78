"""`[audit]`: where the audit log goes, and how much of it is kept."""

from typing import Literal

from sidecar.core.section import Section
from sidecar.core.units import Duration, Size

SIZE_MIN = 64 * 1024  # Bytes. Smaller files would be rotated by every batch.
FILES_LIMIT = 1000  # Each rotation renames them all.


class AuditConfig(Section, kw_only=True):
    """`[audit]`: absent, there is no audit log."""

    file: str | None = None  # Absent: stdout, as lines with "msg": "audit" among those of the log.
    calls: Literal["all", "writes", "none"] = "all"  # "writes": all but GET, HEAD and OPTIONS.
    size_max: Size = Size(100 * 2**20)  # Of one file. Full: it is moved to FILE.1, and a new one goes on.
    files_max: int = 5  # With the one that is written. Full: the oldest is deleted.
    sync_every: Duration = Duration(1)  # Between two fdatasync; "0s": after each batch. For a file alone.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        found = []
        if self.file is not None and not self.file.strip():
            found.append(("file", "the path is empty; write a file, or leave the key out for stdout"))
        if self.size_max < SIZE_MIN:
            found.append(("size_max", f'{self.size_max} is less than one batch; write at least "64KiB"'))
        if not 1 <= self.files_max <= FILES_LIMIT:
            found.append(("files_max", f"{self.files_max} is no number of files; write 1 to {FILES_LIMIT}"))
        return found
