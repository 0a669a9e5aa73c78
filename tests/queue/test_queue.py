"""The queue: what becomes of its lines over reloads, of results that cannot be left, and of what has ended."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.core.body import Body
from sidecar.core.call import Call, Reply
from sidecar.core.errors import ConnectFailed
from sidecar.core.ids import Ids
from sidecar.core.secret import SecretRef
from sidecar.core.units import Duration
from sidecar.layers.defer.config import QueueConfig
from sidecar.queue.callback import CALLBACKS
from sidecar.queue.job import DEAD, Head, encode
from sidecar.queue.line import LineSpec
from sidecar.queue.queue import Queue
from sidecar.queue.turn import Turns
from sidecar.store.backlog import Bounds, Entry, NewEntry, Settlement
from sidecar.store.base import StoreDown, StoreFull
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from sidecar.telemetry.metrics import Metrics
from sidecar.working.clearing import PURGED_MAX
from tests.kit.clock import ManualClock
from tests.layers.calls import call_for
from tests.working.working import Pace

ROOM = Bounds(10**6, 10**9)
PLAIN = QueueConfig()
TOLD = QueueConfig(callback="http://127.0.0.1:1/jobs", callback_secret=SecretRef.parse("files:jobs"))


class Vendor:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.seen = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.status = 200

    async def __call__(self, _: Call) -> Reply:
        """Take a call."""
        self.seen += 1
        await self.may_answer.wait()
        return Reply(self.status, b"OK", [], Body.of(b"done"))


class Pod:
    """A queue over a store in memory, and its vendor."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.store = MemoryStore(StoreConfig(), clock)
        self.backlog = self.store.backlog
        self.vendor = Vendor()
        self.told: list[str] = []
        self.queue = Queue(
            lambda: self.store, clock, lambda: 0.5, Ids(), lambda level, msg, **_: self.told.append(msg),
            lambda *_, **__: self.told.append("fault"), lambda _: False, Metrics(), lambda *_: Pace(),
        )  # fmt: skip

    def use(self, **configs: QueueConfig) -> None:
        """Load a generation with these lines."""
        spec = {
            name: LineSpec(config, frozenset({503}), self.vendor, lambda: False, None)
            for name, config in configs.items()
        }
        self.queue.use(spec)

    async def submit(self, line: str = "crm", config: QueueConfig = PLAIN) -> str:
        """Have a call made later, and give its job."""
        reply = await self.queue.submit(line, config, call_for(), b"", "asked", None)
        name: str = json.loads(reply.body.take_all() or b"")["id"]
        return name

    async def state(self, name: str) -> Any:
        """How a job stands."""
        return (await self.queue.job(name))["state"]


@pytest.fixture
async def pod(clock: ManualClock) -> AsyncIterator[Pod]:
    """A pod whose queue has no line yet."""
    made = Pod(clock)
    yield made
    made.vendor.may_answer.set()
    await made.queue.stop(0.0)


async def results(pod: Pod, line: str = "crm") -> list[str]:
    """The states of jobs in the results that were left for the app, the newest first."""
    entries = [await pod.backlog.get(line + CALLBACKS, each.id) for each in await pod.backlog.find(
        line + CALLBACKS, None, "", 100
    )]  # fmt: skip
    return [json.loads(entry.body)["state"] for entry in entries if entry is not None]


@pytest.mark.parametrize(("before", "after"), [(PLAIN, TOLD), (TOLD, PLAIN), (PLAIN, None)])
async def test_a_reload_cuts_no_turn_off(pod: Pod, before: QueueConfig, after: QueueConfig | None) -> None:
    """Its call may have been sent: whoever makes it again may do it twice."""
    pod.use(crm=before)
    pod.vendor.may_answer.clear()
    name = await pod.submit(config=before)
    await pod.clock.advance(0.0)
    pod.use(**({} if after is None else {"crm": after}))
    await pod.clock.advance(1.0)
    assert await pod.state(name) == "running"
    pod.vendor.may_answer.set()
    await pod.clock.advance(1.0)
    assert (await pod.state(name), pod.vendor.seen) == ("succeeded", 1)


async def test_a_stop_gives_back_what_runs_in_a_line_that_is_gone(pod: Pod) -> None:
    """Nothing of it goes on over a store that is closed."""
    pod.use(crm=PLAIN)
    pod.vendor.may_answer.clear()
    name = await pod.submit()
    await pod.clock.advance(0.0)
    pod.use()
    stopping = asyncio.create_task(pod.queue.stop(1.0))
    await pod.clock.advance(2.0)
    await stopping
    assert await pod.state(name) == "waiting"
    assert [task.get_name() for task in asyncio.all_tasks() if "job" in task.get_name()] == []


async def test_callbacks_that_a_reload_brings_are_made(pod: Pod) -> None:
    """From the next result on."""
    pod.use(crm=PLAIN)
    await pod.clock.advance(0.0)
    pod.use(crm=TOLD)
    await pod.submit()
    await pod.clock.advance(0.0)
    assert await results(pod) == ["succeeded"]


@pytest.mark.parametrize("problem", [StoreFull("no room"), StoreDown("away")])
async def test_a_result_that_cannot_be_left_has_no_job_done_again(
    pod: Pod, problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app that takes no results, or a store that is away at this moment, is no reason to ask the vendor again."""
    append, left = pod.backlog.append, 3

    async def failing(line: str, *said: Any) -> Any:
        nonlocal left
        if line.endswith(CALLBACKS) and left:
            left -= 1
            raise problem
        return await append(line, *said)

    monkeypatch.setattr(pod.backlog, "append", failing)
    pod.use(crm=TOLD)
    name = await pod.submit(config=TOLD)
    await pod.clock.advance(60.0)
    assert (await pod.state(name), pod.vendor.seen) == ("succeeded", 1)
    assert pod.told.count("job_succeeded") == 1
    assert ("job_result_not_left" in pod.told) == isinstance(problem, StoreFull)
    assert "fault" not in pod.told


async def test_a_job_that_people_retry_has_another_result(pod: Pod) -> None:
    """The app hears that it went well after it heard that it had not."""
    pod.use(crm=TOLD)
    pod.vendor.status = 400
    name = await pod.submit(config=TOLD)
    await pod.clock.advance(0.0)
    pod.vendor.status = 200
    await pod.queue.retry(name)
    await pod.clock.advance(0.0)
    assert await results(pod) == ["succeeded", "failed"]


async def test_a_result_that_the_app_never_takes_is_told(pod: Pod) -> None:
    """Nobody else would say so."""
    config = QueueConfig(callback=TOLD.callback, callback_secret=TOLD.callback_secret, age_max=Duration(0))
    pod.use(crm=config)
    await pod.submit(config=config)
    await pod.clock.advance(10.0)
    assert "job_result_not_taken" in pod.told


async def test_what_ended_long_ago_goes_however_much_it_is(pod: Pod) -> None:
    """More may end between two looks than one step takes away."""
    line, count = "crm", 3 * PURGED_MAX + 1
    for start in range(0, count, 500):
        names = [f"crm.{n}" for n in range(start, min(start + 500, count))]
        await pod.backlog.append(line, [NewEntry(name, "", b"head") for name in names], ROOM)
    for entry in await pod.backlog.claim(line, "x", count, 1.0):
        await pod.backlog.settle(line, entry.id, "x", Settlement("succeeded"))
    await pod.clock.advance(float(PLAIN.keep_for) + 1)
    pod.use(crm=PLAIN)
    await pod.clock.advance(1.0)
    assert (await pod.backlog.tally(line)).states.get("succeeded", 0) == 0


async def test_pages_go_on_from_line_to_line(pod: Pod) -> None:
    """Whoever turns the pages sees each job once."""
    pod.vendor.may_answer.clear()
    pod.use(a=PLAIN, b=PLAIN, c=PLAIN)
    made = [await pod.submit(line) for line in "aaabbcc"]
    seen: list[str] = []
    while page := await pod.queue.jobs(None, None, seen[-1] if seen else "", 2):
        seen += [job["id"] for job in page]
        assert len(seen) <= len(made)
    assert sorted(seen) == sorted(made)


async def test_a_job_that_cannot_be_read_is_shown_and_hides_no_other(pod: Pod) -> None:
    """Another version wrote it, or it is damaged: people see which, and discard it."""
    pod.use(crm=PLAIN)
    name = await pod.submit()
    await pod.backlog.append("crm", [NewEntry("crm.odd", "", b"\x91\xa2\xff\xfe")], ROOM)
    pod.queue.wake("crm")
    await pod.clock.advance(1.0)
    jobs = {job["id"]: job for job in await pod.queue.jobs(None, None, "", 10)}
    assert (jobs[name]["state"], jobs["crm.odd"]["state"]) == ("succeeded", DEAD)
    assert "cannot be read" in jobs["crm.odd"]["error"]
    await pod.queue.discard("crm.odd")


async def test_a_line_with_nothing_to_do_is_counted_seldom(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that many pods share is not asked for each line of each of them every five seconds."""
    asked: list[str] = []
    tally = pod.backlog.tally

    async def counted(line: str) -> Any:
        asked.append(line)
        return await tally(line)

    monkeypatch.setattr(pod.backlog, "tally", counted)
    pod.use(crm=PLAIN)
    await pod.clock.advance(601.0)
    assert 15 < len(asked) < 30
    pod.vendor.may_answer.clear()
    await pod.submit()
    before = len(asked)
    await pod.clock.advance(60.0)
    assert len(asked) - before >= 11, "while it has something to do, every five seconds"


async def test_an_error_that_holds_a_secret_is_neither_stored_nor_told(clock: ManualClock) -> None:
    """Only its code is."""

    async def refuse(_: Call) -> Reply:
        raise ConnectFailed("the proxy said: who is canary-in-a-coal-mine")

    turns = Turns(
        "crm", PLAIN, frozenset({503}), refuse, lambda: False, clock, lambda: 0.5, lambda *_, **__: None,
        lambda raw: b"canary" in raw,
    )  # fmt: skip
    head = Head("GET", b"/x", [], b"", "", "r", "t", "00", None, False, b"", "asked")
    entry = Entry("crm.1", "", "running", encode(head), b"", b"", 1, clock.wall(), None, None)
    ended = await turns.run(entry, 0.0)
    assert ended.verdict.error == "connect_failed"
    assert ended.settlement.head is not None
    assert b"canary" not in ended.settlement.head
