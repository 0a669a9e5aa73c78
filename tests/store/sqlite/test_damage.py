"""A file that is damaged: found at the start, or when the damage is met."""

import asyncio
import os
import random
import sqlite3

import pytest

from sidecar.store.base import StoreDown
from sidecar.store.sqlite.file import PAGE_BYTES
from tests.store.sqlite.conftest import Opened

LIFE = 1e6
SENTENCE = r"state\.db is damaged \(.*\); stop, keep a copy of it, and rescue what is readable with "


def put_many(connection: sqlite3.Connection, count: int) -> None:
    """Write records in one go."""
    rows = ((f"{number:06}", b"x" * 800, 1, 1e12) for number in range(count))
    connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)


def spoil(opened: Opened, pages: list[int], seed: int) -> None:
    """Write noise over pages; the first is 1."""
    noise = random.Random(seed)
    with opened.path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE_BYTES)
            file.write(noise.randbytes(PAGE_BYTES))


@pytest.mark.parametrize("page", [2, 3, 17, 60, 90])
async def test_damage_in_the_middle_is_found_at_the_start(opened: Opened, page: int) -> None:
    """The sentence says what helps; the file is left as it is, for who rescues it."""
    async with opened.store() as store:
        await store._file.run(lambda connection: put_many(connection, 400))
    assert opened.path.stat().st_size > 90 * PAGE_BYTES
    spoil(opened, [page], page)
    before = opened.path.read_bytes()
    with pytest.raises(StoreDown, match=SENTENCE + r'"sqlite3 .*state\.db \.recover", or move it away'):
        async with opened.store():
            pass
    assert opened.path.read_bytes() == before


async def test_a_file_cut_short_is_found_at_the_start(opened: Opened) -> None:
    """As a copy that did not come to its end is."""
    async with opened.store() as store:
        await store._file.run(lambda connection: put_many(connection, 400))
    os.truncate(opened.path, 40 * PAGE_BYTES)
    with pytest.raises(StoreDown, match=SENTENCE):
        async with opened.store():
            pass


async def test_damage_met_while_running_ends_all_writing_and_is_told_once(opened: Opened) -> None:
    """What is asked then is refused at once with what helps, also what lies elsewhere: writing may damage more."""
    async with opened.store() as store:
        await store._file.run(lambda connection: put_many(connection, 20_000))
    async with opened.store() as store:
        count = opened.path.stat().st_size // PAGE_BYTES
        spoil(opened, list(range(2, count + 1)), 1)
        asked = [store.records.get(f"{number:06}") for number in range(0, 20_000, 50)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert any(isinstance(result, StoreDown) and "is damaged" in str(result) for result in results)
        with pytest.raises(StoreDown, match=SENTENCE):
            await store.records.put("new", b"v", LIFE)
        assert not store.is_up
        assert store.snapshot()["problem"] == opened.lines[0]["error"]
        await opened.clock.advance(60)
        assert not store.is_up
        assert [line["msg"] for line in opened.lines] == ["store_down"]


async def test_a_log_with_a_torn_end_is_read_up_to_there(opened: Opened) -> None:
    """What was not acknowledged may be half in the log after a power cut; what was is before it."""
    async with opened.store() as store:
        await store.records.put("k", b"v", LIFE)
        files = {path.name: path.read_bytes() for path in opened.path.parent.iterdir()}
    for name, content in files.items():
        (opened.path.parent / name).write_bytes(content)
    log = opened.path.with_name("state.db-wal")
    with log.open("ab") as file:
        file.write(random.Random(1).randbytes(5000))
    async with opened.store() as store:
        assert (await store.records.get("k") or b"")[0] == b"v"
