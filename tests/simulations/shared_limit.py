"""A fleet that shares one limit through a store, in a world's time: pods join and leave, and the store goes away.

    python -m tests.simulations.shared_limit

prints what came of it. Everything is the real thing but time, the vendor, who only counts, and the store: it is the
ledger in memory, which answers late, and may be away. Over is by how much the most calls in any window were more than
rate x its length + burst, which is the bound; used is what went of what the rate allows.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from sidecar.core.errors import RateLimited
from sidecar.core.tasks import Tasks
from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.leased import Leased
from sidecar.layers.rate_limit.leasing import Leasing
from sidecar.layers.rate_limit.limiter import Limiter
from sidecar.layers.rate_limit.line import Line
from sidecar.store.base import Block, StoreDown, Wanted
from sidecar.store.local_permits import LocalPermits
from tests.simulations.world import World, WorldClock, run, wait_until

ANSWERS_AFTER = (0.0005, 0.004)  # Seconds until the store answers, half of it before it decides.
LOST_AFTER = 2.0  # Seconds that a question waits for a store that is away without a word.


class FarStore:
    """The ledger, far away."""

    is_shared = True

    def __init__(self, clock: WorldClock, chance: random.Random) -> None:
        self.is_up = True
        self.is_mute = False  # Away without a word: nobody hears that it is.
        self.asked = 0
        self.permits: Any = self
        self._clock = clock
        self._chance = chance
        self._ledgers = LocalPermits(clock)

    async def lease(self, limit: str, wanted: Wanted) -> Block:
        """Ask the ledger."""
        await self._pass_on()
        block = await self._ledgers.lease(limit, wanted)
        await self._pass_on()
        return block

    async def close(self, limit: str, part: str, seconds: float) -> None:
        """Tell the ledger."""
        await self._pass_on()
        await self._ledgers.close(limit, part, seconds)

    def forget(self) -> None:
        """Lose everything, as a server without a disk does that is killed."""
        self._ledgers = LocalPermits(self._clock)

    async def _pass_on(self) -> None:
        if not self.is_up:
            raise StoreDown("away")
        self.asked += 1
        if self.is_mute:
            await self._clock.sleep(LOST_AFTER)
            raise StoreDown("it did not answer in time")
        await self._clock.sleep(self._chance.uniform(*ANSWERS_AFTER) / 2)


class Reached:
    """How one pod sees the store: it may be cut off, and finds back by itself, later than others perhaps."""

    is_shared = True

    def __init__(self, store: FarStore) -> None:
        self.store = store
        self.is_cut_off = False
        self.permits: Any = self

    @property
    def is_up(self) -> bool:
        """Whether it is reached."""
        return self.store.is_up and not self.is_cut_off

    async def lease(self, limit: str, wanted: Wanted) -> Block:
        """Ask."""
        if self.is_cut_off:
            raise StoreDown("away")
        return await self.store.lease(limit, wanted)

    async def close(self, limit: str, part: str, seconds: float) -> None:
        """Tell."""
        if self.is_cut_off:
            raise StoreDown("away")
        await self.store.close(limit, part, seconds)


class Limit:
    """What is shared."""

    def __init__(
        self, rate: float = 100.0, burst: float = 10.0, replicas: int = 10,
        windows: tuple[tuple[float, float], ...] = (), wait_max: float = 1.0,
    ) -> None:  # fmt: skip
        self.rate = rate
        self.burst = burst
        self.replicas = replicas
        self.windows = windows
        self.wait_max = wait_max


class SharingPod:
    """One sidecar's part in it."""

    def __init__(self, fleet: "SharingFleet", name: str) -> None:
        limit, clock = fleet.limit, fleet.clock
        self._fleet = fleet
        self._tasks = Tasks()
        self.store = Reached(fleet.store)
        self.announced = Announced(clock.now(), hint_max=900, pace_below=0.2, settle=0.02, resource_segments=1)
        store: Any = self.store
        self.leasing = Leasing("vendor", name, store, self.announced, clock, self._tasks, lambda _: None)
        self.leased = Leased(limit.rate, 1.0, limit.burst, limit.windows, limit.replicas, clock.now(), self.leasing.ask)
        self.leasing.use(self.leased)
        self.limiter = Limiter(self.announced)
        self.limiter.share(self.leased, ["own", *(f"{count:g}" for count, _ in limit.windows)])
        self.line = Line(self.limiter, clock, limit.wait_max, 1000)
        self.leasing.add(self.line)
        self.leasing.start()
        self.served = 0
        self.rejected = 0
        self.is_gone = False
        self.calls: set[asyncio.Task[None]] = set()

    async def call(self, cost: float = 1.0) -> None:
        """Make one call."""
        clock = self._fleet.clock
        now = clock.now()
        if self.line.count or not self.limiter.may_take(now, cost, ""):
            try:
                waiter = await self.line.enter(cost, "", now + 20)
            except RateLimited:
                self.rejected += 1
                return
            self._fleet.waited_s += waiter.sent_at - now
        self._fleet.at.extend([clock.now()] * int(cost))
        self.served += 1
        self.announced.done(self.announced.sequence, now, cost, "", now)

    async def leave(self) -> None:
        """Stop in order: what is under way ends first."""
        self.is_gone = True
        for call in list(self.calls):
            await call
        await self.leasing.close()
        await self._tasks.stop()
        self.line.stop()

    async def die(self) -> None:
        """Be killed."""
        self.is_gone = True
        for call in self.calls:
            call.cancel()
        self.leasing._is_closed = True
        self.leasing._alarm.stop()
        await self._tasks.stop()
        self.line.stop()


class SharingFleet:
    """The pods, their store, and what the vendor saw."""

    def __init__(self, world: World, limit: Limit, seed: int) -> None:
        self.limit = limit
        self.world = world
        self.clock = WorldClock(world)
        self.chance = random.Random(seed)
        self.store = FarStore(self.clock, self.chance)
        self.pods: list[SharingPod] = []
        self.at: list[float] = []  # When each permit was spent.
        self.waited_s = 0.0
        self.offered = 0
        self.began_at = self.clock.now()

    @property
    def second(self) -> float:
        """Seconds since the start."""
        return self.clock.now() - self.began_at

    def join(self) -> SharingPod:
        """Have one more."""
        pod = SharingPod(self, f"pod{len(self.pods)}")
        self.pods.append(pod)
        return pod

    @property
    def here(self) -> list[SharingPod]:
        """Those that have not left."""
        return [pod for pod in self.pods if not pod.is_gone]

    def offer(self, pod: SharingPod, cost: float = 1.0) -> None:
        """Have an app call."""
        self.offered += 1
        task = self.world.create_task(pod.call(cost))
        pod.calls.add(task)
        task.add_done_callback(pod.calls.discard)

    async def load(self, rate: float, until: float, share: Callable[[int], float] = lambda _: 1.0) -> None:
        """Offer so many calls a second by chance until that second; `share` weighs the pods by their number."""
        while True:
            await wait_until(self.world, self.clock.now() + self.chance.expovariate(rate))
            if self.second >= until:
                return
            here = self.here
            weights = [share(self.pods.index(pod)) for pod in here]
            self.offer(self.chance.choices(here, weights)[0])

    async def end(self) -> None:
        """Let what is under way end."""
        for pod in self.here:
            await pod.leave()

    @property
    def over(self) -> float:
        """By how much the worst window was over the bound; below 0 when none was."""
        return worst(self.at, self.limit.rate) - self.limit.burst

    def used(self, begin: float, end: float) -> float:
        """Give the share of the rate that was used between two seconds."""
        count = sum(begin <= at - self.began_at < end for at in self.at)
        return count / (end - begin) / self.limit.rate


def worst(at: list[float], rate: float) -> float:
    """Give the most by which any window had more than `rate` x its length."""
    most, least = 0.0, float("inf")
    for number, instant in enumerate(sorted(at)):
        height = number - rate * instant
        least = min(least, height)
        most = max(most, height + 1 - least)
    return most


def most_in(at: list[float], length: float) -> int:
    """Give the most calls in any window of a length."""
    ordered = sorted(at)
    most = first = 0
    for number, instant in enumerate(ordered):
        while ordered[first] <= instant - length:
            first += 1
        most = max(most, number - first + 1)
    return most


def simulate(story: Callable[[SharingFleet], Any], limit: Limit | None = None, seed: int = 1) -> SharingFleet:
    """Run a story of a fleet; gives what came of it."""
    made: list[SharingFleet] = []

    async def played(world: World) -> None:
        fleet = SharingFleet(world, limit or Limit(), seed)
        made.append(fleet)
        await story(fleet)
        await fleet.end()

    run(played)
    return made[0]


async def at_seconds(fleet: SharingFleet, *steps: tuple[float, Callable[[], Any]]) -> None:
    """Do each at its second."""
    for second, do in steps:
        await wait_until(fleet.world, fleet.began_at + second)
        done = do()
        if asyncio.iscoroutine(done):
            await done


async def minute(fleet: SharingFleet, *, is_store_lost: bool = False, rate: float = 150.0) -> None:
    """Ten pods for a minute; three join, three leave, one of them killed. In the middle the store may be away."""
    for _ in range(10):
        fleet.join()

    def store(is_up: bool) -> Callable[[], None]:
        def turn() -> None:
            fleet.store.is_up = is_up
            if is_up:
                fleet.store.forget()

        return turn

    outage = [(25.0, store(False)), (35.0, store(True))] if is_store_lost else []
    steps = [
        (10.0, fleet.join), (15.0, fleet.pods[0].leave), *outage, (40.0, fleet.join), (42.0, fleet.pods[1].die),
        (48.0, fleet.join), (50.0, fleet.pods[2].leave),
    ]  # fmt: skip
    turning = fleet.world.create_task(at_seconds(fleet, *steps))
    await fleet.load(rate, 60.0)
    await turning


HEAD = f"{'':34} {'offered':>7} {'went':>6} {'over':>7} {'used':>7} {'calls a question':>17} {'wait ms':>8}"


def row(name: str, fleet: SharingFleet, seconds: float = 60.0) -> str:
    """Tell it in a line."""
    return (
        f"{name:34} {fleet.offered:>7} {len(fleet.at):>6} {fleet.over:>7.2f} {fleet.used(0, seconds):>7.1%}"
        f" {len(fleet.at) / max(1, fleet.store.asked / 2):>17.1f} {1000 * fleet.waited_s / max(1, len(fleet.at)):>8.0f}"
    )


def main() -> None:
    """Print the table."""

    async def lost(fleet: SharingFleet) -> None:
        await minute(fleet, is_store_lost=True)

    async def calm(fleet: SharingFleet) -> None:
        await minute(fleet, rate=60.0)

    async def greedy(fleet: SharingFleet) -> None:
        for _ in range(10):
            fleet.join()
        await fleet.load(200.0, 60.0, lambda number: 20.0 if number == 0 else 1.0)

    print(f"ten pods share 100/s with a burst of 10\n{HEAD}")
    for seed in (1, 2, 3):
        print(row("150/s for a minute", simulate(minute, seed=seed)))
        print(row("the store away from 25 to 35 s", simulate(lost, seed=seed)))
        print(row("60/s", simulate(calm, seed=seed)))
        print(row("200/s, two thirds from one pod", simulate(greedy, seed=seed)))


if __name__ == "__main__":
    main()
