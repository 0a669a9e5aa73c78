"""The clock that other tests trust."""

import asyncio

import pytest

from sidecar.core.clock import Clock
from tests.kit.clock import ManualClock, settle


async def test_a_leap_wakes_each_sleeper_once_and_late() -> None:
    """What re-arms itself each second does so once, from where time is then."""
    clock = ManualClock(at=0.0)
    woken: list[float] = []

    async def look() -> None:
        while True:
            await clock.sleep(1.0)
            woken.append(clock.now())

    task = asyncio.create_task(look())
    await clock.leap(3600.0)
    assert woken == [3600.0]
    await clock.leap(1.0)
    assert woken == [3600.0, 3601.0]
    task.cancel()


async def test_sleepers_wake_in_order_at_their_instants(clock: ManualClock) -> None:
    """One advance serves all that falls into it, each at its own time."""
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now() - 1000))

    tasks = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in [("b", 2), ("a", 1), ("c", 2)]]
    await clock.advance(1.5)
    assert woken == [("a", 1)]
    await clock.advance(1.5)
    assert woken == [("a", 1), ("b", 2), ("c", 2)]
    assert clock.now() == 1003
    await asyncio.gather(*tasks)


async def test_a_sleep_that_begins_on_the_way_ends_on_the_way(clock: ManualClock) -> None:
    """A loop of sleeps runs as often as the time allows."""
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.now() - 1000)

    task = asyncio.create_task(ticker())
    await clock.advance(3.5)
    assert ticks == [1, 2, 3]
    task.cancel()
    await asyncio.wait([task])
    assert clock.pending == 0


async def test_a_timeout_is_raised_when_the_clock_passes_it(clock: ManualClock) -> None:
    """The block is left with TimeoutError, and the task is not cancelled for others to see."""

    async def bounded() -> str:
        try:
            async with clock.timeout_at(1005):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "timed out"
        return "never"

    task = asyncio.create_task(bounded())
    await clock.advance(4.9)
    assert not task.done()
    await clock.advance(0.1)
    assert await task == "timed out"
    assert task.cancelling() == 0


async def test_a_timeout_in_the_past_is_raised_at_once(clock: ManualClock) -> None:
    """An instant that is over needs no advance, as with a real clock."""
    with pytest.raises(TimeoutError):
        async with clock.timeout_at(999):
            await asyncio.get_running_loop().create_future()


async def test_a_block_that_ends_in_time_leaves_no_timer(clock: ManualClock) -> None:
    """What was bounded and is done does not wait for time any more."""
    async with clock.timeout_at(1005):
        await settle()
    assert clock.next_at is None


async def test_a_callback_that_is_due_runs_on_the_next_turn_and_a_cancelled_one_never(clock: ManualClock) -> None:
    """Due now is soon, not at once and not at the next advance."""
    ran: list[str] = []
    clock.call_at(1000, lambda: ran.append("due"))
    clock.call_at(1001, lambda: ran.append("cancelled")).cancel()
    assert ran == []
    await settle()
    assert ran == ["due"]
    await clock.advance(2)
    assert ran == ["due"]


async def test_decimal_steps_reach_a_decimal_instant(clock: ManualClock) -> None:
    """0.49 and 0.01 seconds are half a second, whatever floats say."""
    ran: list[float] = []
    clock.call_at(1000.5, lambda: ran.append(clock.now()))
    await clock.advance(0.49)
    await clock.advance(0.01)
    assert ran == [1000.5]


def test_time_and_wall_move_together() -> None:
    """Both clocks show the same lengths."""
    manual = ManualClock()
    clock: Clock = manual
    wall = clock.wall()
    manual.tick(12.5)
    assert clock.now() == 1012.5
    assert clock.wall() - wall == 12.5
