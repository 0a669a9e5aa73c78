"""The backlog in a file: what a restart brings back, and large bodies in files beside it."""

import asyncio
import contextlib
import errno
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from sidecar.core.units import Size
from sidecar.store.backlog import RUNNING, WAITING, Bounds, NewEntry, Settlement
from sidecar.store.base import StoreDown, StoreFull
from sidecar.store.config import StoreConfig
from sidecar.store.sqlite.entries import Lines
from sidecar.store.sqlite.schema import prepare
from sidecar.store.sqlite.store import SqliteStore
from tests.kit.clock import ManualClock, settle

WIDE = Bounds(1_000_000, 2**30)
LARGE = 300_000


async def opened(folder: Path, clock: ManualClock, room: int = 2**22) -> SqliteStore:
    """Open the file of a folder."""
    config = StoreConfig(kind="sqlite", bytes_max=Size(room))
    store = SqliteStore(config, str(folder / "state.db"), clock, lambda *_, **__: None)
    await store.open()
    return store


def files(folder: Path) -> list[Path]:
    """Give what lies beside the file."""
    return sorted((folder / "state.db.d").glob("*"))


async def test_what_was_claimed_waits_again_when_the_file_is_opened(tmp_path: Path, clock: ManualClock) -> None:
    """Due at once, in the order of its key, with the attempts that it had; and the counts agree."""
    store = await opened(tmp_path, clock)
    await store.backlog.append("l", [NewEntry(f"k{n}", "k", b"h") for n in range(2)], WIDE)
    await store.backlog.append("l", [NewEntry("done", "", b"h"), NewEntry("e", "", b"h")], WIDE)
    await store.backlog.claim("l", "w", 9, 30)
    await store.backlog.settle("l", "done", "w", Settlement("done"))
    await store.close()
    clock.tick(1)
    store = await opened(tmp_path, clock)
    tally = await store.backlog.tally("l")
    assert {state: n for state, n in tally.states.items() if n} == {WAITING: 3, "done": 1}
    assert not await store.backlog.settle("l", "k0", "w", Settlement("done"))
    again = await store.backlog.claim("l", "w", 9, 30)
    assert [(entry.id, entry.attempts) for entry in again] == [("k0", 2), ("e", 2)]
    await store.close()


async def test_a_claim_lasts_as_long_as_the_process(tmp_path: Path, clock: ManualClock) -> None:
    """Nobody else has the file, so nobody else could take it."""
    store = await opened(tmp_path, clock)
    await store.backlog.append("l", [NewEntry("a", "", b"h")], WIDE)
    await store.backlog.claim("l", "w", 9, 30)
    await clock.advance(3600)
    assert await store.backlog.claim("l", "v", 9, 30) == []
    assert await store.backlog.next_due("l") is None
    assert await store.backlog.keep("l", ["a"], "w", 30) == {"a"}
    await store.close()


async def test_what_is_large_lies_in_files_that_are_ours_alone(tmp_path: Path, clock: ManualClock) -> None:
    """Bodies and results; over a restart; and deleted once their rows are gone."""
    body, result = os.urandom(LARGE), os.urandom(LARGE)
    store = await opened(tmp_path, clock)
    await store.backlog.append("l", [NewEntry("a", "", b"h", body), NewEntry("small", "", b"h", b"b")], WIDE)
    (file,) = files(tmp_path)
    assert file.read_bytes() == body
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert await store.backlog.append("l", [NewEntry("a", "", b"h", body)], WIDE) == {"a"}
    await store.close()
    assert files(tmp_path) == [file]
    store = await opened(tmp_path, clock)
    assert [len(entry.body) for entry in await store.backlog.claim("l", "w", 9, 30)] == [LARGE, 1]
    assert await store.backlog.settle("l", "a", "w", Settlement("done", result=result, frees_body=True))
    entry = await store.backlog.get("l", "a")
    assert entry is not None
    assert (entry.body, entry.result) == (b"", result)
    assert not await store.backlog.settle("l", "a", "w", Settlement("done", result=result))
    await store.backlog.purge("l", "done", -1, 9)
    await store.close()
    assert files(tmp_path) == []


async def test_what_a_killed_process_left_is_deleted(tmp_path: Path, clock: ManualClock) -> None:
    """A file that no row names was written for an append that was never acknowledged."""
    store = await opened(tmp_path, clock)
    await store.backlog.append("l", [NewEntry("a", "", b"h", b"x" * LARGE)], WIDE)
    await store.close()
    kept = files(tmp_path)
    (tmp_path / "state.db.d" / "orphan").write_bytes(b"x")
    store = await opened(tmp_path, clock)
    assert files(tmp_path) == kept
    await store.close()


async def test_a_refused_append_leaves_no_file(tmp_path: Path, clock: ManualClock) -> None:
    """Whether the line is full, or the store."""
    store = await opened(tmp_path, clock, room=2**20)
    large = NewEntry("a", "", b"h", b"x" * LARGE)
    with pytest.raises(StoreFull, match="length_max"):
        await store.backlog.append("l", [large], Bounds(0, 2**30))
    await store.close()
    assert files(tmp_path) == []
    store = await opened(tmp_path, clock, room=2**20)
    with pytest.raises(StoreFull, match="bytes_max is reached"):
        await store.backlog.append("l", [large._replace(id=f"e{n}") for n in range(4)], WIDE)
    assert (await store.backlog.tally("l")).bytes == 0
    await store.backlog.append("l", [large], WIDE)
    await store.close()
    assert len(files(tmp_path)) == 1


async def test_the_bound_is_over_the_file_and_what_lies_beside_it(tmp_path: Path, clock: ManualClock) -> None:
    """Rows have no more room than files leave, nor files more than rows leave; what is purged makes room for both."""
    store = await opened(tmp_path, clock, room=2**20)
    await store.backlog.append("l", [NewEntry(f"f{n}", "", b"h", b"x" * LARGE) for n in range(2)], WIDE)
    with pytest.raises(StoreFull):
        await store.backlog.append("l", [NewEntry(f"r{n}", "", b"h", b"x" * 50_000) for n in range(10)], WIDE)
    assert await store.backlog.discard("l", "f0", {WAITING})
    assert await store.backlog.discard("l", "f1", {WAITING})
    await store.close()
    store = await opened(tmp_path, clock, room=2**20)
    await store.backlog.append("l", [NewEntry(f"r{n}", "", b"h", b"x" * 50_000) for n in range(16)], WIDE)
    with pytest.raises(StoreFull):
        await store.backlog.append("l", [NewEntry("f", "", b"h", b"x" * LARGE)], WIDE)
    for n in range(16):
        assert await store.backlog.discard("l", f"r{n}", {WAITING})
    await store.backlog.append("l", [NewEntry("f", "", b"h", b"x" * LARGE)], WIDE)
    await store.close()
    used = sum(path.stat().st_size for path in [*files(tmp_path), tmp_path / "state.db"])
    assert used <= 2**20


async def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was begun to be written is deleted, and its room is free again."""
    store = await opened(tmp_path, clock)

    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_room)
        with pytest.raises(StoreFull, match=r"the disk of the store .* is full; nothing was written"):
            await store.backlog.append("l", [NewEntry("a", "", b"h", b"x" * LARGE)], WIDE)
    await store.close()
    assert files(tmp_path) == []


async def test_a_body_that_cannot_be_read_holds_nothing_up(tmp_path: Path, clock: ManualClock) -> None:
    """The claim says so once and is undone; the others are claimed next, and it comes up again later."""
    store = await opened(tmp_path, clock)
    await store.backlog.append("l", [NewEntry("a", "", b"h", b"x" * LARGE), NewEntry("b", "", b"h")], WIDE)
    files(tmp_path)[0].unlink()
    with pytest.raises(StoreDown, match="cannot read a body beside it"):
        await store.backlog.claim("l", "w", 9, 30)
    assert [entry.id for entry in await store.backlog.claim("l", "w", 9, 30)] == ["b"]
    assert 59 < (await store.backlog.next_due("l") or 0) <= 60
    with pytest.raises(StoreDown, match="cannot read a body beside it"):
        await store.backlog.get("l", "a")
    await store.close()


async def test_a_claim_whose_worker_is_gone_is_undone(tmp_path: Path, clock: ManualClock) -> None:
    """Nobody would settle it while the process lives."""
    store = await opened(tmp_path, clock)
    await store.backlog.append("l", [NewEntry("a", "", b"h")], WIDE)
    claiming = asyncio.ensure_future(store.backlog.claim("l", "w", 9, 30))
    await settle(1)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    while not (claimed := await store.backlog.claim("l", "v", 9, 30)):
        await settle(1)
    assert [entry.id for entry in claimed] == ["a"]
    assert (await store.backlog.tally("l")).states[RUNNING] == 1
    await store.close()


def test_each_question_is_answered_from_an_index(tmp_path: Path) -> None:
    """So a claim, a page, a tally and a purge cost the same with a million entries: no scan, no sorting."""
    asked: list[str] = []
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as connection:
        prepare(connection, "state.db", 4096)
        connection.set_trace_callback(asked.append)
        lines = Lines(connection, "l", 1000.0)
        lines.append([NewEntry("a", "k", b"h"), NewEntry("b", "k", b"h"), NewEntry("c", "", b"h")], {}, WIDE)
        lines.claim("w", 2)
        lines.settle("a", "w", Settlement(WAITING), None)
        lines.claim("w", 2)
        lines.settle("a", "w", Settlement("done"), None)
        lines.move("a", {"done"}, WAITING)
        lines.find(None, "b", 9)
        lines.next_due()
        lines.tally()
        lines.purge("done", 0, 9)
        lines.discard("b", {WAITING})
        lines.release(None)
        connection.set_trace_callback(None)
        plans = {
            (statement, step[3])
            for statement in asked
            if statement.startswith(("SELECT", "UPDATE", "DELETE"))
            for step in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
        }
    assert len(plans) > 20
    assert [plan for plan in plans if plan[1].startswith("SCAN") or "TEMP B-TREE" in plan[1]] == []
    indices = {"entries_due", "entries_of_key", "entries_in_state", "entries_settled"}
    assert {index for index in indices if any(index in step for _, step in plans)} == indices
