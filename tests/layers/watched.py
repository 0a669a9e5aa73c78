"""An observer with a real log and real metrics, to be looked at."""

import json
from typing import Any

from sidecar.auth.credential import Credential
from sidecar.core.clock import Clock
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.layers.admission import Gate
from sidecar.layers.observe import Observer
from sidecar.layers.policies import Policies
from sidecar.layers.service import ServiceConfig
from sidecar.layers.shared import Shared
from sidecar.layers.stack import Parts
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Counter, Metrics
from sidecar.telemetry.redact import Redactor
from sidecar.telemetry.writer import Writer


class Watched:
    """An observer, and what it wrote and counted."""

    def __init__(self, clock: Clock) -> None:
        self._writer = Writer(Counter())  # Never started, so the lines stay where they are.
        self._metrics = Metrics()
        self._clock = clock
        self._log = Log(LogConfig(), self._writer, Redactor(), clock.wall, lambda: 0.0)
        self.observer = Observer(self._metrics.for_service("crm", "search"), self._log, clock)

    def parts(self, config: ServiceConfig, gate: Gate, credential: Credential | None = None) -> Parts:
        """Give what the layers of the service `crm` stand on, with machines of its own."""
        nothing: Any = None  # What reaches the vendor, and what reads secrets: no layer asks for it.
        shared = Shared(
            clock=self._clock, jitter=lambda: 0.5, ids=Ids(), tasks=Tasks(), metrics=self._metrics, log=self._log,
            gate=gate, secrets=nothing, resolver=nothing, contexts=nothing, replicas=1,
        )  # fmt: skip
        return Policies("crm", shared, None).parts("", config, self.observer, credential)

    def lines(self) -> list[dict[str, object]]:
        """Give the lines."""
        return [json.loads(line) for line in self._writer._lines]

    def counted(self) -> dict[tuple[str, ...], int]:
        """Give the counts of calls by their labels."""
        return {labels: counter.value for labels, counter in self._metrics.counters["sidecar_calls_total"].series()}
