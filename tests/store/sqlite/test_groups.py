"""Group commit: those who ask at the same time share one; each has an answer of its own."""

import asyncio
import sqlite3
from typing import Any

import pytest

from sidecar.store.base import StoreDown, StoreFailed, StoreFull
from sidecar.store.sqlite.file import GROUP_MAX, WAITING_MAX
from sidecar.store.sqlite.store import LOOK_EVERY
from tests.kit.clock import settle
from tests.store.sqlite.conftest import Opened, busy

LIFE = 1e6


async def test_all_who_ask_at_once_share_a_commit(opened: Opened) -> None:
    """A full group is one commit, however many are in it."""
    async with opened.store() as store:
        before = store._file.commits
        async with busy(store):
            tasks = [asyncio.create_task(store.records.put(f"{n}", b"", LIFE)) for n in range(GROUP_MAX)]
        versions = [await task for task in tasks]
        assert store._file.commits - before == 2  # That of who kept it busy, and theirs.
        assert len(set(versions)) == GROUP_MAX


async def test_sixty_four_clients_that_ask_in_turn_share_commits(opened: Opened) -> None:
    """Without anybody who holds them up: who asks while a commit is under way is in the next."""
    async with opened.store() as store:
        before = store._file.commits

        async def client(name: int) -> None:
            for turn in range(10):
                await store.records.put(f"{name}.{turn}", b"", LIFE)

        await asyncio.gather(*map(client, range(64)))
        assert store._file.commits - before < 640 / 4


async def test_a_question_that_raises_undoes_itself_alone(opened: Opened) -> None:
    """Its own error is what its asker gets; the others' writes stand."""

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO records VALUES ('half', x'00', 1, 1e12)")
        raise KeyError("my own")

    def twice(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO records VALUES ('twice', x'00', 1, 1e12)")
        connection.execute("INSERT INTO records VALUES ('twice', x'00', 1, 1e12)")

    def none_left(_: sqlite3.Connection) -> Any:
        return next(iter(()))

    async with opened.store() as store:
        async with busy(store):
            good = asyncio.create_task(store.records.put("good", b"", LIFE))
            bad = [asyncio.create_task(store._file.run(work)) for work in (half, twice, none_left)]
            late = asyncio.create_task(store.records.put("late", b"", LIFE))
        with pytest.raises(KeyError, match="my own"):
            await bad[0]
        with pytest.raises(StoreDown, match="UNIQUE"):
            await bad[1]
        with pytest.raises(RuntimeError, match="StopIteration"):
            await bad[2]
        assert await good is not None
        assert await late is not None
        assert await store.records.get("good") is not None
        assert await store.records.get("half") is None
        assert await store.records.get("twice") is None
        assert store.is_up


async def test_a_commit_that_fails_fails_all_of_its_group_and_is_told_once(opened: Opened) -> None:
    """Each has an error of its own; nothing half is there; five seconds later it is looked whether it goes again."""
    async with opened.store() as store:
        for _ in range(2):
            async with busy(store):
                puts = [asyncio.create_task(store.records.put(f"{n}", b"", LIFE)) for n in range(3)]
                # As a disk that fails does: what was done in the transaction is gone before its commit.
                wrong = asyncio.create_task(store._file.run(lambda connection: connection.execute("ROLLBACK")))
            for task in (*puts, wrong):
                with pytest.raises(StoreDown):
                    await task
            assert len({id(task.exception()) for task in puts}) == 3
        assert not store.is_up
        assert "problem" in store.snapshot()
        assert [await store.records.get(f"{n}") for n in range(3)] == [None, None, None]
        assert [line["msg"] for line in opened.lines] == ["store_down"]
        assert opened.lines[0]["level"] == "error"
        await opened.clock.advance(LOOK_EVERY)
        await store._file.run(lambda _: None)
        await settle()
        assert "problem" not in store.snapshot()
        assert [line["msg"] for line in opened.lines] == ["store_down", "store_up"]


async def test_a_caller_who_goes_away_harms_nobody(opened: Opened) -> None:
    """Its question is done all the same, and the others have their answers."""
    async with opened.store() as store:
        async with busy(store):
            tasks = [asyncio.create_task(store.records.put(f"{n}", b"", LIFE)) for n in range(10)]
            await settle()
            for task in tasks[::2]:
                task.cancel()
        await asyncio.wait(tasks)
        assert [task.cancelled() for task in tasks] == [True, False] * 5
        for number in range(10):
            assert await store.records.get(f"{number}") is not None
        assert store._file._waiting == 0


async def test_closing_finishes_what_was_asked(opened: Opened) -> None:
    """What was asked before is answered and there; what is asked afterwards is told that it is closed."""
    async with opened.store() as store:
        async with busy(store):
            tasks = [asyncio.create_task(store.records.put(f"{n}", b"", LIFE)) for n in range(2 * GROUP_MAX)]
            await settle()
            closing = asyncio.create_task(store.close())
        await closing
        assert None not in [await task for task in tasks]
        with pytest.raises(StoreDown, match="is closed"):
            await store.records.get("0")
        await store.close()  # Once more does nothing.
    async with opened.store() as store:
        assert await store.records.get(f"{2 * GROUP_MAX - 1}") is not None


async def test_a_store_that_is_not_open_says_so(opened: Opened) -> None:
    """Nobody waits for what has not begun."""
    async with opened.store() as store:
        file = type(store._file)(str(opened.path) + "2", 2**20)
        with pytest.raises(StoreDown, match="is closed"):
            await file.run(lambda _: None)
        await file.close()


async def test_too_many_who_wait_are_refused_at_once(opened: Opened) -> None:
    """The bound on those who wait for a slow disk; who waits already is served."""
    async with opened.store() as store:
        async with busy(store):
            free = WAITING_MAX - 1  # One is who keeps it busy.
            tasks = [asyncio.create_task(store.records.get(f"{n}")) for n in range(free)]
            await settle()
            with pytest.raises(StoreFull, match=f"is behind: {WAITING_MAX} questions wait for its disk"):
                await store.records.put("more", b"", LIFE)
        done, _ = await asyncio.wait(tasks)
        assert all(task.exception() is None for task in done)
        assert await store.records.put("more", b"", LIFE) is not None


async def test_a_loop_of_failures_leaves_the_writer_alive(opened: Opened) -> None:
    """Whatever a question does to the connection, the next one is served."""

    def end_it(connection: sqlite3.Connection) -> None:
        connection.execute("COMMIT")
        raise OSError("and an error of another kind")

    async with opened.store() as store:
        for _ in range(5):
            with pytest.raises(StoreFailed):
                await store._file.run(end_it)
        assert await store.records.put("k", b"", LIFE) is not None
