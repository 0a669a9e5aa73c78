"""Policies: the machines of one service, made for its routes, shown to people, watched by the metrics."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from sidecar.core.recent import Recent
from sidecar.layers.bulkhead.bulkhead import Bulkhead
from sidecar.layers.circuit_breaker.breaker import Breaker
from sidecar.layers.circuit_breaker.report import Report
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.entitling import Entitlement
from sidecar.layers.idempotency.keeper import Keeper
from sidecar.layers.idempotency.key import uuid
from sidecar.layers.limiting import Limiting
from sidecar.layers.machines import Machines
from sidecar.layers.notices import Notices
from sidecar.layers.observe import Observer
from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.leasing import Leasing
from sidecar.layers.rate_limit.line import Line
from sidecar.layers.retry.budget import Budget
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.service import ServiceConfig
from sidecar.layers.shared import Shared
from sidecar.layers.stack import Parts
from sidecar.telemetry.metrics import Counter
from sidecar.telemetry.table import Labels
from sidecar.upstream.hints.interpreter import Interpreter

ASKED = QueueConfig(when="asked")  # What holds where nothing is said, and jobs can be kept.
M = TypeVar("M")


class Policies:
    """What the policies of one service keep between calls."""

    def __init__(self, service: str, shared: Shared, previous: "Policies | None") -> None:
        self._service = service
        self._shared = shared
        self.machines: Machines = Machines(previous.machines if previous is not None else None)
        self._limiting = Limiting(service, shared, self.machines)
        self._watch_gauges()

    def parts(
        self, route: str, config: ServiceConfig, observer: Observer, entitlement: Entitlement, line: str = ""
    ) -> Parts:
        """Give what the layers of one route stand on; `line` is the one of its jobs."""
        shared = self._shared
        queue = queue_of(config, shared)
        return Parts(
            observer=observer,
            gate=shared.gate,
            entitlement=entitlement,
            recent=self.machines.get(Recent, None, Recent, scope=route),
            budget=self._budget(config),
            breaker=self._breaker(route, config),
            limits=self._limiting.limits(route, config) if entitlement.pool is None else None,
            limits_of=partial(self._limiting.limits, route, config),
            bulkhead=self._bulkhead(config),
            keeper=self._keeper(config),
            clock=shared.clock,
            tasks=shared.tasks,
            jitter=shared.jitter,
            make_key=partial(uuid, shared.ids),
            queue=queue,
            line=line,
            submit=shared.submit,
            tell=shared.tell,
            count_retry=partial(self._count, "sidecar_retries_total"),
            counter=self._counter,
        )

    def start(self) -> None:
        """Begin what does not wait for calls."""
        for _, leasing in self.machines.all(Leasing):
            leasing.start()

    def settle(self) -> None:
        """Let go of the previous generation; everything of it that goes on was asked for by now."""
        going = {id(line) for _, line in self.machines.all(Line)}
        for _, line in self.machines.before(Line):
            line.is_retired = id(line) not in going
        if any(breaker.is_forced for _, breaker in self.machines.before(Breaker)):
            self.force_circuit("open")  # An operator's word outlasts a change of the section.
        self.machines.settle()

    def is_busy(self) -> bool:
        """Whether calls wait for a permit or a slot."""
        return any(line.count for _, line in self.machines.all(Line)) or any(
            bulkhead.slots.waiting for _, bulkhead in self.machines.all(Bulkhead)
        )

    @property
    def notable(self) -> frozenset[bytes]:
        """Lower-case names of the fields in answers that tell of limits, of all routes."""
        return frozenset[bytes]().union(*(interpreter.names for _, interpreter in self.machines.all(Interpreter)))

    async def close(self) -> None:
        """Finish what is being written, and give back what the fleet shares, as the process ends."""
        for _, leasing in self.machines.all(Leasing):
            await leasing.close()
        for _, keeper in self.machines.all(Keeper):
            await keeper.close()

    def retire(self) -> None:
        """Take the gauges down."""
        self._shared.metrics.unwatch(self)

    def force_circuit(self, state: str) -> list[dict[str, Any]]:
        """Set every circuit of the service to `open` or `auto`, and show them; empty when there is none."""
        now = self._shared.clock.now()
        for _, breaker in self.machines.all(Breaker):
            if state == "open":
                breaker.force(now)
            else:
                breaker.release(now)
        return [_scoped(scope, breaker.snapshot(now)) for scope, breaker in self.machines.all(Breaker)]

    def snapshot(self) -> dict[str, Any]:
        """Show every machine, for people; where a route has one of its own, there is a list."""
        now = self._shared.clock.now()
        all_of = self.machines.all
        shown = {
            "circuit": [_scoped(scope, breaker.snapshot(now)) for scope, breaker in all_of(Breaker)],
            "rate_limit": [
                _scoped(scope, line.limiter.snapshot(now) | line.snapshot(), "of") for scope, line in all_of(Line)
            ],
            "announced": [_scoped(scope, announced.snapshot(now), "of") for scope, announced in all_of(Announced)],
            "bulkhead": [bulkhead.snapshot(now) for _, bulkhead in all_of(Bulkhead)],
            "retry": [budget.snapshot(now) for _, budget in all_of(Budget)],
            "idempotency": [keeper.snapshot() for _, keeper in all_of(Keeper)],
            "notice": [shown for _, notices in all_of(Notices) for shown in notices.snapshot(now)],
        }
        return {name: several[0] if len(several) == 1 else several for name, several in shown.items() if several}

    def _budget(self, config: ServiceConfig) -> Budget | None:
        if not config.retry and not config.hedge:
            return None
        retry = config.retry or RetryConfig()
        # By its numbers alone: a route with other waits still spends from the service's one budget.
        numbers = (retry.budget, retry.budget_min)
        return self.machines.get(Budget, numbers, lambda: Budget(*numbers, self._shared.clock.now()))

    def _breaker(self, route: str, config: ServiceConfig) -> Breaker | None:
        section, shared = config.circuit_breaker, self._shared
        if not section:
            return None
        scope = route if section.scope == "route" else ""
        count = partial(self._count, "sidecar_circuit_transitions_total")
        report = Report(self._service, scope, shared.tell, count)
        return self.machines.get(
            Breaker, section, lambda: Breaker(section, shared.clock.now(), shared.jitter, report), scope
        )

    def _bulkhead(self, config: ServiceConfig) -> Bulkhead | None:
        section = config.bulkhead
        if not section:
            return None
        return self.machines.get(Bulkhead, section, lambda: Bulkhead(section, self._shared.clock.now()))

    def _keeper(self, config: ServiceConfig) -> Keeper | None:
        if not config.idempotency or config.idempotency.replay is None:
            return None
        shared = self._shared
        count = partial(self._count, "sidecar_idempotency_total")
        # One for the service, whatever the sections say: a call that began before a reload is under way after it.
        return self.machines.get(
            Keeper,
            None,
            lambda: Keeper(self._service, shared.store, shared.clock, shared.tell, count, shared.log.redactor.holds),
        )

    def _counter(self, metric: str, *words: str) -> Counter:
        return self._shared.metrics.counter(metric, self._service, *words)

    def _count(self, metric: str, word: str) -> None:
        self._counter(metric, word).count()

    def _watch_gauges(self) -> None:
        # Read in the scraping thread, so nothing here changes a machine.
        now = self._shared.clock.now
        self._watch("sidecar_circuit_state", Breaker, max, lambda breaker: breaker.level)
        self._watch("sidecar_retry_budget_left", Budget, min, lambda budget: budget.left(now()))
        self._watch("sidecar_bulkhead_in_use", Bulkhead, sum, lambda bulkhead: bulkhead.slots.taken)
        self._watch("sidecar_bulkhead_slots", Bulkhead, sum, lambda bulkhead: bulkhead.slots.capacity)
        self._watch("sidecar_bulkhead_waiting", Bulkhead, sum, lambda bulkhead: bulkhead.slots.waiting)

        watch_series = self._shared.metrics.watch_series
        watch_series("sidecar_rate_limit_used_ratio", self._ratios, self)
        watch_series("sidecar_deprecation_at", lambda: self._notices(Notices.deprecations), self)
        watch_series("sidecar_deprecation_sunset_at", lambda: self._notices(Notices.sunsets), self)

    def _notices(self, read: Callable[[Notices, float], list[tuple[str, float]]]) -> list[tuple[Labels, float]]:
        now = self._shared.clock.now()
        several = tuple(self.machines.all(Notices))
        return [((self._service, route), at) for _, notices in several for route, at in read(notices, now)]

    def _ratios(self) -> list[tuple[tuple[str, ...], float]]:
        now = self._shared.clock.now()
        lines = tuple(self.machines.all(Line))
        return [((self._service, window), share) for _, line in lines for window, share in line.limiter.ratios(now)]

    def _watch(
        self, name: str, kind: type[M], merge: Callable[[Iterable[float]], float], read: Callable[[M], float]
    ) -> None:
        """Show one value for all machines of a kind; no series where there is none."""

        def merged() -> list[tuple[tuple[str, ...], float]]:
            values = [read(machine) for _, machine in tuple(self.machines.all(kind))]
            return [((self._service,), merge(values))] if values else []

        self._shared.metrics.watch_series(name, merged, self)


def _scoped(scope: str, shown: dict[str, Any], word: str = "route") -> dict[str, Any]:
    return {word: scope, **shown} if scope else shown


def queue_of(config: ServiceConfig, shared: Shared) -> QueueConfig | None:
    """Give how calls become jobs; None: they never do."""
    if shared.submit is None or config.queue is False:
        return None
    return config.queue or ASKED
