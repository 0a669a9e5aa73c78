"""A store in a file, and what to ask of it."""

import asyncio
import os
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.units import Size
from sidecar.store.config import StoreConfig
from sidecar.store.sqlite.store import SqliteStore
from tests.kit.clock import ManualClock, settle

ROOT = Path(__file__).parents[3]

Line = dict[str, Any]


class Opened:
    """Makes stores on one file, one after the other; `lines` is what they told."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.path = path
        self.clock = clock
        self.lines: list[Line] = []

    def tell(self, level: str, msg: str, **fields: Any) -> None:
        """Keep a line."""
        self.lines.append({"level": level, "msg": msg, **fields})

    @asynccontextmanager
    async def store(self, bytes_max: int = 2**28, clock: ManualClock | None = None) -> AsyncIterator[SqliteStore]:
        """Open it, and close it when the block is left."""
        config = StoreConfig(kind="sqlite", bytes_max=Size(bytes_max))
        store = SqliteStore(config, str(self.path), clock or self.clock, self.tell)
        await store.open()
        await settle(2)
        await store._file.run(lambda _: None)  # What it writes at its start is behind it.
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture
def opened(tmp_path: Path, clock: ManualClock) -> Opened:
    """Make stores on a file of the test's."""
    return Opened(tmp_path / "state.db", clock)


@asynccontextmanager
async def busy(store: SqliteStore) -> AsyncIterator[None]:
    """Keep the writer busy in the block: what is asked in it comes into one group."""
    is_begun, may_end = threading.Event(), threading.Event()

    def work(_: object) -> None:
        is_begun.set()
        may_end.wait()

    task = asyncio.create_task(store._file.run(work))
    await asyncio.to_thread(is_begun.wait)
    try:
        yield
        await settle()  # Whoever was to ask has asked.
    finally:
        may_end.set()
        await task


@pytest.fixture
def child() -> Callable[..., Any]:
    """Start `child.py`."""

    async def start(*arguments: object) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("child.py")), *map(str, arguments),
            stdout=PIPE, stderr=PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    return start
