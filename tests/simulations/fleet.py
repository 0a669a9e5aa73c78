"""A fleet: many sidecars with all their layers, their apps, and one vendor that is down for a while, in a world's time.

Everything is the real thing but time, chance (which is seeded) and the way to the vendor.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.errors import ConnectFailed, SidecarError
from sidecar.core.outcome import Outcome
from sidecar.layers.admission import Gate
from sidecar.layers.entitling import NONE
from sidecar.layers.observe import Observer
from sidecar.layers.policies import Policies
from sidecar.layers.service import ServiceConfig
from sidecar.layers.stack import build
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Counter as Count
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.redact import Redactor
from sidecar.telemetry.writer import Writer
from tests.kit.grounds import shared_by
from tests.simulations.world import World, WorldClock, run, wait_until

TICK = 0.1  # Seconds in which arrivals are counted together.
ANSWER_AFTER = 0.05  # Seconds, good or bad.

Down = Callable[[float], Headers | None]  # What a 503 says at that many seconds; None: connections are refused.


class FleetVendor:
    """Answers 200, or is down from one instant to another, in seconds since the start; counts what arrives."""

    def __init__(self, clock: WorldClock, down: Down, down_from: float, down_until: float) -> None:
        self.arrived: Counter[int] = Counter()  # By tick.
        self._clock = clock
        self._down = down
        self._down_from = down_from
        self._down_until = down_until
        self._started_at = clock.now()

    @property
    def second(self) -> float:
        """Seconds since the start."""
        return self._clock.now() - self._started_at

    async def __call__(self, call: Call) -> Reply:
        """Take one attempt."""
        call.attempts.append(AttemptRecord())
        at = self.second
        self.arrived[int(at / TICK)] += 1
        is_down = self._down_from <= at < self._down_until
        fields = self._down(at) if is_down else []
        if fields is None:
            raise ConnectFailed("refused")
        await self._clock.sleep(ANSWER_AFTER)
        reply = Reply(503 if is_down else 200, b"", fields, Body.of(b""))
        reply.notable = [(name.lower(), value) for name, value in fields] or None
        return reply


class Sidecar:
    """One of them, with an app that calls by chance."""

    def __init__(self, clock: WorldClock, config: ServiceConfig, vendor: FleetVendor, chance: random.Random) -> None:
        self.statuses: Counter[int] = Counter()
        self._clock = clock
        metrics = Metrics()
        log = Log(LogConfig(level="error"), Writer(Count()), Redactor(), clock.wall, chance.random)
        shared = shared_by(clock, metrics, log, Gate(2000), chance.random)
        observer = Observer(metrics.for_service("crm", ""), log, clock)
        self.policies = Policies("crm", shared, None)
        self._handle = build(config, self.policies.parts("", config, observer, NONE), vendor)

    async def call(self) -> None:
        """Make one call as the exchange does."""
        call = Call("crm", "GET", b"/x", [], NO_BODY)
        call.started_at = self._clock.now()
        outcome, status = Outcome.FAILURE, 0
        try:
            status = (await self._handle(call)).status
            outcome = Outcome.SUCCESS if status < 500 else Outcome.FAILURE
        except SidecarError as error:
            outcome, status = error.outcome, error.status
        finally:
            self.statuses[status] += 1
            call.status = status
            call.end(outcome)


class Fleet:
    """What came of a run: arrivals, and what the apps offered, by tick."""

    def __init__(self) -> None:
        self.offered: Counter[int] = Counter()
        self.arrived: Counter[int] = Counter()
        self.statuses: Counter[int] = Counter()

    def most(self, counts: Counter[int], begin: float, end: float) -> int:
        """Give the most in one tick between two seconds."""
        return max(counts[tick] for tick in range(round(begin / TICK), round(end / TICK)))

    def total(self, counts: Counter[int], begin: float, end: float) -> int:
        """Give all between two seconds."""
        return sum(counts[tick] for tick in range(round(begin / TICK), round(end / TICK)))


def simulate(
    config: ServiceConfig,
    down: Down,
    *,
    sidecars: int = 50,
    rate: float = 4.0,
    down_from: float = 10.0,
    down_until: float = 70.0,
    seconds: float = 130.0,
    seed: int = 1,
) -> Fleet:
    """Have each of the sidecars' apps make `rate` calls per second, by chance, for so many seconds."""
    fleet = Fleet()

    async def story(world: World) -> None:
        clock = WorldClock(world)
        vendor = FleetVendor(clock, down, down_from, down_until)
        made = [Sidecar(clock, config, vendor, random.Random(seed * 1000 + number)) for number in range(sidecars)]
        chance = random.Random(seed)
        tasks: set[asyncio.Task[None]] = set()
        started_at = clock.now()
        while True:
            await wait_until(world, clock.now() + chance.expovariate(rate * sidecars))
            if clock.now() - started_at >= seconds:
                break
            fleet.offered[int(vendor.second / TICK)] += 1
            task = world.create_task(chance.choice(made).call())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in list(tasks):
            await task
        fleet.arrived = vendor.arrived
        for one in made:
            fleet.statuses += one.statuses

    run(story)
    return fleet
