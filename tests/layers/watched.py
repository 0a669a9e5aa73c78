"""An observer with a real log and real metrics, to be looked at."""

import json

from sidecar.core.clock import Clock
from sidecar.layers.admission import Gate
from sidecar.layers.entitling import NONE, Entitlement
from sidecar.layers.observe import Observer
from sidecar.layers.policies import Policies
from sidecar.layers.service import ServiceConfig
from sidecar.layers.stack import Parts
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Counter, Metrics
from sidecar.telemetry.redact import Redactor
from sidecar.telemetry.writer import Writer
from tests.kit.grounds import shared_by


class Watched:
    """An observer, and what it wrote and counted."""

    def __init__(self, clock: Clock) -> None:
        self._writer = Writer(Counter())  # Never started, so the lines stay where they are.
        self._metrics = Metrics()
        self._clock = clock
        self._log = Log(LogConfig(), self._writer, Redactor(), clock.wall, lambda: 0.0)
        self.observer = Observer(self._metrics.for_service("crm", "search"), self._log, clock)

    def parts(self, config: ServiceConfig, gate: Gate, entitlement: Entitlement = NONE) -> Parts:
        """Give what the layers of the service `crm` stand on, with machines of its own."""
        shared = shared_by(self._clock, self._metrics, self._log, gate, lambda: 0.5)
        return Policies("crm", shared, None).parts("", config, self.observer, entitlement)

    def lines(self) -> list[dict[str, object]]:
        """Give the lines."""
        return [json.loads(line) for line in self._writer._lines]

    def counted(self) -> dict[tuple[str, ...], int]:
        """Give the counts of calls by their labels."""
        return {labels: counter.value for labels, counter in self._metrics.counters["sidecar_calls_total"].series()}

    def errors(self) -> dict[tuple[str, ...], int]:
        """Give the counts of errors by service and code."""
        return {labels: counter.value for labels, counter in self._metrics.counters["sidecar_errors_total"].series()}
