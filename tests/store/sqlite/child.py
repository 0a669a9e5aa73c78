"""A process with a store of its own, for tests that kill it or take its room: `child.py put|full|readonly <path>`.

It prints one line for each thing that happened, as soon as it happened.
"""

import asyncio
import os
import resource
import sys
from pathlib import Path
from typing import Any

from sidecar.core.clock import SystemClock
from sidecar.core.units import Size
from sidecar.store.base import StoreFailed
from sidecar.store.config import StoreConfig
from sidecar.store.sqlite.store import SqliteStore

LIFE = 1e6
AT_ONCE = 8
NOBODY = 65534


def say(*words: object) -> None:
    """Print at once, in one write."""
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


def store_at(path: str) -> SqliteStore:
    """Make the store; its lines are printed."""

    def tell(level: str, msg: str, **fields: Any) -> None:
        del level
        say("line", msg, fields.get("error", ""))

    return SqliteStore(StoreConfig(kind="sqlite", bytes_max=Size(2**28)), path, SystemClock(), tell)


async def put(path: str, mark: str) -> None:
    """Put records without end, and say each that was acknowledged."""
    store = store_at(path)
    say("opening")
    await store.open()

    async def putter(number: int) -> None:
        for turn in range(10**9):
            key = f"{mark}.{number}.{turn}"
            value = key.encode() * (1 if turn % 7 else 1000)
            await store.records.put(key, value, LIFE)
            say("put", key)

    await asyncio.gather(*map(putter, range(AT_ONCE)))


async def ask_at_once(store: SqliteStore, count: int) -> list[str]:
    """Put many at once, each of its own name, and give what failed of them."""
    puts = [store.records.put(f"many-{number}", b"x" * 20_000, LIFE) for number in range(count)]
    return [str(one) for one in await asyncio.gather(*puts, return_exceptions=True) if isinstance(one, StoreFailed)]


async def full(path: str) -> None:
    """Run out of disk, and get room again."""
    store = store_at(path)
    await store.open()
    await store.records.put("before", b"there", LIFE)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    failed = await ask_at_once(store, 50)
    say("failed", len(failed), len(set(failed)))
    say(failed[0])
    say("up", store.is_up)
    there = [await store.records.get(f"many-{number}") for number in range(50)]
    say("half", sum(record is not None for record in there))
    found = await store.records.get("before")
    say("before", found.value.decode() if found is not None else None)
    say("deleted", await store.records.delete("before"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    say("again", len(await ask_at_once(store, 50)))
    await store._see()
    await store.close()


async def readonly(path: str) -> None:
    """Open it as somebody who may not write there."""
    await asyncio.to_thread(say, "ready")  # All that is imported late is: nobody may read root's folders.
    if os.getuid() == 0:
        os.setuid(NOBODY)
    try:
        await store_at(path).open()
    except StoreFailed as error:
        say(error)


if __name__ == "__main__":
    command, where = sys.argv[1], str(Path(sys.argv[2]))
    if command == "put":
        asyncio.run(put(where, sys.argv[3]))
    elif command == "full":
        asyncio.run(full(where))
    else:
        asyncio.run(readonly(where))
