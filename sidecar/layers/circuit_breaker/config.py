"""What the operator sets for the circuit breaker."""

from typing import Literal

from sidecar.core.section import Section
from sidecar.core.statuses import Statuses
from sidecar.core.units import Duration


class CircuitBreakerConfig(Section, kw_only=True):
    """`circuit_breaker`: when the vendor counts as down, and how it is asked again."""

    failure_rate: float = 0.2  # Opens at this share of failed attempts in the window ...
    calls_min: int = 10  # ... once so many were judged in it.
    window: Duration = Duration(30)
    open_for: Duration = Duration(30)  # Doubles when the probes fail; up to a fifth more, by chance.
    open_max: Duration = Duration(300)
    successes: int = 3  # Probes in a row that close it again.
    probes_max: int = 3  # At once. More calls: refused, until one of these is over.
    slow_after: Duration | None = None  # An attempt whose answer takes longer is slow.
    slow_rate: float | None = None  # Opens at this share of slow attempts, too.
    statuses: Statuses = Statuses(range(500, 600))  # Answers that are failures.
    scope: Literal["service", "route"] = "service"  # One circuit for all routes, or each its own.
    mode: Literal["on", "shadow"] = "on"  # Shadow counts, logs and shows what it would do, and refuses nothing.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        found = [
            (field, f"{rate:g} is not a share; write a number above 0, up to 1 (all)")
            for field, rate in (("failure_rate", self.failure_rate), ("slow_rate", self.slow_rate))
            if rate is not None and not 0 < rate <= 1
        ]
        if (self.slow_after is None) != (self.slow_rate is None):
            given, missing = ("slow_after", "slow_rate") if self.slow_rate is None else ("slow_rate", "slow_after")
            found.append((given, f"{given} means nothing without {missing}; write both or neither"))
        if self.open_max < self.open_for:
            found.append(("open_max", f"{self.open_max} is shorter than open_for = {self.open_for}; write more"))
        return found
