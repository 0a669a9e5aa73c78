"""An app that fetches its events: leases, and what ends them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.core.errors import EventState, UnknownEvent
from sidecar.core.ids import Ids
from sidecar.core.secret import SecretRef
from sidecar.core.units import Duration, Size
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from sidecar.telemetry.metrics import Metrics
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.fetching import Fetching
from sidecar.webhooks.incoming import Incoming
from sidecar.webhooks.receiver import HookSpec
from sidecar.webhooks.target import Target
from sidecar.webhooks.verifying import verifier_of
from sidecar.webhooks.webhooks import Webhooks
from tests.kit.clock import ManualClock, settle
from tests.kit.hooks import SECRET, signed
from tests.webhooks.test_receiver import held


class Fetched:
    """A webhook in memory, whose events are fetched."""

    def __init__(self, clock: ManualClock, **config: Any) -> None:
        self.clock = clock
        self.store = MemoryStore(StoreConfig(), clock)
        self.metrics = Metrics()
        self.told: list[str] = []
        self.webhooks = Webhooks(
            lambda: self.store.backlog, clock, lambda: 0.0, Ids(), lambda _, msg, **__: self.told.append(msg),
            self.metrics,
        )  # fmt: skip
        self.fetching = Fetching(self.webhooks, clock, lambda: 0.0, Ids())
        section = WebhookConfig(provider="standard-webhooks", secret=SecretRef("files:x"), **config)
        self.webhooks.use({"crm": HookSpec(section, verifier_of(section), (held(SECRET),), None)}, None)

    async def send(self, *names: str, body: bytes = b"{}") -> None:
        """Have the vendor send events."""
        for name in names:
            headers = [(k.encode(), v.encode()) for k, v in signed(name, body, at=self.clock.wall()).items()]
            receiver = self.webhooks.receiver("crm")
            assert receiver is not None
            assert (await receiver.receive(Incoming("POST", "https://x/crm", headers, body), "r")).status == 200

    async def fetch(self, count: int = 10, wait: float = 0.0, seconds: float = 30.0) -> tuple[Any, list[str]]:
        """Give the lease and the ids without their webhook."""
        found = await self.fetching.fetch("crm", count, wait, seconds)
        return found["lease"], [event["id"].removeprefix("crm.") for event in found["events"]]

    async def tell(self, lease: str, done: str = "", again: str = "", keep: float | None = None) -> dict[str, Any]:
        """Say what became of events."""
        ended, back = ([f"crm.{name}" for name in words.split()] for words in (done, again))
        return await self.fetching.tell("crm", lease, ended, back, keep)

    async def state(self, name: str) -> str:
        """How an event stands."""
        entry = await self.store.backlog.get("webhook/crm", f"crm.{name}")
        return "gone" if entry is None else entry.state


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still."""
    return ManualClock()


@pytest.fixture
async def it(clock: ManualClock) -> AsyncIterator[Fetched]:
    """One whose events have no order."""
    made = Fetched(clock)
    yield made
    await made.webhooks.stop(0)


async def test_what_is_fetched_is_nobody_elses_until_its_lease_ends(it: Fetched) -> None:
    """Two workers share the work; done is done."""
    await it.send("a", "b", "c")
    one, first = await it.fetch(2)
    other, second = await it.fetch(2)
    assert (first, second) == (["a", "b"], ["c"])
    assert (await it.fetch())[1] == []
    assert (await it.tell(one, done="a b"))["done"] == ["crm.a", "crm.b"]
    assert [await it.state(name) for name in "abc"] == ["delivered", "delivered", "running"]
    assert (await it.tell(other, done="a"))["lost"] == ["crm.a"], "it is not this lease's"


async def test_an_event_of_which_nothing_is_heard_is_tried_again_by_the_schedule(
    it: Fetched, clock: ManualClock
) -> None:
    """Its worker died; a word that comes too late changes nothing."""
    await it.send("a")
    late, _ = await it.fetch(seconds=30)
    await clock.advance(29)
    assert await it.state("a") == "running"
    await clock.advance(2)
    assert await it.state("a") == "waiting"
    assert (await it.tell(late, done="a"))["lost"] == ["crm.a"]
    await clock.advance(5)
    lease, names = await it.fetch()
    assert names == ["a"]
    assert (await it.tell(late, done="a"))["lost"] == ["crm.a"], "though it is running: it is another's"
    assert (await it.tell(lease, done="a"))["done"] == ["crm.a"]


async def test_a_lease_that_is_kept_goes_on(it: Fetched, clock: ManualClock) -> None:
    """For as long as its worker says so."""
    await it.send("a", "b")
    lease, _ = await it.fetch(seconds=30)
    await clock.advance(20)
    assert (await it.tell(lease, done="a", keep=60))["kept"] == ["crm.b"]
    await clock.advance(45)
    assert await it.state("b") == "running"
    await clock.advance(20)
    assert await it.state("b") == "waiting"


async def test_what_is_given_back_waits_by_the_schedule_and_dies_of_age(clock: ManualClock) -> None:
    """As if it had been posted and refused."""
    it = Fetched(clock, age_max=Duration(20))
    await it.send("a")
    lease, _ = await it.fetch()
    assert (await it.tell(lease, again="a"))["again"] == ["crm.a"]
    assert (await it.fetch())[1] == []
    await clock.advance(5)
    lease, names = await it.fetch()
    assert names == ["a"]
    await it.tell(lease, again="a")
    assert await it.state("a") == "dead"
    assert it.told[-2:] == ["event_not_delivered", "event_dead"]
    await it.webhooks.stop(0)


async def test_many_that_are_not_taken_are_one_line_and_so_is_their_end(clock: ManualClock) -> None:
    """That it begins, and that it is over; each event that was delivered has its own."""
    it = Fetched(clock)
    await it.send(*"abcd")
    lease, _ = await it.fetch()
    await it.tell(lease, again="a b c d")
    await clock.advance(5)
    lease, _ = await it.fetch()
    await it.tell(lease, done="a b", again="c d")
    told = ["event_not_delivered", "event_delivered", "deliveries_succeed_again", "event_delivered"]
    assert [line for line in it.told if "deliver" in line] == told
    await it.webhooks.stop(0)


async def test_order_holds_while_a_lease_does(clock: ManualClock) -> None:
    """What stands behind a fetched event of its key is not given; others are."""
    it = Fetched(clock, order_by="k")
    await it.send("a1", "a2", body=b'{"k": "a"}')
    await it.send("b1", body=b'{"k": "b"}')
    lease, names = await it.fetch()
    assert names == ["a1", "b1"]
    await it.tell(lease, done="a1")
    assert (await it.fetch())[1] == ["a2"]
    await it.webhooks.stop(0)


async def test_a_fetch_waits_for_the_first_event_and_no_longer_than_it_said(it: Fetched, clock: ManualClock) -> None:
    """An event that comes wakes it; nobody who left holds one."""
    waiting = asyncio.create_task(it.fetch(wait=20))
    await settle()
    await it.send("a")
    assert (await waiting)[1] == ["a"]
    empty = asyncio.create_task(it.fetch(wait=20))
    await clock.advance(19)
    assert not empty.done()
    await clock.advance(2)
    assert await empty == (None, [])
    gone = asyncio.create_task(it.fetch(wait=20))
    await settle()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await it.send("b")
    assert (await it.fetch())[1] == ["b"]


async def test_large_bodies_make_an_answer_of_fewer_events(clock: ManualClock) -> None:
    """So much is in memory at once, and no more."""
    it = Fetched(clock, body_max=Size(32 * 2**20))
    await it.send("a", "b", "c")
    assert (await it.fetch())[1] == ["a", "b"]
    await it.webhooks.stop(0)


async def test_what_is_delivered_is_not_fetched_and_what_is_not_there_is_said(clock: ManualClock) -> None:
    """With the names that are."""
    it = Fetched(clock, deliver_to=Target("http://127.0.0.1:1/x"))
    with pytest.raises(EventState, match="take deliver_to away"):
        await it.fetch()
    with pytest.raises(UnknownEvent, match="known are: crm"):
        await it.fetching.fetch("nobody", 1, 0, 1)
    await it.webhooks.stop(0)
