"""Observe: outermost; counts, logs and audits every call when it ends, also what the sidecar refuses by itself."""

from collections.abc import Awaitable

from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.outcome import Outcome
from sidecar.telemetry.audit.audit import Audit
from sidecar.telemetry.log import Log
from sidecar.telemetry.metrics import ServiceMetrics


class Observer:
    """Watches the calls of one route; its metrics are found at load."""

    __slots__ = ("_audit", "_clock", "_log", "_metrics", "in_flight")

    def __init__(self, metrics: ServiceMetrics, log: Log, clock: Clock, audit: Audit | None = None) -> None:
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._audit = audit  # None: there is none.
        self.in_flight = 0

    def watch(self, call: Call) -> None:
        """Count, log and audit `call` when it ends: as its first ending, so that it is run last."""
        call.is_observed = True
        self.in_flight += 1

        def ended(outcome: Outcome) -> None:
            self.in_flight -= 1
            seconds = self._clock.now() - call.started_at
            self._metrics.count_call(call.method, call.status, outcome, call.source, seconds)
            if call.error_code:
                self._metrics.count_error(call.error_code)
            self._log.call(call, call.status, call.source, seconds, call.body.received_bytes, call.response_bytes)
            if self._audit is not None:
                self._audit.call(call, call.credential, call.credential_version, call.peer)

        call.on_end(ended)


def observe(observer: Observer) -> Layer:
    """Watch every call that passes."""

    def around(inner: Handler) -> Handler:
        def observed(call: Call) -> Awaitable[Reply]:
            observer.watch(call)
            return inner(call)

        return observed

    return around
