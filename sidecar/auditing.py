"""Auditing: the process's audit log, opened with the config that asks for it, and closed at the end."""

import asyncio
import os

from sidecar import __version__
from sidecar.config.problem import ConfigError, Problem
from sidecar.core.clock import Clock
from sidecar.telemetry.audit.audit import Audit
from sidecar.telemetry.audit.config import AuditConfig
from sidecar.telemetry.audit.record import Who, who_from
from sidecar.telemetry.audit.writer import AuditWriter
from sidecar.telemetry.log import Log
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.writer import Writer


class Auditing:
    """Opens and closes what `audit` writes to; `lines` is the writer of stdout, which has to be closed later."""

    def __init__(self, metrics: Metrics, clock: Clock, log: Log, lines: Writer) -> None:
        self._writer = AuditWriter(
            metrics.counter("sidecar_audit_records_lost_total"), clock.wall, clock.now, log.event
        )
        self.audit = Audit(self._writer, who_we_are(), __version__, clock.wall, lines, log.event, log.redactor.text)
        self.tell = self.audit.beside(log.event)  # Into the log, and into the audit what belongs there.
        self._log = log

    async def use(self, config: AuditConfig | None) -> None:
        """Open what a new generation asks for. Raises ConfigError, with nothing changed."""
        try:
            await asyncio.to_thread(self.audit.use, config)
        except OSError as error:
            raise ConfigError([Problem("audit.file", _sentence(config, error))]) from None

    async def back_to(self, config: AuditConfig | None) -> None:
        """Go back to what was in use: the generation that asked for another was refused for some other reason."""
        try:
            await asyncio.to_thread(self.audit.use, config)
        except OSError as error:  # It was open a moment ago; the audit goes on where it is now.
            self._log.event("error", "audit_unwritable", error=_sentence(config, error))

    async def close(self, seconds: float) -> None:
        """Write what waits, and the record of the stop, for up to `seconds`."""
        await asyncio.to_thread(self._writer.close, seconds)


def who_we_are() -> Who:
    """Give the pod's names, from what the downward API put into the environment."""
    return who_from(os.environ)  # noqa: TID251 - names from the pod's manifest, none of them a secret


def _sentence(config: AuditConfig | None, error: OSError) -> str:
    file = "stdout" if config is None or config.file is None else config.file
    return f"cannot write {file}: {error.strerror or error}"
