"""An item's turn: made once its batch is accepted, put off while that is open, put away if it never was."""

import asyncio
from collections.abc import Callable

import pytest

from sidecar.queue.batch.item_turns import OPEN_WAIT_MAX, STORE_WAIT, ItemTurns
from sidecar.queue.batch.register import KNOWN_MAX, OPEN_LIFE, RENEW_EVERY, Register
from sidecar.queue.job import Head, encode, head_of
from sidecar.store.backlog import RUNNING, WAITING, Entry
from sidecar.store.base import Store, StoreDown
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from sidecar.working.verdict import Ended
from tests.kit.clock import ManualClock, settle
from tests.working.working import DONE

BATCH = "crm.~items.b1"
LIFE = 1000.0


class Inner:
    """The turns of jobs; remembers what it was given."""

    concurrency = 3

    def __init__(self) -> None:
        self.heads: list[Head] = []

    def is_busy(self) -> bool:
        """Say no."""
        return False

    async def run(self, entry: Entry, age: float) -> Ended:  # noqa: ARG002 - as the protocol has it
        """Make a turn."""
        self.heads.append(head_of(entry))
        return DONE


class Items:
    """Item turns over a store in memory that may go away."""

    def __init__(self, clock: ManualClock) -> None:
        self.store = MemoryStore(StoreConfig(), clock)
        self.is_away = False
        self.inner = Inner()
        self.register = Register(self._place, clock)
        self.turns = ItemTurns(self.inner, LIFE, self.register)

    def _place(self) -> Store:
        if self.is_away:
            raise StoreDown("the store is away")
        return self.store

    async def turn(self, *, attempts: int = 1, age: float = 1.0, method: str = "GET", error: str = "") -> Ended:
        """Have an item's turn."""
        head = Head(method, b"/x", [], b"", "", "r", "t", "00", None, False, b"", "batch", error)
        entry = Entry(f"{BATCH}-7", "", RUNNING, encode(head), b"body", b"", attempts, 0.0, None, None)
        return await self.turns.run(entry, age)


@pytest.fixture
def items(clock: ManualClock) -> Items:
    """Item turns."""
    return Items(clock)


async def test_an_item_of_an_accepted_batch_is_made(items: Items) -> None:
    """And remembers that it may be, for when the batch is not on record any more."""
    opening = await items.register.open(BATCH, "crm")
    await opening.accept(10, LIFE)
    assert await items.turn() is DONE
    assert [head.is_accepted for head in items.inner.heads] == [True]
    assert items.turns.concurrency == 3


async def test_an_item_waits_while_its_batch_is_open(items: Items) -> None:
    """Longer each time, for the app may take long to send the rest."""
    await items.register.open(BATCH, "crm")
    waits = []
    for attempts in range(1, 8):
        ended = await items.turn(attempts=attempts)
        assert (ended.settlement.state, ended.verdict.event) == (WAITING, "put_off")
        waits.append(ended.settlement.delay)
    assert waits == [1, 2, 4, 8, OPEN_WAIT_MAX, OPEN_WAIT_MAX, OPEN_WAIT_MAX]
    assert items.inner.heads == []


async def test_an_item_without_a_batch_is_put_away(items: Items, clock: ManualClock) -> None:
    """Never made: nobody was told that it would be."""
    await items.register.open(BATCH, "crm")
    await clock.advance(OPEN_LIFE + 1)
    ended = await items.turn()
    assert (ended.settlement.state, ended.verdict.event) == ("cancelled", "unaccepted")
    assert ended.settlement.frees_body
    assert items.inner.heads == []


async def test_an_item_that_is_older_than_the_record_waits_for_people(items: Items) -> None:
    """Its batch may have been accepted, so it is kept; and when they want it made, it is."""
    ended = await items.turn(age=LIFE)
    assert (ended.settlement.state, ended.verdict.event) == ("dead", "given_up")
    assert not ended.settlement.frees_body
    again = Entry(f"{BATCH}-7", "", RUNNING, ended.settlement.head or b"", b"body", b"", 2, 0.0, None, None)
    assert await items.turns.run(again, LIFE) is DONE


async def test_a_line_that_was_no_item_fails_without_a_call(items: Items) -> None:
    """But only once its batch is accepted, as all others."""
    opening = await items.register.open(BATCH, "crm")
    assert (await items.turn(method="", error="bad_request: x")).settlement.state == WAITING
    await opening.accept(10, LIFE)
    ended = await items.turn(method="", error="bad_request: x")
    assert (ended.settlement.state, ended.verdict.error) == ("failed", "bad_request: x")
    assert items.inner.heads == []


async def test_a_store_that_is_away_puts_items_off(items: Items) -> None:
    """Nothing is known of their batch, so nothing is made and nothing put away."""
    items.is_away = True
    ended = await items.turn()
    assert (ended.settlement.state, ended.settlement.delay) == (WAITING, STORE_WAIT)


async def test_a_batch_that_takes_long_stays_open(items: Items, clock: ManualClock) -> None:
    """Its process says so, also over a failure of the store."""
    opening = await items.register.open(BATCH, "crm")
    keeping = asyncio.ensure_future(opening.keep())
    await settle()
    for n in range(40):
        items.is_away = n % 3 == 0
        await clock.advance(RENEW_EVERY)
    items.is_away = False
    assert await items.register.standing(BATCH) == "open"
    assert await items.register.find(BATCH) is None, "nobody can ask about it yet"
    keeping.cancel()
    record = await opening.accept(3, LIFE)
    assert (record.count, await items.register.find(BATCH)) == (3, record)


@pytest.mark.parametrize("how", ["accept", "keep"])
async def test_a_batch_that_was_given_up_cannot_be_accepted(items: Items, clock: ManualClock, how: str) -> None:
    """Some of its items may have been put away meanwhile, so all of it must be."""
    opening = await items.register.open(BATCH, "crm")
    await clock.advance(OPEN_LIFE + 1)
    if how == "keep":
        keeping = asyncio.ensure_future(opening.keep())
        await settle()
        await clock.advance(RENEW_EVERY)
        keeping.cancel()
    with pytest.raises(StoreDown, match="away for too long"):
        await opening.accept(3, LIFE)
    assert await items.register.standing(BATCH) == "unknown"


async def test_what_was_accepted_is_asked_for_once(items: Items) -> None:
    """Each of ten thousand items asks."""
    opening = await items.register.open(BATCH, "crm")
    await opening.accept(10, LIFE)
    assert await items.register.standing(BATCH) == "accepted"
    items.is_away = True
    assert await items.register.standing(BATCH) == "accepted"
    items.is_away = False
    await known(items.register, lambda n: f"crm.~items.{n}")
    items.is_away = True
    with pytest.raises(StoreDown):
        await items.register.standing(BATCH)


async def known(register: Register, name: Callable[[int], str]) -> None:
    """Have as many other batches asked about as are remembered."""
    for n in range(KNOWN_MAX):
        opening = await register.open(name(n), "crm")
        await opening.accept(1, LIFE)
        assert await register.standing(name(n)) == "accepted"
