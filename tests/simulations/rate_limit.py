"""A vendor that enforces its limit and tells of it only in headers, offered half as much again, on a simulated clock.

    python -m tests.simulations.rate_limit

prints what came of it. Everything is the real thing but time and the vendor: layer, line, machines, and the
interpreter that reads the headers. Refused by the vendor is what reached it and got 429; used is what it accepted, of
what its limit allowed in the time: a little over the whole where a minute touches 61 windows, or begins with a full
bucket. Refused under 0.5 % and used at 97 % is the goal.
"""

import asyncio
import random
import sys
from collections.abc import Iterator

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call, Reply
from sidecar.core.errors import RateLimited
from sidecar.core.outcome import Outcome
from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.ear import Ear
from sidecar.layers.rate_limit.layer import RateLimitLayer
from sidecar.layers.rate_limit.limiter import Limiter
from sidecar.layers.rate_limit.line import Line
from sidecar.layers.rate_limit.near import Near
from sidecar.upstream.hints.config import Dialect, HintsConfig
from sidecar.upstream.hints.interpreter import Interpreter
from tests.simulations.vendors import BEYOND, GOAL, EpochSeconds, Vendor
from tests.simulations.world import World, WorldClock, run, wait_until

LATENCY = (0.020, 0.080)  # Seconds for both ways, each of which takes half at the least and at the most.
REFUSED_MAX = 0.005
USED_MIN = 0.97
OPENAI = Dialect(
    dims=("requests",), kind="bucket", remaining="x-ratelimit-remaining-{dim}", limit="x-ratelimit-limit-{dim}",
    reset="x-ratelimit-reset-{dim}",
)  # fmt: skip
HINTS = HintsConfig(dialects=(OPENAI,))


class Figures:
    """What came of a run."""

    def __init__(self, vendor: Vendor, seconds: float) -> None:
        self.name = vendor.name
        self.offered = 0
        self.rejected = 0  # By the sidecar.
        self.waited_s = 0.0
        self._vendor = vendor
        self._seconds = seconds

    @property
    def refused(self) -> float:
        """Share of what reached the vendor that it refused."""
        return self._vendor.refused / max(1, self._vendor.refused + self._vendor.accepted)

    @property
    def used(self) -> float:
        """Share of what the vendor allowed that was used."""
        return self._vendor.accepted / (self._vendor.limit * self._seconds / self._vendor.window)

    def __str__(self) -> str:
        vendor = self._vendor
        mean_ms = 1000 * self.waited_s / max(1, vendor.accepted + vendor.refused)
        return (
            f"{self.name:48} {self.offered:>7} {vendor.accepted + vendor.refused:>7} {vendor.refused:>5}"
            f" {self.refused:>8.2%} {self.used:>7.1%} {mean_ms:>8.0f}"
        )


HEAD = f"{'vendor':48} {'offered':>7} {'reached':>7} {'429':>5} {'refused':>8} {'used':>7} {'wait ms':>8}"


class Pod:
    """One sidecar in front of the vendor: the layer with all that is behind it."""

    def __init__(self, world: World, vendor: Vendor, chance: random.Random, hints: HintsConfig = HINTS) -> None:
        self.clock = WorldClock(world)
        self.events: list[tuple[str, dict[str, object]]] = []
        self._world = world
        self._vendor = vendor
        self._chance = chance
        self._interpreter = Interpreter(hints)
        now = self.clock.now()
        self.announced = Announced(
            now, hint_max=float(hints.hint_max), pace_below=hints.pace_below, settle=float(hints.settle),
            resource_segments=hints.resource_segments,
        )  # fmt: skip
        self.line = Line(Limiter(self.announced), self.clock, 1.0, 1000)
        ear = Ear(
            "vendor", self._interpreter, self.announced, self.clock, body_max=1024,
            tell=self._tell, count_throttled=_nothing, count_ignored=_nothing,
        )  # fmt: skip
        ear.add(self.line)
        self.handle = RateLimitLayer(
            self.line, Near(0.8), ear, frozenset({403, 429, 503}), 1.0, self.clock, _forget, self._send
        )

    async def call(self, figures: Figures) -> None:
        """Make one call as an app would."""
        call = Call("vendor", "GET", b"/x", [], NO_BODY)
        call.deadline_at = self.clock.now() + 20
        figures.offered += 1
        outcome = Outcome.SUCCESS
        try:
            await self.handle(call)
        except RateLimited:
            figures.rejected += 1
            outcome = Outcome.REJECTED
        figures.waited_s += call.waited_rate_s
        call.end(outcome)

    async def _send(self, call: Call) -> Reply:  # noqa: ARG002
        least, most = LATENCY
        await self.clock.sleep(self._chance.uniform(least / 2, most / 2))
        status, headers = self._vendor.arrive(self.clock.wall())
        await self.clock.sleep(self._chance.uniform(least / 2, most / 2))
        reply = Reply(status, b"", headers, Body.of(b""))
        names = self._interpreter.names
        reply.notable = [(name.lower(), value) for name, value in headers if name.lower() in names] or None
        return reply

    def _tell(self, level: str, msg: str, **fields: object) -> None:  # noqa: ARG002
        self.events.append((msg, fields))


def _nothing() -> None:
    pass


def _forget(_: float) -> None:
    pass


def arrivals(rate: float, chance: random.Random | None) -> Iterator[float]:
    """Give the lengths between calls: even ones, or by chance (Poisson)."""
    while True:
        yield 1 / rate if chance is None else chance.expovariate(rate)


def simulate(
    vendor: Vendor, *, rate: float = 150.0, seconds: float = 60.0, seed: int = 1, is_even: bool = False, pods: int = 1
) -> tuple[Figures, list[Pod]]:
    """Offer `rate` calls per second, over all pods, for so long."""
    figures = Figures(vendor, seconds)
    chance = random.Random(seed)
    made: list[Pod] = []

    async def story(world: World) -> None:
        made.extend(Pod(world, vendor, chance) for _ in range(pods))
        world.moved += chance.random()  # The vendor's windows begin anywhere.
        end_at = world.moved + seconds
        vendor.ends_counting_at = made[0].clock.wall() + seconds
        tasks: set[asyncio.Task[None]] = set()
        for gap in arrivals(rate, None if is_even else chance):
            await wait_until(world, world.moved + gap)
            if world.moved >= end_at:
                break
            pod = made[chance.randrange(pods)]
            task = world.create_task(pod.call(figures))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in list(tasks):
            await task

    run(story)
    return figures, made


def main() -> None:
    """Print the tables; the arguments are seeds."""
    seeds = [int(seed) for seed in sys.argv[1:]] or [1]
    for is_even in (False, True):
        print(f"\n150/s {'evenly' if is_even else 'by chance (Poisson)'} for 60 s against 100/s\n{HEAD}")
        for kind in [*GOAL, *BEYOND]:
            for seed in seeds:
                print(simulate(kind(), seed=seed, is_even=is_even)[0])
    print(f"\n150/s by chance, over several pods that know nothing of each other\n{HEAD}")
    for pods in (1, 2, 5, 20, 50):
        figures, _ = simulate(EpochSeconds(), pods=pods)
        figures.name = f"{pods} pods"
        print(figures)


if __name__ == "__main__":
    main()
