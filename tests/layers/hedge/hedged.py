"""A hedge layer over a vendor that answers when it is told to."""

import asyncio
from collections.abc import Callable

from sidecar.core.body import Body
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.core.tasks import Tasks
from sidecar.layers.hedge.layer import HedgeLayer, Hedges, Lateness
from sidecar.telemetry.metrics import Counter
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for

LATE = 0.2  # The p95 of what is remembered here.


class Tried:
    """One attempt as it came to the vendor."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.cancels = asyncio.Event()  # Until it is set, an attempt that is cancelled is not gone.
        self.cancels.set()
        self._outcomes: list[Outcome] = []
        call.on_end(self._outcomes.append)

    def outcome(self) -> Outcome | None:
        """Give how that ended which was taken for it; None: not given back. Twice would be a fault."""
        assert len(self._outcomes) <= 1
        return self._outcomes[0] if self._outcomes else None

    def answer(self, status: int = 200) -> Reply:
        """Answer it."""
        reply = Reply(status, b"OK", [], Body.of(b""))
        self.future.set_result(reply)
        return reply


class Hedged:
    """The layer over a vendor that answers when it is told to."""

    def __init__(self, clock: ManualClock, *, samples: int = 64, may_spend: bool = True, is_sent: bool = True) -> None:
        self.clock = clock
        self.tasks = Tasks()
        self.tried: list[Tried] = []
        self.spent: list[float] = []
        self.counts = Hedges(Counter(), Counter(), Counter())
        self.may_spend = may_spend
        self.is_sent = is_sent  # The attempt has its permit and slot at once.
        self.recent = Recent()
        for number in range(samples):
            self.recent.add(LATE if number % 10 == 9 else 0.05)
        lateness = Lateness(self.recent, 0.95, 0.01, 20)
        self.layer = HedgeLayer(
            lateness, frozenset({429, 500, 502, 503, 504}), self._spend, clock, self.tasks, self.counts, self._vendor
        )

    def _spend(self, now: float) -> bool:
        self.spent.append(now)
        return self.may_spend

    async def _vendor(self, call: Call) -> Reply:
        tried = Tried(call)
        self.tried.append(tried)
        if self.is_sent:
            self.send(call)
        try:
            return await tried.future
        except asyncio.CancelledError:
            await tried.cancels.wait()
            raise
        finally:
            call.upstream_s += 1

    def send(self, call: Call) -> None:
        """Have an attempt be sent: its waits are over."""
        record = AttemptRecord()
        record.started_at = self.clock.now()
        call.attempts.append(record)

    def counted(self) -> tuple[int, int, int]:
        """Give started, won, refused."""
        return self.counts.started.value, self.counts.won.value, self.counts.refused.value

    async def ask(self, change: Callable[[Call], None] = lambda _: None) -> tuple[Call, "asyncio.Task[Reply]"]:
        """Make a GET with ten seconds of time."""
        call = call_for("GET")
        call.deadline_at = self.clock.now() + 10
        change(call)
        task = asyncio.create_task(self.layer(call))
        await settle()
        return call, task

    async def both(self) -> tuple[Call, "asyncio.Task[Reply]", Tried, Tried]:
        """Make a GET and let it become late, so that there are two attempts."""
        call, task = await self.ask()
        await self.clock.advance(LATE)
        first, second = self.tried
        return call, task, first, second

    async def assert_quiet(self, call: Call) -> None:
        """End the call as the exchange does, and assert that everything was given back once."""
        call.end(Outcome.SUCCESS)
        await settle()
        assert len(self.tasks) == 0
        assert self.clock.pending == 0
        assert None not in [tried.outcome() for tried in self.tried]
