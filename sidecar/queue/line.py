"""Line: a line of jobs at work in this pod, and how it is counted and shown."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sidecar.auth.secrets.held import Held
from sidecar.core.call import Handler
from sidecar.layers.defer.config import QueueConfig
from sidecar.queue.job import ITEMS, STATES, service_of
from sidecar.store.backlog import Tally
from sidecar.working.clearing import age, used_ratio
from sidecar.working.worker import Worker


class LineSpec(NamedTuple):
    """What works a line off in this generation."""

    config: QueueConfig
    statuses: frozenset[int]  # Of answers after which the vendor is tried again.
    handle: Handler  # The service.
    is_busy: Callable[[], bool]  # Live calls of the service wait.
    secret: Held | None  # With which callbacks are signed.


class Line:
    """A line at work."""

    def __init__(self, name: str, spec: LineSpec) -> None:
        self.name = name
        self.spec = spec
        self.workers: list[Worker] = []  # Of the jobs; behind it that of their callbacks, where there are any.
        self.tally = Tally({}, 0, None)
        self.is_quiet = False  # It had nothing to do when it was counted, and nothing came here since.

    @property
    def is_of_items(self) -> bool:
        """Whether its jobs are items of batches."""
        return self.name.endswith(ITEMS)

    def age(self, wall: float) -> float:
        """Give the seconds since the oldest job that is not done was accepted."""
        return age(self.tally, wall)

    def shown(self, wall: float) -> dict[str, Any]:
        """Show it, for people; nothing of one that nobody wrote down and that holds nothing."""
        found = {state: count for state, count in self.tally.states.items() if count}
        if not found and (self.spec.config.when == "asked" or self.is_of_items):
            return {}
        route = self.name.partition(".")[2]
        oldest = {"oldest_seconds": round(self.age(wall), 1)} if self.tally.oldest_at else {}
        return ({"route": route} if route else {}) | {"running_here": self.workers[0].running, **found, **oldest}


def counts(lines: Mapping[str, Line]) -> list[tuple[tuple[str, ...], float]]:
    """Give the jobs of each service in each state, for the metrics."""
    found: dict[tuple[str, ...], float] = {}
    for line in list(lines.values()):
        for state in STATES:
            key = (service_of(line.name), state)
            found[key] = found.get(key, 0.0) + line.tally.states.get(state, 0)
    return list(found.items())


def ages(lines: Mapping[str, Line], wall: float) -> list[tuple[tuple[str, ...], float]]:
    """Give the age of each service's oldest job, for the metrics."""
    found: dict[tuple[str, ...], float] = {}
    for line in list(lines.values()):
        key = (service_of(line.name),)
        found[key] = max(found.get(key, 0.0), line.age(wall))
    return list(found.items())


def ratios(lines: Mapping[str, Line]) -> list[tuple[tuple[str, ...], float]]:
    """Give the fullest line of each service, as a share of its bounds, for the metrics."""
    found: dict[tuple[str, ...], float] = {}
    for line in list(lines.values()):
        key, config = (service_of(line.name),), line.spec.config
        found[key] = max(found.get(key, 0.0), used_ratio(line.tally, config.length_max, int(config.bytes_max)))
    return list(found.items())
