"""A fleet of any size under any load, with pods and the store that come and go: never over the limit in any window."""

import asyncio
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulations.shared_limit import Limit, SharingFleet, simulate
from tests.simulations.world import wait_until

SECONDS = 25.0
STEPS = st.lists(
    st.tuples(st.floats(0, SECONDS - 1), st.sampled_from(["join", "leave", "die", "lost", "mute", "there", "forgot"])),
    max_size=12,
)
ROUNDING = 0.01  # Permits.


async def step(fleet: SharingFleet, what: str) -> None:
    """Do one thing to the fleet; a store that forgets was away for long enough to be missed."""
    store = fleet.store
    if what == "join" and len(fleet.here) < 6:
        fleet.join()
    elif what in {"leave", "die"} and len(fleet.here) > 1:
        pod = fleet.here[0]
        await (pod.leave() if what == "leave" else pod.die())
    elif what == "lost":
        store.is_up = False
    elif what == "mute":
        store.is_mute = True
    elif what == "there":
        store.is_up, store.is_mute = True, False
    elif what == "forgot" and not store.is_up:
        store.forget()


async def story(fleet: SharingFleet, steps: list[tuple[float, str]], load: float, greed: float) -> None:
    """Load it while the steps are done."""
    for _ in range(3):
        fleet.join()

    async def turn() -> None:
        for second, what in sorted(steps):
            await wait_until(fleet.world, max(fleet.clock.now(), fleet.began_at + second))
            await step(fleet, what)

    turning = fleet.world.create_task(turn())
    await fleet.load(load, SECONDS, lambda number: greed if number % 3 == 0 else 1.0)
    await asyncio.wait([turning])


@settings(max_examples=40)
@given(
    steps=STEPS, load=st.sampled_from([5.0, 40.0, 90.0]), greed=st.sampled_from([1.0, 10.0]),
    burst=st.sampled_from([6.0, 8.0, 30.0]), seed=st.integers(0, 1000),
)  # fmt: skip
def test_no_window_is_over_whatever_happens(
    steps: list[tuple[float, str]], load: float, greed: float, burst: float, seed: int
) -> None:
    """Rate x length + burst, of 50/s over all pods, is the most; also while the store is away, and after it."""
    played: Any = partial(story, steps=steps, load=load, greed=greed)
    fleet = simulate(played, Limit(rate=50.0, burst=burst, replicas=6), seed)
    assert fleet.over <= ROUNDING
