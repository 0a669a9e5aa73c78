"""What the tests of retry share: a vendor that plays one turn per attempt, and the layer in front of it."""

from collections.abc import Callable
from typing import Any

from sidecar.core.advice import Advice
from sidecar.core.body import Body
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.core.statuses import Statuses
from sidecar.layers.retry.budget import Budget
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.retry.layer import RetryRules, retry
from tests.layers.calls import call_for, read_all

Turn = int | Reply | BaseException


def reply_of(status: int, **says: Any) -> Reply:
    """Make an answer; `says` is what the vendor's hints come to."""
    reply = Reply(status, b"", [], Body.of(b""))
    if says:
        reply.advice = Advice()
        for name, value in says.items():
            assert hasattr(reply.advice, name)
            setattr(reply.advice, name, value)
    return reply


class Attempts:
    """Stands where the layers of an attempt stand: plays a turn for each, the last one to all that follow."""

    def __init__(self, clock: Clock, *turns: Turn) -> None:
        self.calls: list[Call] = []
        self.bodies: list[bytes] = []
        self.begun_at: list[float] = []
        self.ended: list[tuple[int, str]] = []  # Number of the attempt, and its outcome.
        self.reads_bodies = True
        self.takes = 0.0  # Seconds that each takes.
        self.during: Callable[[Call], None] | None = None  # Called in each.
        self._clock = clock
        self._turns = turns

    async def __call__(self, call: Call) -> Reply:
        """Take an attempt."""
        assert len(self.ended) == len(self.calls), "the attempt before has not ended"
        self.calls.append(call)
        number = len(self.calls)
        call.attempts.append(AttemptRecord())
        call.on_end(lambda outcome: self.ended.append((number, outcome.value)))
        self.begun_at.append(self._clock.now())
        if self.during is not None:
            self.during(call)
        if self.takes:
            await self._clock.sleep(self.takes)
        if self.reads_bodies:
            self.bodies.append(await read_all(call.body))
        turn = self._turns[min(number, len(self._turns)) - 1]
        if isinstance(turn, BaseException):
            raise turn
        return turn if isinstance(turn, Reply) else reply_of(turn)


class Trying:
    """A retry layer over `Attempts`. `chance` is what the jitter draws, `budget` the extra attempts there are."""

    def __init__(self, clock: Clock, *turns: Turn, chance: float = 0.0, budget: float = 100, **config: Any) -> None:
        self.clock = clock
        self.attempts = Attempts(clock, *turns)
        self.budget = Budget(0.0, budget, clock.now())
        self.recent = Recent()
        self.counted: list[str] = []
        made = RetryConfig(**config)
        rules = RetryRules(
            made.attempts_max, made.backoff, made.backoff_max, made.statuses, made.unprocessed, made.replay_max
        )
        layer = retry(rules, self.budget, self.recent, clock, lambda: chance, self.counted.append)
        self.handler = layer(self.attempts)

    async def send(self, call: Call) -> Reply | BaseException:
        """Send a call, end it as the door would, and give what came of it."""
        outcome = Outcome.FAILURE
        try:
            reply = await self.handler(call)
        except Exception as error:  # noqa: BLE001 - what was raised is what is looked at
            return error
        except BaseException:
            outcome = Outcome.CANCELLED
            raise
        else:
            outcome = Outcome.SUCCESS if reply.status < 500 else Outcome.FAILURE
            return reply
        finally:
            call.end(outcome)
            assert [number for number, _ in self.attempts.ended] == [*range(1, len(self.attempts.calls) + 1)]


def ask(method: str = "GET", *, key: bytes | None = None, seconds: float = 20.0, **more: Any) -> Call:
    """Make a call with so many seconds, as it comes to the layer."""
    call = call_for(method, **more)
    call.idempotency_key = key
    call.deadline_at = call.started_at + seconds
    return call


def statuses(*items: int | str) -> Statuses:
    """Read a set of statuses."""
    return Statuses.parse(items)
