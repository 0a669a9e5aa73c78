"""A gather layer over a vendor that answers when it is told to."""

import asyncio
import json
from typing import Any

from sidecar.core.body import NO_BODY, Headers
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.outcome import Outcome
from sidecar.core.tasks import Tasks
from sidecar.layers.gathering.config import GatherConfig
from sidecar.layers.gathering.layer import GatherLayer, GatherRules
from sidecar.layers.gathering.question import Question
from sidecar.telemetry.metrics import Counter
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for
from tests.layers.coalesce.shared import Asked

JSON: Headers = [(b"Content-Type", b"application/json")]
WITHIN = 0.005


def config_for(**more: Any) -> GatherConfig:
    """Make a section."""
    return GatherConfig(**{"request": "GET /c?ids={ids}", "answer_items": "results", "id": "id"} | more)


def things(*ids: Any) -> bytes:
    """Write the vendor's answer."""
    return json.dumps({"results": [{"id": one, "n": 1.0} for one in ids]}).encode()


class Readers:
    """The layer, the vendor, and the calls of the apps, each in a task as the door has it."""

    def __init__(self, clock: ManualClock, **more: Any) -> None:
        config = config_for(**more)
        self.clock = clock
        self.tasks = Tasks()
        self.counter = Counter()
        self.asked: list[Asked] = []
        self.layer = GatherLayer(GatherRules(config), Question(config), clock, self.tasks, self.counter, self._vendor)
        self.calls: list[tuple[Call, asyncio.Task[Reply]]] = []

    async def _vendor(self, call: Call) -> Reply:
        asked = Asked(call)
        self.asked.append(asked)
        call.attempts.append(AttemptRecord())
        call.step = "waiting for the answer's first byte"
        return await asked.future

    async def ask(
        self, target: bytes = b"/c/1", headers: Headers | None = None, *, seconds: float = 20.0, method: str = "GET"
    ) -> tuple[Call, "asyncio.Task[Reply]"]:
        """Have an app make a call, and let it come as far as it can."""
        call = call_for(method, target, headers, NO_BODY)
        call.deadline_at = self.clock.now() + seconds
        task = asyncio.create_task(self.layer(call))
        self.calls.append((call, task))
        await settle(10)
        return call, task

    async def ask_all(self, *ids: Any, seconds: float = 20.0) -> "list[asyncio.Task[Reply]]":
        """Have an app ask for each, and let the window pass."""
        tasks = [(await self.ask(b"/c/%b" % str(one).encode(), seconds=seconds))[1] for one in ids]
        await self.clock.advance(WITHIN)
        return tasks

    async def hang_up(self, number: int) -> None:
        """Have an app hang up: its task is cancelled, and its call ends, as the exchange does it."""
        call, task = self.calls[number]
        task.cancel()
        await asyncio.wait([task])
        call.end(Outcome.CANCELLED)
        await settle()

    def assert_quiet(self) -> None:
        """Assert that nothing is under way, and that everything taken was given back once."""
        assert not self.layer._open
        assert len(self.tasks) == 0
        assert self.clock.pending == 0
