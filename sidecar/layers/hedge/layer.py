"""Hedge: a safe call that is late is made a second time beside the first; the first good answer wins.

It cuts the tail of a vendor whose slowness is chance. Against one that is slow altogether it does nothing but add load,
so every second attempt costs the retry budget.
"""

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet

from sidecar.core.body import NO_BODY
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.recent import Recent
from sidecar.core.tasks import Tasks
from sidecar.layers.hedge.race import Race
from sidecar.layers.retry.budget import Budget
from sidecar.telemetry.metrics import Counter

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1.


class Lateness:
    """Says after how many seconds an attempt is late, from the lengths of the last ones."""

    __slots__ = ("_delay_min", "_quantile", "_recent", "_samples_min")

    def __init__(self, recent: Recent, quantile: float, delay_min: float, samples_min: int) -> None:
        self._recent = recent
        self._quantile = quantile
        self._delay_min = delay_min
        self._samples_min = samples_min

    def delay(self) -> float | None:
        """Give it; None while too few are known."""
        if len(self._recent) < self._samples_min:
            return None
        usual = self._recent.quantile(self._quantile)
        return None if usual is None else max(self._delay_min, usual)


class Hedges:
    """Counts what became of second attempts."""

    __slots__ = ("refused", "started", "won")

    def __init__(self, started: Counter, won: Counter, refused: Counter) -> None:
        self.started = started
        self.won = won
        self.refused = refused  # By the retry budget.


class HedgeLayer:
    """Races a second attempt against a late first one. Nothing is done for a call that cannot be hedged."""

    __slots__ = ("_clock", "_failures", "_hedges", "_inner", "_lateness", "_spend", "_tasks")

    def __init__(
        self,
        lateness: Lateness,
        failures: AbstractSet[int],
        spend: Callable[[float], bool],
        clock: Clock,
        tasks: Tasks,
        hedges: Hedges,
        inner: Handler,
    ) -> None:
        self._lateness = lateness
        self._failures = failures
        self._spend = spend
        self._clock = clock
        self._tasks = tasks
        self._hedges = hedges
        self._inner = inner

    async def __call__(self, call: Call) -> Reply:
        """Make the attempt, and a second one when the first is late. Raises what the first one raised if both fail."""
        delay = self._delay(call)
        if delay is None:
            return await self._inner(call)
        race = Race(call, self._failures, self._tasks, self._inner)
        sent_before = len(call.attempts)
        race.start()
        timer = self._clock.call_at(self._clock.now() + delay, race.ring)
        try:
            while (winner := race.winner()) is None:
                await race.news()
                if race.is_ringing:
                    race.is_ringing = False
                    due_at = self._due_at(call, sent_before, delay)
                    if due_at is not None:
                        timer = self._clock.call_at(due_at, race.ring)
                    elif race.winner() is None:
                        self._hedge(race)
            if len(race.runners) > 1 and winner is race.runners[1]:
                self._hedges.won.value += 1
            reply = race.settle(winner)
        finally:
            timer.cancel()
            await race.clear()
        if reply is None:
            assert winner.error is not None
            raise winner.error
        return reply

    def _delay(self, call: Call) -> float | None:
        """Give the seconds after which the call is late; None when it gets one attempt in any case."""
        if call.method not in _SAFE or call.body is not NO_BODY or call.upgrade is not None:
            return None
        if call.attempts_max is not None:  # An app that counts attempts gets none that it did not ask for.
            return None
        delay = self._lateness.delay()
        return None if delay is None or self._clock.now() + delay >= call.deadline_at else delay

    def _due_at(self, call: Call, sent_before: int, delay: float) -> float | None:
        """Give when to look again; None when the first attempt is late now.

        What stands in line for a permit or a slot is not late: a second one would only make the line longer.
        """
        now = self._clock.now()
        if len(call.attempts) == sent_before:
            return now + delay
        due_at = call.attempts[sent_before].started_at + delay
        return due_at if due_at > now else None

    def _hedge(self, race: Race) -> None:
        if self._spend(self._clock.now()):
            self._hedges.started.value += 1
            race.start()
        else:
            self._hedges.refused.value += 1


def hedge(
    lateness: Lateness,
    failures: AbstractSet[int],
    spend: Callable[[float], bool],
    clock: Clock,
    tasks: Tasks,
    hedges: Hedges,
) -> Layer:
    """Hedge safe calls; `failures` are the statuses that win only if nothing better comes."""
    return lambda inner: HedgeLayer(lateness, failures, spend, clock, tasks, hedges, inner)


def counted(budget: Budget, clock: Clock) -> Layer:
    """Count calls for the budget of hedges where there is no `retry` that does."""

    def around(inner: Handler) -> Handler:
        def counting(call: Call) -> Awaitable[Reply]:
            budget.count(clock.now())
            return inner(call)

        return counting

    return around
