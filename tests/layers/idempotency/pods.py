"""Pods whose answers to keys are in one store, before a vendor that answers when it is told to."""

import asyncio
from typing import Any

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.outcome import Outcome
from sidecar.layers.idempotency.keeper import Keeper
from sidecar.layers.idempotency.layer import idempotency
from sidecar.layers.idempotency.once import NOT_FINAL, OnceRules, once
from sidecar.layers.idempotency.places import HeaderPlace, Place
from sidecar.store.base import Record, StoreDown, StoreFailed
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryRecords, MemoryStore
from sidecar.store.memory_room import Room
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for
from tests.layers.coalesce.shared import Asked

LIFE = 3600.0
CANARY = b"a-credential-of-ours"  # An answer that repeats it is not written down.


class Slow:
    """Records in memory that answer when the test says so, and may fail."""

    def __init__(self, clock: ManualClock, bytes_max: int = 2**20) -> None:
        self.room = Room(bytes_max)
        self.records = MemoryRecords(self.room, clock)
        self.problem: StoreFailed | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.questions: list[str] = []

    async def get(self, key: str) -> Record | None:
        """Give what is there."""
        await self._pass("get")
        return await self.records.get(key)

    async def put(self, key: str, value: bytes, life: float, *, over: int | None = None) -> int | None:
        """Write."""
        await self._pass("put")
        return await self.records.put(key, value, life, over=over)

    async def delete(self, key: str, *, version: int | None = None) -> bool:
        """Take away."""
        await self._pass("delete")
        return await self.records.delete(key, version=version)

    async def _pass(self, what: str) -> None:
        self.questions.append(what)
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem


class Pods:
    """One service in several pods; each call of an app's is a task, as the door has it."""

    def __init__(
        self, clock: ManualClock, count: int = 1, *, place: Place | None = None, records: Any = None, **rules: Any
    ) -> None:
        self.clock = clock
        self.store: Any = MemoryStore(StoreConfig(), clock)
        if records is not None:
            self.store.records = records
        self.records: Any = self.store.records
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.counted: list[str] = []
        self.asked: list[Asked] = []
        self.calls: list[tuple[Call, asyncio.Task[Reply]]] = []
        self.keepers: list[Keeper] = []
        self.made = 0
        self._rules = OnceRules(**{
            "life": LIFE, "waits": False, "body_max": 100, "answer_max": 20, "not_final": NOT_FINAL,
            "own": frozenset(), **rules,
        })  # fmt: skip
        self._place = place or HeaderPlace("Idempotency-Key")
        self.handlers = [self._pod() for _ in range(count)]

    @property
    def used_bytes(self) -> int:
        """What the store in memory holds."""
        used: int = self.store.snapshot()["used_bytes"]
        return used

    def _pod(self) -> Any:
        keeper = Keeper("crm", self.store, self.clock, self._tell, self.counted.append, lambda raw: CANARY in raw)
        self.keepers.append(keeper)
        layer = once(self._rules, keeper, self.clock, lambda: 1.0)
        return idempotency(self._place, frozenset({"POST"}), 255, self._make_key, self._tell, layer)(self._vendor)

    def _tell(self, level: str, msg: str, **fields: Any) -> None:
        self.told.append((level, msg, fields))

    def _make_key(self) -> str:
        self.made += 1
        return f"00000000-0000-4000-8000-{self.made:012}"

    async def _vendor(self, call: Call) -> Reply:
        asked = Asked(call)
        self.asked.append(asked)
        record = AttemptRecord()
        record.request_head = b"POST"
        call.attempts.append(record)
        return await asked.future

    # What apps do.

    async def ask(
        self,
        key: bytes | None = b"order-17",
        body: bytes | Body = b"5 euros",
        *,
        pod: int = 0,
        method: str = "POST",
        target: bytes = b"/pay",
        app: str = "",
        credentials: Headers | None = None,
        seconds: float = 20.0,
    ) -> "tuple[Call, asyncio.Task[Reply]]":
        """Have an app make a call, and let it come as far as it can."""
        content = body if isinstance(body, Body) else Body.of(body) if body else NO_BODY
        call = call_for(method, target, [] if key is None else [(b"Idempotency-Key", key)], content)
        call.idempotency_key = key
        call.app = app
        call.app_credentials = credentials or []
        call.started_at = self.clock.now()
        call.deadline_at = self.clock.now() + seconds
        task = asyncio.create_task(self.handlers[pod](call))
        self.calls.append((call, task))
        await settle()
        return call, task

    async def answered(self, **asking: Any) -> Reply:
        """Have an app make a call that is answered at once by the store, or refused; raises what it raises."""
        call, task = await self.ask(**asking)
        assert task.done(), "it waits"
        call.end(Outcome.SUCCESS if task.exception() is None else Outcome.REJECTED)
        return task.result()

    async def first(self, body: Body | bytes = b"paid", status: int = 200, **asking: Any) -> Reply:
        """Have an app make a call that the vendor answers, and let it end."""
        call, task = await self.ask(**asking)
        self.asked[-1].answer(body, status)
        await settle()
        reply = task.result()
        call.end(Outcome.SUCCESS)
        await settle()
        return reply

    async def hang_up(self, number: int = -1) -> None:
        """Have an app hang up: its task is cancelled, and its call ends, as the exchange does it."""
        call, task = self.calls[number]
        task.cancel()
        await asyncio.wait([task])
        call.end(Outcome.CANCELLED)
        await settle()

    def assert_quiet(self) -> None:
        """Assert that nothing is under way or being written."""
        for keeper in self.keepers:
            assert keeper.snapshot() == {"under_way": 0, "writing": 0}


def away() -> StoreDown:
    """Make what a store raises that is not there."""
    return StoreDown("the store is away: no connection")
