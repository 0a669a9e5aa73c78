"""Bounds: counts, sizes and lengths of time that are at least something."""

from collections.abc import Iterator

from sidecar.config.model import Config
from sidecar.config.problem import Problem
from sidecar.config.walk import leaves
from sidecar.core.units import Duration, Size
from sidecar.upstream.pool import PoolConfig

COUNT_MAX = 1_000_000_000
_MAY_BE_ZERO = (
    "sidecar.timeout_margin", "sidecar.drain_timeout", "audit.sync_every", ".wait_max", ".hints.settle", ".backoff",
)  # fmt: skip
# Keep no connection; let nobody wait; try nothing again but by the share; tell no resource by its path; take any port.
_MAY_BE_NONE = (".idle_max", ".waiting_max", ".budget_min", ".resource_segments", ".redirect_port")


def may_be_zero(path: str) -> bool:
    """Whether the length of time at this path may be none at all."""
    return path.endswith(_MAY_BE_ZERO)


def smallest(path: str) -> int:
    """Give the least that the count at this path may be."""
    return 0 if path.endswith(_MAY_BE_NONE) else 1


def bounds(config: Config) -> Iterator[Problem]:
    """Judge every number of the config by its kind."""
    for path, value in leaves(config):
        if isinstance(value, Duration) and value <= 0 and not may_be_zero(path):
            yield Problem(path, f"{value} is no time at all; write a length above zero")
        elif isinstance(value, Size) and value < 1:
            yield Problem(path, "write a size of at least 1B")
        elif isinstance(value, int) and not isinstance(value, bool | Size):
            if value < smallest(path):
                yield Problem(path, f"{value} is too small; write at least {smallest(path)}")
            elif value > COUNT_MAX:
                yield Problem(path, f"that is too much; write at most {COUNT_MAX}")
    for name, entry in config.services.items():
        pool = entry.config.pool
        # A default that is larger than a bound somebody wrote is only a bound that is never reached.
        if pool.idle_max > pool.connections_max >= 1 and pool.idle_max != PoolConfig().idle_max:
            yield Problem(
                f"services.{name}.pool.idle_max",
                f"{pool.idle_max} idle connections cannot be, with connections_max = {pool.connections_max}",
                because=(f"services.{name}.pool.connections_max",),
            )
