"""A coalesce layer over a vendor that answers when it is told to."""

import asyncio
from typing import Any

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.outcome import Outcome
from sidecar.core.tasks import Tasks
from sidecar.layers.coalesce.layer import CoalesceLayer
from sidecar.layers.coalesce.likeness import Likeness
from sidecar.telemetry.metrics import Counter
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for


class Asked:
    """One call as it came to the vendor; `answer` or `break_off` decide what becomes of it."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._outcomes: list[Outcome] = []
        self.future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        call.on_end(self._outcomes.append)

    def outcome(self) -> Outcome | None:
        """Give how that ended which was taken for it; None: not given back. Twice would be a fault."""
        assert len(self._outcomes) <= 1
        return self._outcomes[0] if self._outcomes else None

    def answer(
        self, body: Body | bytes = b"", status: int = 200, headers: Headers | None = None, source: str = "upstream"
    ) -> Reply:
        """Give the head of an answer, and the body as far as it is there."""
        content = body if isinstance(body, Body) else Body.of(body)
        reply = Reply(status, b"OK", list(headers or []), content, source)
        if not self.future.done():
            self.future.set_result(reply)
        return reply

    def break_off(self, error: Exception) -> None:
        """Raise instead of an answer."""
        if not self.future.done():
            self.future.set_exception(error)


class Crowd:
    """The layer, the vendor, and the calls of the apps, each in a task as the door has it."""

    def __init__(self, clock: ManualClock, body_max: int = 100, waiting_max: int = 10, **likeness: Any) -> None:
        self.clock = clock
        self.tasks = Tasks()
        self.counter = Counter()
        self.asked: list[Asked] = []
        self.layer = CoalesceLayer(
            Likeness(likeness.get("headers")), body_max, waiting_max, clock, self.tasks, self.counter, self._vendor
        )
        self.calls: list[tuple[Call, asyncio.Task[Reply]]] = []

    async def _vendor(self, call: Call) -> Reply:
        asked = Asked(call)
        self.asked.append(asked)
        call.attempts.append(AttemptRecord())
        call.step = "waiting for the answer's first byte"
        return await asked.future

    async def ask(
        self, target: bytes = b"/x", headers: Headers | None = None, *, seconds: float = 20.0, method: str = "GET"
    ) -> tuple[Call, "asyncio.Task[Reply]"]:
        """Have an app make a call, and let it come as far as it can."""
        call = call_for(method, target, headers, NO_BODY)
        call.deadline_at = self.clock.now() + seconds
        task = asyncio.create_task(self.layer(call))
        self.calls.append((call, task))
        await settle()
        return call, task

    async def hang_up(self, number: int) -> None:
        """Have an app hang up: its task is cancelled, and its call ends, as the exchange does it."""
        call, task = self.calls[number]
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        call.end(Outcome.CANCELLED)
        await settle()

    def assert_quiet(self) -> None:
        """Assert that nothing is under way, and that everything taken was given back once."""
        assert self.layer.snapshot()["shared_calls"] == 0
        assert self.layer.snapshot()["waiting"] == 0
        assert len(self.tasks) == 0
        assert self.clock.pending == 0
        assert None not in [asked.outcome() for asked in self.asked]
