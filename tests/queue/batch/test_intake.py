"""The intake of a batch: all of it is stored and accepted, or nothing of it is left, whatever goes wrong when."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sidecar.core.errors import BadRequest, QueueFull, SidecarError, StoreUnavailable
from sidecar.core.tasks import Tasks
from sidecar.layers.defer.config import QueueConfig
from sidecar.queue.batch.intake import BYTES_AT_ONCE, ITEMS_AT_ONCE, Intake
from sidecar.queue.batch.progress import state_of
from sidecar.queue.batch.register import Register
from sidecar.queue.job import ENDED, STATES, batch_of, is_batch, item_name, line_of, service_of
from sidecar.store.backlog import NewEntry
from sidecar.store.base import StoreDown
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from tests.kit.clock import ManualClock

LINE = "crm.~items"
BATCH = f"{LINE}.b1"


class Failing:
    """A store that is away at one question, by its number."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner
        self.asked = 0
        self.fails_at = 0
        self.appends: list[int] = []

    @property
    def backlog(self) -> Any:
        """The backlog."""
        return _Asked(self, self._inner.backlog)

    @property
    def records(self) -> Any:
        """The records."""
        return _Asked(self, self._inner.records)


class _Asked:
    def __init__(self, store: Failing, inner: Any) -> None:
        self._store = store
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        async def ask(*words: Any, **more: Any) -> Any:
            self._store.asked += 1
            if self._store.asked == self._store.fails_at:
                raise StoreDown("the store is away")
            if name == "append":
                self._store.appends.append(len(words[1]))
            return await getattr(self._inner, name)(*words, **more)

        return ask


class Taken:
    """An intake over a store in memory."""

    def __init__(self, clock: ManualClock, **config: Any) -> None:
        self.memory = MemoryStore(StoreConfig(), clock)
        self.store = Failing(self.memory)
        place: Any = lambda: self.store  # noqa: E731
        self.register = Register(place, clock)
        self.tasks = Tasks()
        self.intake = Intake(BATCH, QueueConfig(**config), place, self.register, self.tasks, clock)

    async def take(self, count: int, size: int = 1, error: SidecarError | None = None) -> None:
        """Take so many items in; then the app's side fails."""

        async def entries() -> AsyncIterator[NewEntry]:
            for index in range(count):
                yield NewEntry(item_name(BATCH, index), "", b"", b"x" * size)
            if error is not None:
                raise error

        await self.intake.take(entries())

    async def left(self) -> int:
        """Count the items in the store."""
        return sum((await self.memory.backlog.tally(LINE)).states.values())


async def test_a_batch_is_stored_some_items_at_a_time(clock: ManualClock) -> None:
    """By number and by bytes, so that no more than that is in hand."""
    taken = Taken(clock)
    await taken.take(2 * ITEMS_AT_ONCE + 1)
    assert taken.store.appends == [ITEMS_AT_ONCE, ITEMS_AT_ONCE, 1]
    record = await taken.register.find(BATCH)
    assert record is not None
    assert (record.count, record.service) == (2 * ITEMS_AT_ONCE + 1, "crm")
    large = Taken(clock)
    await large.take(5, BYTES_AT_ONCE // 2)
    assert large.store.appends == [2, 2, 1]
    huge = Taken(clock)
    await huge.take(2, BYTES_AT_ONCE + 1)
    assert huge.store.appends == [1, 1]
    await clock.advance(1000)
    assert not len(taken.tasks), "nobody keeps it open any more"


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
async def test_a_store_that_goes_away_accepts_nothing(clock: ManualClock, fails_at: int) -> None:
    """At the opening, at each append, at the acceptance: 503, and nothing of it is left."""
    taken = Taken(clock)
    taken.store.fails_at = fails_at
    with pytest.raises(StoreUnavailable) as caught:
        await taken.take(ITEMS_AT_ONCE + 1)
    assert caught.value.retry_after
    assert await taken.left() == 0
    assert await taken.register.standing(BATCH) == "unknown"


async def test_a_full_line_accepts_nothing(clock: ManualClock) -> None:
    """Though the first items went in."""
    taken = Taken(clock, length_max=ITEMS_AT_ONCE)
    with pytest.raises(QueueFull, match="length_max"):
        await taken.take(ITEMS_AT_ONCE + 1)
    assert await taken.left() == 0
    assert await taken.register.standing(BATCH) == "unknown"


async def test_what_the_app_s_side_failed_with_is_told_as_it_is(clock: ManualClock) -> None:
    """Nothing is left then, either."""
    taken = Taken(clock)
    with pytest.raises(BadRequest, match="broke off"):
        await taken.take(ITEMS_AT_ONCE + 1, error=BadRequest("the body broke off"))
    assert await taken.left() == 0


@given(some.dictionaries(some.sampled_from([*STATES, "discarded"]), some.integers(0, 3)))
def test_a_batch_has_ended_when_all_of_its_items_have(counts: dict[str, int]) -> None:
    """And it succeeded only if all did."""
    there = {state for state, count in counts.items() if count}
    state = state_of(counts)
    assert (state in ENDED) == (there <= {*ENDED, "discarded"})
    assert (state == "succeeded") == (there <= {"succeeded"})
    assert (state == "waiting") == (there == {"waiting"})


@given(some.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), some.integers(0, 10**6))
def test_an_id_leads_to_its_line_and_batch(service: str, index: int) -> None:
    """Whatever the service is called."""
    batch = f"{service}.~items.0af3"
    item = item_name(batch, index)
    assert is_batch(batch)
    assert not is_batch(item)
    assert not is_batch(f"{service}.0af3")
    assert (batch_of(item), line_of(item), line_of(batch)) == (batch, f"{service}.~items", f"{service}.~items")
    assert service_of(line_of(item)) == service
