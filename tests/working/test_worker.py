"""The worker: how many at once, in which order, when it waits, and what is left when it is told to stop."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sidecar.store.backlog import WAITING, Settlement
from sidecar.working.verdict import Ended, Verdict
from sidecar.working.worker import STORE_PAUSE, YIELD_MAX
from tests.kit.clock import ManualClock
from tests.working.working import LINE, ROOM, Working, later


@pytest.fixture
async def working(clock: ManualClock) -> AsyncIterator[Working]:
    """A worker that has begun, at an empty line."""
    made = Working(clock)
    made.worker.start()
    yield made
    await made.worker.stop(0.0)


async def test_a_job_is_done_as_soon_as_it_is_there(working: Working) -> None:
    """Nobody waits for the next look."""
    await working.clock.advance(10.0)
    await working.add("a")
    await working.clock.advance(0.0)
    assert working.turns.begun == ["a"]
    assert await working.state("a") == "succeeded"
    assert working.ended == [("a", "succeeded")]
    assert working.pace.asked == 1


async def test_no_more_run_at_once_than_are_allowed(working: Working) -> None:
    """The others wait in the store, not in memory."""
    working.turns.held = {f"{n}": asyncio.Event() for n in range(10)}
    await working.add(*(f"{n}" for n in range(10)))
    await working.clock.advance(5.0)
    assert working.turns.begun == ["0", "1", "2", "3"]
    assert await working.state("4") == "waiting"
    working.turns.held["2"].set()
    await working.clock.advance(0.0)
    assert working.turns.begun == ["0", "1", "2", "3", "4"]
    for held in working.turns.held.values():
        held.set()
    await working.clock.advance(1.0)
    assert len(working.turns.begun) == 10
    assert working.turns.under_way_max == 4


async def test_jobs_of_one_key_run_one_after_the_other(working: Working) -> None:
    """Also while the first waits for its next attempt; those of another key go on."""
    working.turns.ends["a1"] = [later(60.0)]
    await working.add("a1", "a2", "a3", key="a")
    await working.add("b1", "b2", key="b")
    await working.clock.advance(1.0)
    assert working.turns.begun == ["a1", "b1", "b2"]
    await working.clock.advance(58.0)
    assert len(working.turns.begun) == 3
    await working.clock.advance(2.0)
    assert working.turns.begun[3:] == ["a1", "a2", "a3"]


async def test_what_is_put_off_comes_when_it_is_due(working: Working) -> None:
    """Not before, and not much after."""
    working.turns.ends["a"] = [later(5.0), later(7.25)]
    await working.add("a")
    began_at = working.clock.now()
    await working.clock.advance(20.0)
    waited = [at - began_at for at in working.turns.begun_at]
    assert waited == [0.0, pytest.approx(5.0, abs=0.01), pytest.approx(12.25, abs=0.01)]
    assert await working.state("a") == "succeeded"


async def test_where_nothing_can_be_sent_the_line_waits_and_tries_one(working: Working) -> None:
    """An open circuit is not asked by each job in turn, and a vendor that is back is not stormed."""
    for n in range(8):
        working.turns.ends[f"{n}"] = [later(30.0, pause=30.0)]
    await working.add(*(f"{n}" for n in range(8)))
    await working.clock.advance(29.0)
    assert len(working.turns.begun) == 4
    working.turns.held = {f"{n}": asyncio.Event() for n in range(8)}
    for n in range(8):
        working.turns.ends[f"{n}"] = []
    await working.clock.advance(1.5)
    assert len(working.turns.begun) == 5, "one is tried first"
    working.turns.held[working.turns.begun[4]].set()
    await working.clock.advance(0.0)
    assert len(working.turns.begun) == 5 + 4, "it went well, so as many as are allowed"
    for held in working.turns.held.values():
        held.set()


async def test_jobs_yield_to_live_calls_but_not_for_ever(working: Working) -> None:
    """While calls wait none begins for a second; then one does."""
    working.turns.busy = True
    await working.add("a", "b")
    await working.clock.advance(YIELD_MAX - 0.1)
    assert working.turns.begun == []
    await working.clock.advance(0.2)
    assert working.turns.begun != []
    working.turns.busy = False
    await working.clock.advance(2.0)
    assert sorted(working.turns.begun) == ["a", "b"]


async def test_a_store_that_is_away_is_asked_again(working: Working) -> None:
    """The jobs wait; what was done while it was away is settled once it is back, and not done again."""
    working.turns.held["a"] = asyncio.Event()
    await working.add("a")
    await working.clock.advance(0.0)
    working.down.is_down = True
    working.turns.held["a"].set()
    await working.clock.advance(20 * STORE_PAUSE)
    working.down.is_down = False
    await working.clock.advance(2 * STORE_PAUSE)
    assert await working.state("a") == "succeeded"
    assert working.turns.begun == ["a"]
    await working.add("b")
    await working.clock.advance(2 * STORE_PAUSE)
    assert await working.state("b") == "succeeded"


async def test_a_result_that_cannot_be_left_for_the_app_is_left_later(clock: ManualClock) -> None:
    """The job is not settled before, so it is not lost; nor is it made again while its process lives."""
    working = Working(clock)
    working.down_for_results = 3
    working.worker.start()
    await working.add("a")
    await clock.advance(2.5 * STORE_PAUSE)
    assert await working.state("a") == "running"
    await clock.advance(2 * STORE_PAUSE)
    assert await working.state("a") == "succeeded"
    assert working.ended == [("a", "succeeded")]
    assert working.turns.begun == ["a"]
    await working.worker.stop(0.0)


async def test_what_the_store_refuses_is_told_once(working: Working) -> None:
    """Nobody else does: a store that is full is not away."""
    working.full_for_results = 5
    await working.add("a")
    await working.clock.advance(6 * STORE_PAUSE)
    assert await working.state("a") == "succeeded"
    assert working.told == ["warning job_not_settled"]


async def test_an_idle_line_is_looked_at_less_and_less(working: Working) -> None:
    """A store that is shared by many pods is not asked by each line of each of them every second."""
    await working.clock.advance(600.0)
    assert working.down.asked["next_due"] < 70
    assert working.down.asked["claim"] < 70
    await working.add("a")
    await working.clock.advance(0.0)
    assert await working.state("a") == "succeeded"


async def test_what_cannot_be_settled_leaves_its_place_to_others(working: Working) -> None:
    """Of a store with two sides one may be away: what ended there does not keep the other's from beginning."""
    working.turns.held = {"a": asyncio.Event()}
    working.turns.concurrency = 1
    await working.add("a")
    await working.clock.advance(0.0)
    working.down.refused = "settle"
    working.turns.held["a"].set()
    await working.add("b", "c", "d")
    await working.clock.advance(10 * STORE_PAUSE)
    assert working.turns.begun == ["a", "b"], "no more wait in memory than twice as many as may run"
    assert working.turns.under_way_max == 1
    working.down.refused = ""
    await working.clock.advance(2 * STORE_PAUSE)
    assert working.turns.begun == ["a", "b", "c", "d"]
    assert [await working.state(name) for name in "abcd"] == ["succeeded"] * 4
    assert working.told == []


async def test_a_job_whose_lease_ended_while_it_ran_is_not_begun_twice(working: Working) -> None:
    """Claimed again by the pod that runs it, it is still the same turn, which settles it."""
    working.turns.held["a"] = asyncio.Event()
    await working.add("a")
    await working.clock.advance(0.0)
    assert await working.store.backlog.settle("crm", "a", "pod", Settlement(WAITING))
    await working.clock.advance(5.0)
    assert await working.state("a") == "running"
    working.turns.held["a"].set()
    await working.clock.advance(0.0)
    assert working.turns.begun == ["a"]
    assert await working.state("a") == "succeeded"


async def test_a_stop_lets_turns_end_and_begins_no_more(working: Working) -> None:
    """What ends in time is settled as it ended."""
    working.turns.concurrency = 1
    working.turns.held["a"] = asyncio.Event()
    await working.add("a", "b")
    await working.clock.advance(0.0)
    stopping = asyncio.create_task(working.worker.stop(10.0))
    await working.clock.advance(1.0)
    assert not stopping.done()
    working.turns.held["a"].set()
    await working.clock.advance(0.0)
    await stopping
    assert await working.state("a") == "succeeded"
    assert await working.state("b") == "waiting"
    assert working.turns.begun == ["a"]


async def test_a_stop_gives_back_what_does_not_end_in_time(clock: ManualClock) -> None:
    """Another worker may have it at once."""
    first = Working(clock)
    first.worker.start()
    first.turns.held["a"] = asyncio.Event()
    await first.add("a")
    await clock.advance(0.0)
    first.down.is_slow = True
    stopping = asyncio.create_task(first.worker.stop(5.0))
    await clock.advance(6.0)
    await stopping
    assert await first.state("a") == "waiting"
    assert first.down.slow_calls == 1, "the store took its time, and was waited for"
    second = Working(clock, "other", first.store)
    second.worker.start()
    await clock.advance(1.0)
    assert second.turns.begun == ["a"]
    assert await second.state("a") == "succeeded"
    await second.worker.stop(0.0)


async def test_a_job_that_comes_while_the_line_is_looked_at_is_not_overlooked(working: Working) -> None:
    """Between the answer that nothing is due and the doze there is a moment, and a job may come in it."""
    await working.clock.advance(60.0)
    working.down.is_slow = True
    await working.clock.advance(9.0)
    for n in range(40):
        await working.add(f"{n}")
        await working.clock.advance(0.0)
        working.clock.tick(0.01)
    await working.clock.advance(0.5)
    assert len(working.turns.begun) == 40


async def test_an_answer_for_which_there_is_no_room_does_not_keep_a_job_running(working: Working) -> None:
    """That it was done is kept, and an answer of an earlier turn is not shown for this one's."""
    working.turns.ends["a"] = [
        Ended(Settlement("waiting", 1.0, result=b"an earlier one"), Verdict("put_off", 1.0)),
        Ended(Settlement("succeeded", result=bytes(ROOM + 1)), Verdict("answered")),
    ]
    await working.add("a")
    await working.clock.advance(5.0)
    assert await working.state("a") == "succeeded"
    entry = await working.store.backlog.get(LINE, "a")
    assert entry is not None
    assert entry.result == b""
    assert "warning job_answer_not_kept" in working.told
