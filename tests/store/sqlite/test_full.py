"""No room: the bound of the file, and the disk's."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.store.base import StoreFull
from sidecar.store.sqlite.store import SqliteStore
from tests.store.sqlite.conftest import Opened, busy

MIB = 2**20
LIFE = 1e6


async def fill(store: SqliteStore) -> int:
    """Put until it is full, and say how many went in."""
    for number in range(10_000):
        try:
            await store.records.put(f"{number}", b"x" * 3000, LIFE)
        except StoreFull:
            return number
    raise AssertionError("it never is full")


async def test_a_full_file_says_so_and_keeps_what_is_there(opened: Opened) -> None:
    """The sentence names both reasons; what was acknowledged stays, and the store is not away."""
    async with opened.store(MIB) as store:
        count = await fill(store)
        with pytest.raises(StoreFull, match=r"state\.db is full: bytes_max is reached, or the disk is full; nothing"):
            await store.records.put("more", b"x" * 3000, LIFE)
        assert count > 200
        for number in range(count):
            assert await store.records.get(f"{number}") is not None
        assert store.is_up
        assert store.snapshot()["used_bytes"] <= MIB == store.snapshot()["bytes_max"]
    assert opened.path.stat().st_size <= MIB
    assert not opened.lines


async def test_a_delete_makes_room(opened: Opened) -> None:
    """What is taken away is room for what comes, without a restart."""
    async with opened.store(MIB) as store:
        await fill(store)
        for number in range(8):
            assert await store.records.delete(f"{number}")
        assert await store.records.put("more", b"x" * 3000, LIFE) is not None


async def test_one_that_does_not_fit_is_refused_alone(opened: Opened) -> None:
    """SQLite undoes the whole transaction then; the others of the group are done all the same, each once."""
    async with opened.store(MIB) as store:
        await store.records.put("old", b"old", LIFE)
        results: dict[str, Any] = {}

        async def asking(name: str, question: Any) -> None:
            try:
                results[name] = await question
            except StoreFull as error:
                results[name] = error

        records = store.records
        async with busy(store):
            tasks = [
                asyncio.create_task(asking("delete", records.delete("old"))),
                asyncio.create_task(asking("small", records.put("small", b"s", LIFE, over=0))),
                asyncio.create_task(asking("big", records.put("big", b"x" * 2 * MIB, LIFE))),
                asyncio.create_task(asking("behind", records.put("behind", b"b", LIFE, over=0))),
                asyncio.create_task(asking("big too", records.put("big too", b"x" * 2 * MIB, LIFE))),
            ]
        await asyncio.wait(tasks)
        assert results["delete"] is True
        assert isinstance(results["small"], int)
        assert isinstance(results["behind"], int)
        assert isinstance(results["big"], StoreFull)
        assert isinstance(results["big too"], StoreFull)
        assert await records.get("old") is None
        assert (await records.get("behind") or b"")[0] == b"b"


async def test_a_full_disk_fails_the_whole_group_and_room_heals_it(opened: Opened, child: Callable[..., Any]) -> None:
    """Nothing half is there; what was there is, and can be deleted; with room again all goes on, without a restart."""
    process = await child("full", opened.path)
    out, errors = await process.communicate()
    assert not errors, errors.decode()
    told, *lines = [line for line in out.decode().splitlines() if not line.startswith("line store_up")]
    reason, failed, sentence, up, half, before, deleted, again = told, *lines
    assert reason.startswith("line store_down the disk of the store ")
    assert failed == "failed 50 1"
    assert "state.db refuses (disk I/O error); nothing was written; look whether it is full or failing" in sentence
    assert (up, half, before, deleted, again) == ("up False", "half 0", "before there", "deleted True", "again 0")
    async with opened.store() as store:
        assert await store.records.get("before") is None
        for number in range(50):
            assert await store.records.get(f"many-{number}") is not None
