"""An injector with configs of the test's, asked as the API server asks."""

import json
from typing import Any

from sidecar.kubernetes.decision import Configs
from sidecar.kubernetes.fragment import Fragment
from sidecar.kubernetes.injector import Injector
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.redact import Redactor
from tests.kit.admission import OWN, Json, answered, body, fragment


class Lines:
    """A writer that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[Json] = []

    def add(self, line: bytes) -> None:
        """Keep a line."""
        self.lines.append(json.loads(line))


class Asked:
    """An injector, its lines and its counts; without configs of the test's it has `shop`, native."""

    def __init__(self, *broken: str, **configs: Fragment) -> None:
        self._writer = Lines()
        writer: Any = self._writer
        self.metrics = Metrics()
        log = Log(LogConfig(level="debug"), writer, Redactor(), lambda: 0.0, lambda: 0.0)
        self.injector = Injector(OWN, self.metrics, log)
        self.injector.configs = Configs(configs or {"shop": fragment()}, frozenset(broken))

    def ask(self, review: Json) -> Json:
        """Give the response."""
        return answered(self.injector.review(body(review)), review)

    @property
    def lines(self) -> list[Json]:
        """What it told."""
        return self._writer.lines

    def count(self, result: str, config: str = "") -> int:
        """How often something became of a pod."""
        return self.metrics.counter("sidecar_injections_total", config, result).value
