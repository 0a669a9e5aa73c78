"""Once: a record by a command of its own, such as `sidecar login`, where no sidecar runs that could write it."""

from collections.abc import Callable

from sidecar.telemetry.audit.config import AuditConfig
from sidecar.telemetry.audit.file import AuditFile
from sidecar.telemetry.audit.paths import FileTaken
from sidecar.telemetry.audit.record import Entry, Kind, Who, bounded


def append_once(
    config: AuditConfig, who: Who, version: str, wall: Callable[[], float], kind: Kind, /, **fields: object
) -> bool:
    """Append a record to the audit log's file, between a start and a stop. Blocks. Raises OSError.

    Gives False where a running sidecar has the file, which is to be told by its admin API then, and where the audit
    log is no file.
    """
    if config.file is None:
        return False
    log = AuditFile(config, who, version, wall, lambda *_, **__: None)
    try:
        log.open()
    except FileTaken:
        return False
    try:
        log.write([Entry(wall(), kind, bounded(fields, str))], 0.0)
    finally:
        log.close()
    return True
