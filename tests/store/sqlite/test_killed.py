"""A process that is killed while it writes: what was acknowledged is there afterwards."""

import random
from collections.abc import Callable
from typing import Any

from tests.store.sqlite.conftest import Opened

ROUNDS = 30
LINES_MAX = 400  # Acknowledged in a round before the kill, at most: enough for the log to be brought into the file.


async def test_what_was_acknowledged_is_there_after_thirty_kills(opened: Opened, child: Callable[..., Any]) -> None:
    """From before the file was there to many commits later; every put that was answered is read."""
    chance = random.Random(20260101)
    acknowledged: list[str] = []
    for number in range(ROUNDS):
        process = await child("put", opened.path, number)
        wanted = 0 if number % 6 == 0 else chance.randrange(1, LINES_MAX)
        assert await process.stdout.readline() == b"opening\n"
        lines = [await process.stdout.readline() for _ in range(wanted)]
        process.kill()
        rest, errors = await process.communicate()
        acknowledged += [line.removeprefix("put ") for line in (b"".join(lines) + rest).decode().splitlines()]
        assert not errors
        assert process.returncode == -9
    async with opened.store() as store:
        assert len(acknowledged) > LINES_MAX
        for key in acknowledged:
            record = await store.records.get(key)
            assert record is not None, f"{key} is lost"
            assert record.value in {key.encode(), key.encode() * 1000}
    assert not opened.lines


async def test_a_killed_process_leaves_the_lock_to_the_next(opened: Opened, child: Callable[..., Any]) -> None:
    """Nobody has to take a lock away by hand."""
    process = await child("put", opened.path, "x")
    assert await process.stdout.readline() == b"opening\n"
    assert (await process.stdout.readline()).startswith(b"put ")
    process.kill()
    await process.communicate()
    async with opened.store() as store:
        assert store.is_up
        assert await store.records.get("x.0.0") is not None or await store.records.get("x.1.0") is not None
