"""Limiting: what holds the attempts of a service to limits: made for its routes, and for each credential of a pool."""

from sidecar.layers.machines import Machines
from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.config import RateLimitConfig
from sidecar.layers.rate_limit.ear import Ear
from sidecar.layers.rate_limit.leased import Leased
from sidecar.layers.rate_limit.leasing import Leasing
from sidecar.layers.rate_limit.limiter import BURST_SHARE, Limiter
from sidecar.layers.rate_limit.line import Line
from sidecar.layers.rate_limit.near import Near
from sidecar.layers.service import ServiceConfig
from sidecar.layers.shared import Shared
from sidecar.layers.stack import Limits
from sidecar.upstream.hints.config import HintsConfig
from sidecar.upstream.hints.interpreter import Interpreter

WAITING_MAX = 1000  # For what the vendor announced, where no rate_limit says another number. Full: refused at once.


class Limiting:
    """Makes it for one service; what was counted lives on in `machines`."""

    def __init__(self, service: str, shared: Shared, machines: Machines) -> None:
        self._service = service
        self._shared = shared
        self._machines = machines

    def limits(self, route: str, config: ServiceConfig, scope: str = "", mark: str = "") -> Limits | None:
        """Give what holds attempts to limits; without limits and hints it only reads answers for `retry`.

        `scope` is a credential of a pool, `mark` its name for all pods.
        """
        section, shared, counter = config.rate_limit or None, self._shared, self._shared.metrics.counter
        if section is None and not config.hints and not config.retry:
            return None
        hints, is_heeded = config.hints or HintsConfig(), bool(config.hints)
        interpreter = self._machines.get(Interpreter, hints, lambda: Interpreter(hints))
        announced = self._machines.get(Announced, (hints, is_heeded), lambda: self._announced(hints), scope)
        ear = self._machines.get(
            Ear,
            (hints, is_heeded),
            lambda: Ear(
                self._service,
                interpreter,
                announced,
                shared.clock,
                is_heeded=is_heeded,
                body_max=int(hints.body_max),
                tell=shared.tell,
                count_throttled=counter("sidecar_throttled_total", self._service).count,
                count_ignored=counter("sidecar_hints_ignored_total", self._service).count,
            ),
            scope,
        )
        # What was counted stays while the rate does, whatever else of the section changes: a quota is for days.
        rate = None if section is None else (section.rate, section.burst, section.shared)
        key = (rate, hints, is_heeded, shared.replicas)
        if section is None or not section.shared:
            leasing = None
        else:
            # The first route with this section names the limit, in all pods alike. The rate is no part of the name:
            # while two configs are out, the greater of two rates holds for both, and not their sum.
            name = ":".join(filter(None, (self._service, route, mark)))
            told = announced if is_heeded else None
            leasing = self._machines.get(Leasing, key, lambda: self._leasing(name, told), scope)
        limiter = self._machines.get(Limiter, key, lambda: self._limiter(section, announced, leasing), scope)
        line = self._machines.get(
            Line, (section, hints, is_heeded, shared.replicas), lambda: self._line(section, hints, limiter), scope
        )
        ear.add(line)
        if leasing is not None:
            leasing.add(line)
            line.heard = leasing.heard
        near = self._machines.get(Near, (section, hints, is_heeded), lambda: Near(hints.near), scope)
        return Limits(line, near, ear, interpreter.listened, self._count_wait)

    def _announced(self, hints: HintsConfig) -> Announced:
        return Announced(
            self._shared.clock.now(),
            hint_max=float(hints.hint_max),
            pace_below=hints.pace_below,
            settle=float(hints.settle),
            resource_segments=hints.resource_segments,
        )

    def _leasing(self, name: str, announced: Announced | None) -> Leasing:
        shared = self._shared
        count = self._count_lease
        return Leasing(name, shared.ids.take(16), shared.store, announced, shared.clock, shared.tasks, count)

    def _limiter(self, section: RateLimitConfig | None, announced: Announced, leasing: Leasing | None) -> Limiter:
        limiter, clock, replicas = Limiter(announced), self._shared.clock, self._shared.replicas
        if leasing is not None:
            assert section is not None
            shortest, *longer = section.rate
            at_once = max(1.0, shortest.count * BURST_SHARE) if section.burst is None else float(section.burst)
            windows = tuple((rate.count, rate.seconds) for rate in longer)
            leased = Leased(shortest.count, shortest.seconds, at_once, windows, replicas, clock.now(), leasing.ask)
            leasing.use(leased)
            limiter.share(leased, [str(rate) for rate in section.rate])
            return limiter
        for rate in section.rate if section is not None else ():
            burst = None if section is None or section.burst is None else float(section.burst)
            limiter.hold(str(rate), rate.count, rate.seconds, clock.now(), burst=burst, replicas=replicas)
        return limiter

    def _line(self, section: RateLimitConfig | None, hints: HintsConfig, limiter: Limiter) -> Line:
        wait_max = hints.wait_max if section is None else section.wait_max
        waiting_max = WAITING_MAX if section is None else section.waiting_max
        return Line(limiter, self._shared.clock, float(wait_max), waiting_max)

    def _count_wait(self, seconds: float) -> None:
        self._shared.metrics.histogram("sidecar_rate_limit_waits_seconds", self._service).observe(seconds)

    def _count_lease(self, result: str) -> None:
        self._shared.metrics.counter("sidecar_permit_leases_total", self._service, result).count()
