"""The backlog in memory: what only this one can do wrong."""

from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from tests.kit.clock import ManualClock


async def test_asking_for_lines_that_never_were_leaves_nothing_in_memory(clock: ManualClock) -> None:
    """The app names the line of a job that it asks for: whoever asks for ten thousand gets nothing but the answer."""
    backlog = MemoryStore(StoreConfig(), clock).backlog
    for n in range(100):
        assert await backlog.get(f"line{n}", f"line{n}.x") is None
        assert not await backlog.move(f"line{n}", f"line{n}.x", ("waiting",), "cancelled")
        assert await backlog.find(f"line{n}", None, "", 10) == []
    assert backlog._lines == {}
