"""The queue as people see and lead it: lists over several lines, and the lines of log."""

from typing import Any

import pytest

from sidecar.core.errors import JobState, UnknownJob
from sidecar.core.ids import Ids
from sidecar.layers.defer.config import QueueConfig
from sidecar.queue.job import Head, encode
from sidecar.queue.line import LineSpec
from sidecar.queue.queue import Queue
from sidecar.store.backlog import Bounds, NewEntry
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from sidecar.telemetry.metrics import Metrics
from tests.kit.clock import ManualClock
from tests.working.working import Pace

HEAD = encode(Head("POST", b"/x", [], b"http://localhost/crm/x", "", "r", "", "", None, False, b"", "asked"))


class Desk:
    """A queue in memory with jobs of three lines, none of which is due."""

    def __init__(self, clock: ManualClock) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.store = MemoryStore(StoreConfig(), clock)
        self.queue = Queue(
            lambda: self.store, clock, lambda: 0.5, Ids(), self._tell, self._tell, lambda _: False, Metrics(),
            lambda count, seconds: Pace(),
        )  # fmt: skip
        spec = LineSpec(QueueConfig(), frozenset(), self._handle, lambda: False, None)
        self.queue.use({"crm": spec, "crm.orders": spec, "llm": spec})

    async def add(self, line: str, count: int) -> None:
        """Append so many jobs."""
        entries = [NewEntry(f"{line}.{number}", "", HEAD, b"", 3600.0) for number in range(count)]
        await self.store.backlog.append(line, entries, Bounds(100, 10**6))

    def _tell(self, level: str, msg: str, **fields: Any) -> None:
        self.told.append((f"{level} {msg}", fields))

    async def _handle(self, _: Any) -> Any:
        raise AssertionError("no job is due")


@pytest.fixture
async def desk(clock: ManualClock) -> Any:
    """A queue at work."""
    made = Desk(clock)
    yield made
    await made.queue.stop(0.0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 200])
async def test_the_pages_of_a_list_lead_through_all_lines(desk: Desk, count: int) -> None:
    """Each job once, however long a page is; with a service, its lines alone."""
    for line in ("crm", "crm.orders", "llm"):
        await desk.add(line, 3)

    async def all_pages(service: str | None) -> list[str]:
        found: list[str] = []
        while page := await desk.queue.jobs(service, None, found[-1] if found else "", count):
            assert len(page) <= count
            found += [job["id"] for job in page]
        return found

    crm = [f"{line}.{number}" for line in ("crm", "crm.orders") for number in (2, 1, 0)]
    assert await all_pages("crm") == crm
    assert await all_pages(None) == [*crm, "llm.2", "llm.1", "llm.0"]


async def test_what_people_do_with_jobs_has_a_line(desk: Desk) -> None:
    """With the service, so that whoever looks for one finds it."""
    await desk.add("crm.orders", 1)
    await desk.queue.cancel("crm.orders.0")
    await desk.queue.retry("crm.orders.0")
    with pytest.raises(JobState):
        await desk.queue.discard("crm.orders.0")
    await desk.queue.cancel("crm.orders.0")
    await desk.queue.discard("crm.orders.0")
    with pytest.raises(UnknownJob):
        await desk.queue.discard("crm.orders.0")
    job = {"service": "crm", "job": "crm.orders.0"}
    assert desk.told == [
        ("info job_moved", {**job, "to": "cancelled"}), ("info job_moved", {**job, "to": "waiting"}),
        ("info job_moved", {**job, "to": "cancelled"}), ("info job_discarded", job),
    ]  # fmt: skip
