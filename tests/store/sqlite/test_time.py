"""Clocks that jump, in a run and between runs: what is stored lives as long as it was to."""

import shutil
from pathlib import Path

from sidecar.store.sqlite.store import SEE_EVERY
from tests.kit.clock import ManualClock
from tests.store.sqlite.conftest import Opened

NOON = 1_767_225_600.0
DAY = 86_400.0


async def test_a_clock_that_is_set_while_we_run_changes_nothing(opened: Opened) -> None:
    """Forwards and back: what is left of a record is told by the monotonic clock."""
    async with opened.store() as store:
        await store.records.put("k", b"v", 100)
        for jump in (DAY, -3 * DAY):
            opened.clock._wall_ahead += jump
            record = await store.records.get("k")
            assert record is not None
            assert abs(record.left - 100) < 1
        await opened.clock.advance(99)
        assert await store.records.get("k") is not None
        await opened.clock.advance(1)
        assert await store.records.get("k") is None


async def test_a_clock_set_back_between_two_runs_prolongs_nothing(opened: Opened) -> None:
    """Time goes on where the last run ended, however far back the clock stands."""
    async with opened.store() as store:
        version = await store.records.put("k", b"v", 100)
        await opened.clock.advance(40)
    later = ManualClock(at=5.0, wall_at=NOON - 365 * DAY)
    async with opened.store(clock=later) as store:
        record = await store.records.get("k")
        assert record is not None
        assert abs(record.left - 60) < 0.001
        assert (await store.records.put("k", b"w", 100) or 0) > (version or 0)
        await later.advance(100)
        assert await store.records.get("k") is None


async def test_a_clock_set_forward_between_two_runs_ends_what_is_due_by_it(opened: Opened) -> None:
    """Nobody can tell it from a pause of that length."""
    async with opened.store() as store:
        await store.records.put("short", b"v", 100)
        await store.records.put("long", b"v", 10 * DAY)
    async with opened.store(clock=ManualClock(at=5.0, wall_at=NOON + DAY)) as store:
        assert await store.records.get("short") is None
        record = await store.records.get("long")
        assert record is not None
        assert abs(record.left - 9 * DAY) < 1


async def test_a_killed_run_leaves_a_time_that_is_a_minute_old_at_most(opened: Opened, tmp_path: Path) -> None:
    """It could not write its end down, so it writes the time now and then."""
    async with opened.store() as store:
        await store.records.put("k", b"v", DAY)
        for _ in range(10):
            await opened.clock.advance(SEE_EVERY)
            await store._file.run(lambda _: None)  # The writer is another thread: what it was asked is behind it.
        await opened.clock.advance(30)
        killed = tmp_path / "killed"
        killed.mkdir()
        for file in (opened.path, opened.path.with_name("state.db-wal")):
            shutil.copy(file, killed)
    opened.path = killed / "state.db"
    async with opened.store(clock=ManualClock(at=5.0, wall_at=NOON - DAY)) as store:
        record = await store.records.get("k")
        assert record is not None
        assert DAY - 11 * SEE_EVERY < record.left <= DAY - 10 * SEE_EVERY


async def test_versions_grow_over_a_clock_that_is_set_back(opened: Opened) -> None:
    """A version that was given once does not come again, not even after a delete."""
    given: list[int] = []
    for wall in (NOON, NOON - DAY, NOON - 2 * DAY):
        clock = ManualClock(wall_at=wall)
        async with opened.store(clock=clock) as store:
            given.append(await store.records.put("k", b"v", DAY) or 0)
            given.append(await store.records.put("k", b"v", DAY) or 0)
            assert await store.records.delete("k")
            clock.tick(0.001)
    assert given == sorted(set(given))
