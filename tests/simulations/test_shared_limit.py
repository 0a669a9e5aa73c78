"""Ten pods share 100/s with a burst of 10 for a minute, as they join and leave, with the store or without it."""

import asyncio
from functools import partial

import pytest

from tests.layers.rate_limit.told import advice, window
from tests.simulations.shared_limit import Limit, SharingFleet, at_seconds, minute, most_in, simulate

ROUNDING = 0.01  # Permits.


@pytest.mark.parametrize("seed", [1, 2])
def test_pods_that_come_and_go_keep_the_limit_and_use_it(seed: int) -> None:
    """Never over in any window, 97 % of it used, and far less than a question for ten calls."""
    fleet = simulate(minute, seed=seed)
    assert fleet.over <= ROUNDING
    assert fleet.used(0, 60) >= 0.97
    assert len(fleet.at) / (fleet.store.asked / 2) > 10


@pytest.mark.parametrize("seed", [1, 2])
def test_without_the_store_for_ten_seconds_nothing_is_over_either(seed: int) -> None:
    """Each goes on with its fair share, and comes back without a burst of both, though the store forgot all."""
    fleet = simulate(partial(minute, is_store_lost=True), seed=seed)
    assert fleet.over <= ROUNDING
    assert most_in(fleet.at, 1.0) <= 100 * (1 + 1 / 10)
    assert fleet.used(26, 35) >= 0.95
    assert fleet.used(0, 60) >= 0.95


def test_a_store_that_says_nothing_holds_nobody_back_for_long() -> None:
    """Questions that are lost in silence: a pod goes on alone, before the question has failed."""

    async def story(fleet: SharingFleet) -> None:
        for _ in range(10):
            fleet.join()

        def mute(is_mute: bool) -> None:
            fleet.store.is_mute = is_mute

        steps = ((10.0, partial(mute, True)), (20.0, partial(mute, False)))
        turning = fleet.world.create_task(at_seconds(fleet, *steps))
        await fleet.load(150.0, 30.0)
        await turning

    fleet = simulate(story)
    assert fleet.over <= ROUNDING
    assert fleet.used(0, 30) >= 0.9


def test_a_pod_that_alone_has_lost_the_store_adds_no_more_than_its_share() -> None:
    """The others cannot know that it goes on: at most a tenth more, of ten."""

    async def story(fleet: SharingFleet) -> None:
        for _ in range(10):
            fleet.join()

        def cut_off(is_cut_off: bool) -> None:
            fleet.pods[0].store.is_cut_off = is_cut_off

        steps = ((10.0, partial(cut_off, True)), (20.0, partial(cut_off, False)))
        turning = fleet.world.create_task(at_seconds(fleet, *steps))
        await fleet.load(150.0, 30.0)
        await turning

    fleet = simulate(story)
    assert most_in(fleet.at, 1.0) <= 110 + 10
    assert most_in(fleet.at, 5.0) <= 5 * 110 + 10
    assert fleet.used(0, 30) >= 0.97


def test_a_greedy_pod_takes_nothing_from_the_others() -> None:
    """One wants more than all there is; the others, who want less than their share, get most of it."""

    async def story(fleet: SharingFleet) -> None:
        for _ in range(10):
            fleet.join()
        await fleet.load(200.0, 30.0, lambda number: 27.0 if number == 0 else 1.0)

    fleet = simulate(story)
    modest = fleet.pods[1:]
    assert fleet.over <= ROUNDING
    assert sum(pod.rejected for pod in modest) <= 0.25 * sum(pod.served for pod in modest)
    assert fleet.pods[0].rejected >= fleet.pods[0].served
    assert fleet.used(5, 30) >= 0.85


def test_a_lone_pod_has_the_whole_limit() -> None:
    """Nothing is kept for pods that are not there, once the ledger knows that they are not."""

    async def story(fleet: SharingFleet) -> None:
        fleet.join()
        await fleet.load(150.0, 20.0)

    fleet = simulate(story)
    assert fleet.over <= ROUNDING
    assert fleet.used(5, 20) >= 0.97


def test_what_wakes_after_a_pause_does_not_wait_long() -> None:
    """Idle pods hold nothing, and a burst that is below the limit gets its permits within a moment."""

    async def story(fleet: SharingFleet) -> None:
        pod = fleet.join()
        fleet.offer(pod)
        await asyncio.wait(list(pod.calls))
        await at_seconds(fleet, (60.0, lambda: None))
        assert pod.leased.needs_none
        for _ in range(9):
            fleet.offer(pod)
        await asyncio.wait(list(pod.calls))
        assert fleet.second < 60.05

    assert len(simulate(story).at) == 10


def test_a_quota_of_the_fleet_is_exact() -> None:
    """300 a minute beside 100/s: never more in any minute, and nearly all of them used."""
    limit = Limit(windows=((300.0, 60.0),), wait_max=0.2)

    async def story(fleet: SharingFleet) -> None:
        for _ in range(10):
            fleet.join()
        await fleet.load(20.0, 130.0)

    fleet = simulate(story, limit)
    assert most_in(fleet.at, 60.0) <= 300
    assert len(fleet.at) >= 550


def test_more_pods_than_permits_at_once_take_turns() -> None:
    """A burst of 2 for five pods: never over, and hardly anything is left unused."""

    async def story(fleet: SharingFleet) -> None:
        for _ in range(5):
            fleet.join()
        await fleet.load(150.0, 30.0)

    fleet = simulate(story, Limit(burst=2.0, replicas=5))
    assert fleet.over <= ROUNDING
    assert fleet.used(5, 30) >= 0.85
    assert min(pod.served for pod in fleet.pods) > 0.25 * max(pod.served for pod in fleet.pods)


def test_what_one_pod_hears_of_the_vendor_all_learn() -> None:
    """A closing of 5 s is told with the next questions of the others; a window used up, too, for its part only."""

    async def story(fleet: SharingFleet) -> None:
        one, other = fleet.join(), fleet.join()

        def hear() -> None:
            one.leasing.heard(advice(retry_after=5.0, is_throttled=True), 5.0)
            one.leasing.heard(advice(window(100, 0, 8.0, resource="search")), 0.0)

        turning = fleet.world.create_task(at_seconds(fleet, (5.0, hear)))
        await fleet.load(40.0, 8.0)
        await turning
        now = fleet.clock.now()
        assert 1.9 < other.announced.wait(now, 1.0, 0.0, "") < 2.1
        assert 4.9 < other.announced.wait(now, 1.0, 0.0, "search") < 5.1

    simulate(story)
