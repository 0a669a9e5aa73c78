"""An app that is away for an hour, vendors that send again days later: the receiver, the line and the worker, by hand.

Only the last step to the app is not the real one: it is told what it says, and no socket has a clock of ours.
"""

import itertools
import json
from collections import Counter, defaultdict
from typing import Any

import pytest

from sidecar.core.ids import Ids
from sidecar.core.secret import SecretRef
from sidecar.core.units import Duration, Rate
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from sidecar.telemetry.metrics import Metrics
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.incoming import Incoming
from sidecar.webhooks.receiver import HookSpec
from sidecar.webhooks.taker import Said
from sidecar.webhooks.target import Target
from sidecar.webhooks.verifying import verifier_of
from sidecar.webhooks.webhooks import Webhooks
from tests.kit.clock import ManualClock
from tests.kit.hooks import SECRET, signed
from tests.webhooks.test_receiver import held

HOUR, DAY = 3600.0, 86400.0
EVENTS, KEYS = 600, 36
RATE = 50
TAKES = 0.1  # Seconds, for the app to answer.


class Steady:
    """A pace by the clock of the test: so many begin in each second, evenly."""

    def __init__(self, clock: ManualClock, rate: float, seconds: float) -> None:
        self._clock = clock
        self._step = seconds / rate
        self._next = 0.0

    async def acquire(self, amount: float = 1) -> None:
        """Wait for one's turn."""
        now = self._clock.now()
        at = max(now, self._next)
        self._next = at + amount * self._step
        await self._clock.sleep(at - now)


class App:
    """What the app says, and what it got, with the time."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.is_away = False
        self.says: dict[str, list[Said]] = {}  # By event, one after the other; then it takes it.
        self.refuses: set[str] = set()  # These always.
        self.hangs_next = False  # The next one it gets it never answers to,
        self.slow: set[str] = set()  # nor to these.
        self.asked: list[tuple[float, str, int]] = []
        self.taken: list[tuple[float, str, bytes]] = []
        self.under_way = self.under_way_max = 0

    async def post(self, _: Target, headers: Any, body: bytes, seconds: float, answer_max: int) -> Said:
        """Take one, within its time and bytes."""
        assert answer_max > 0
        fields = dict(headers)
        name, attempt = fields[b"Sidecar-Event-Id"].decode().partition(".")[2], int(fields[b"Sidecar-Event-Attempt"])
        if self.is_away:
            return Said(0, error="the app was not reached", was_sent=False)
        self.asked.append((self._clock.now(), name, attempt))
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        await self._clock.sleep(TAKES)
        self.under_way -= 1
        if self.hangs_next:
            self.hangs_next = False
            self.slow.add(name)
        if name in self.slow:
            await self._clock.sleep(seconds)
            return Said(0, error="the app did not answer")
        if name in self.refuses:
            return Said(500, error="the app answered 500")
        if self.says.get(name):
            return self.says[name].pop(0)
        self.taken.append((self._clock.now(), name, body))
        return Said(204)

    async def close(self) -> None:
        """Nothing is open."""

    def times(self, name: str) -> list[float]:
        """When it was asked to take an event."""
        return [at for at, one, _ in self.asked if one == name]


class Delivering:
    """A webhook in memory, at work."""

    def __init__(self, clock: ManualClock, chance: float = 0.0, **config: Any) -> None:
        self.clock = clock
        self.store = MemoryStore(StoreConfig(), clock)
        self.metrics = Metrics()
        self.told: list[dict[str, Any]] = []
        self.app = App(clock)
        self.webhooks = Webhooks(
            lambda: self.store.backlog, clock, lambda: chance, Ids(), self._tell, self.metrics,
            lambda rate, seconds: Steady(clock, rate, seconds),
        )  # fmt: skip
        self.webhooks._taker = self.app  # type: ignore[assignment] # it is asked to post and to close
        section = WebhookConfig(
            provider="standard-webhooks", secret=SecretRef("files:x"), deliver_to=Target("http://127.0.0.1:1/hooks"),
            **config,
        )  # fmt: skip
        self.webhooks.use({"crm": HookSpec(section, verifier_of(section), (held(SECRET),), None)}, None)

    async def send(self, name: str, body: bytes = b"{}") -> int:
        """Have the vendor send an event now, and give the status."""
        headers = [(k.encode(), v.encode()) for k, v in signed(name, body, at=self.clock.wall()).items()]
        receiver = self.webhooks.receiver("crm")
        assert receiver is not None
        return (await receiver.receive(Incoming("POST", "https://x/crm", headers, body), "r")).status

    async def pass_time(self, seconds: float) -> None:
        """Let time go by, at once where nothing is due."""
        until = self.clock.now() + seconds
        while (left := until - self.clock.now()) > 0:
            due = await self.store.backlog.next_due("webhook/crm")
            if due is None or due > 2:
                await self.clock.leap(min(left, HOUR, 5.0 if due is None else due - 1.5))
            else:
                await self.clock.advance(min(left, 1.0))

    async def state(self, name: str) -> str:
        """How an event stands."""
        entry = await self.store.backlog.get("webhook/crm", f"crm.{name}")
        return "gone" if entry is None else entry.state

    def lines(self, msg: str) -> list[dict[str, Any]]:
        """What was told under one word."""
        return [line for line in self.told if line["msg"] == msg]

    def _tell(self, level: str, msg: str, **fields: Any) -> None:
        self.told.append({"level": level, "msg": msg, **fields})


async def test_an_hour_without_the_app_loses_nothing_and_ends_in_no_stampede(clock: ManualClock) -> None:
    """All are delivered, each once, in order per key, at the pace, however many wait; the log is not full of it.

    Some are refused at first, and hold up their own keys alone.
    """
    it = Delivering(clock, rate=Rate.parse(f"{RATE}/s"), order_by="key", concurrency=8)
    it.app.is_away = True
    sent: dict[str, list[str]] = defaultdict(list)
    for number in range(EVENTS):
        key = f"k{number % KEYS}" if number % 5 else ""
        body = json.dumps({"key": key, "n": number} if key else {"n": number}).encode()
        assert await it.send(f"e{number}", body) == 200
        sent[key].append(f"e{number}")
        await clock.advance(HOUR / EVENTS)
    assert it.app.asked == []
    it.app.is_away = False
    refused = {name: [Said(503)] * 2 for name in ("e37", "e5")} | {"e111": [Said(503, retry_after=60.0)]}
    it.app.says = {name: list(said) for name, said in refused.items()}
    back_at = clock.now()
    await clock.advance(EVENTS / RATE + 2)
    held_up = {name for key, names in sent.items() if key and set(names) & refused.keys() for name in names}
    early = {name for _, name, _ in it.app.taken}
    assert {name for key, names in sent.items() if not key or not set(names) & refused.keys() for name in names} <= (
        early | refused.keys()
    )
    assert held_up - early, "those behind a refused one wait for it"
    await clock.advance(60.0)
    assert Counter(name for _, name, _ in it.app.taken) == Counter(name for names in sent.values() for name in names)
    got: dict[str, list[str]] = defaultdict(list)
    for _, name, body in it.app.taken:
        got[json.loads(body).get("key", "")].append(name)
    for key in sent.keys() - {""}:
        assert got[key] == sent[key]
    again = {name: attempt for _, name, attempt in it.app.asked if attempt > 1}
    assert again == {name: 1 + len(said) for name, said in refused.items()}
    begun = sorted(at - back_at for at, _, _ in it.app.asked)
    assert begun[0] <= 1.0, "the app is asked each second"
    for first, last in zip(begun, begun[RATE:], strict=False):
        assert last - first >= 0.99, "no second has more than the pace"
    assert 1 < it.app.under_way_max <= 8
    assert len(it.lines("event_not_delivered")) <= 7
    assert len(it.lines("deliveries_succeed_again")) == 1
    assert {await it.state(name) for names in sent.values() for name in names} == {"delivered"}
    await it.webhooks.stop(0)


async def test_an_event_that_the_app_never_answers_holds_up_nobody_after_an_outage(clock: ManualClock) -> None:
    """It may be the one that finds the app back: the others go on within some seconds, not when it is given up on."""
    it = Delivering(clock, order_by="key")
    it.app.is_away = True
    names = [f"e{number}" for number in range(20)]
    for number, name in enumerate(names):
        await it.send(name, json.dumps({"key": number}).encode())
    await clock.advance(5.0)
    it.app.is_away = False
    it.app.hangs_next = True
    await clock.advance(6.0)
    (slow,) = it.app.slow
    assert it.app.asked[0][1] == slow
    assert {name for _, name, _ in it.app.taken} == set(names) - {slow}
    await clock.advance(40.0)
    assert len(it.app.times(slow)) == 2, "tried again by the schedule"
    await it.webhooks.stop(0)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
async def test_an_app_that_refuses_is_asked_by_the_schedule_until_the_event_is_too_old(
    clock: ManualClock, chance: float
) -> None:
    """5 s, 30 s, 2 min, 10 min, 1 h, 6 h, each up to half shorter, the last one again; then it is a dead letter."""
    it = Delivering(clock, chance, order_by="key", age_max=Duration(DAY))
    it.app.refuses = {"bad"}
    began = clock.now()
    for name, key in (("bad", "a"), ("behind", "a"), ("other", "b")):
        assert await it.send(name, json.dumps({"key": key}).encode()) == 200
    await clock.advance(1.0)
    assert [name for _, name, _ in it.app.taken] == ["other"]
    await it.pass_time(DAY)
    times = it.app.times("bad")
    waits = [later - at - TAKES for at, later in itertools.pairwise(times)]
    schedule = [5, 30, 120, 600, 3600, *[21600] * 20]
    expected = [longest * (1 - chance / 2) for longest in schedule]
    assert waits == pytest.approx(expected[: len(waits)], abs=1.1)
    assert len(waits) == next(n for n in range(30) if sum(expected[: n + 1]) > DAY)
    assert await it.state("bad") == "dead"
    assert [line["attempts"] for line in it.lines("event_dead")] == [len(times)]
    assert await it.state("behind") == "delivered", "nothing stands in front of it any more"
    assert times[-1] - began <= DAY
    await it.webhooks.stop(0)


async def test_what_the_app_says_of_when_is_obeyed(clock: ManualClock) -> None:
    """Later than the schedule says, and never sooner; those of other keys do not wait for it."""
    it = Delivering(clock, order_by="key")
    it.app.says = {
        "late": [Said(503, retry_after=900.0)], "soon": [Said(429, retry_after=1.0)], "past": [Said(503)] * 2,
    }  # fmt: skip
    began = clock.now()
    for number, name in enumerate(("late", "soon", "past", "fine")):
        assert await it.send(name, json.dumps({"key": number}).encode()) == 200
    await clock.advance(1000.0)
    assert {name: at - began for at, name, _ in it.app.taken} == {
        "fine": pytest.approx(0, abs=1), "soon": pytest.approx(5, abs=1.1), "past": pytest.approx(35, abs=2.2),
        "late": pytest.approx(900, abs=1.1),
    }  # fmt: skip
    assert it.app.times("late")[1] - began >= 900
    assert it.app.times("soon")[1] - began >= 5
    await it.webhooks.stop(0)


async def test_a_vendor_that_sends_again_after_six_days_has_it_delivered_once(clock: ManualClock) -> None:
    """After seven, and a look for what is old, it is a new event."""
    it = Delivering(clock)
    assert await it.send("a") == 200
    await clock.advance(5.0)
    await clock.leap(6 * DAY)
    assert await it.send("a") == 200
    await clock.advance(10.0)
    assert len(it.app.taken) == 1
    assert it.metrics.counter("sidecar_events_total", "crm", "duplicate").value == 1
    await clock.leap(DAY)
    await clock.advance(61.0)
    assert await it.send("a") == 200
    await clock.advance(10.0)
    assert [name for _, name, _ in it.app.taken] == ["a", "a"]
    assert it.metrics.counter("sidecar_events_total", "crm", "accepted").value == 2
    await it.webhooks.stop(0)
