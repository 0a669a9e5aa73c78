"""Leased: the part of a limit that this pod has of the fleet's, as a bucket whose pace and depth move.

In one of three ways it lets attempts go. It has a *block* of the store's: a pace of its own and so many permits in
hand, until an end. Before that end it asks for the next, so a call seldom waits for an answer. It has *none*: nobody
called lately, or the answer is under way. Or it is *alone*: the store is away, so what is left of the block goes on at
the fair share, `rate / replicas`. That share begins when no block can be left that was dealt out before: until then the
pace is no higher than it was, so all pods together stay at the rate while they lose the store one after the other.
"""

from collections.abc import Callable
from typing import Any, Final

from sidecar.layers.rate_limit.bucket import Bucket
from sidecar.layers.rate_limit.demand import Demand
from sidecar.layers.rate_limit.haste import Haste
from sidecar.layers.rate_limit.own_quotas import OwnQuotas
from sidecar.store.base import Block, Wanted
from sidecar.store.ledger import CALLS_A_BLOCK, SPAN_MAX_S, SPAN_MIN_S

NEVER: Final = float("inf")
SPAN_OF_QUOTA: Final = 0.05  # Of its window, no block is longer.
AFTER_CALLS: Final = 70.0  # At the fair pace: longer than any block lasts that has more than the fair pace.
PATIENCE_S: Final = 0.5  # Without an answer for so long, and without a block: on our own until there is one.
ASKED_S: Final = 0.01  # What an answer takes, for those who wait for one.
AT_ONCE_S: Final = 0.5  # So much of the use may be in hand at once.
WANTED: Final = 1.5  # Of a quota's permits, beside what the use will take.


class Leased(Bucket):
    """The bucket of a limit that the fleet shares. `ask()` is called when a block is missing; its answer comes later.

    All windows of the limit are held here, so the limiter that has it has no quotas beside it.
    """

    __slots__ = (
        "_ask", "_away_since", "_block", "_ends_at", "_haste", "_least", "_lefts", "_permits", "_quotas", "_replicas",
        "_waits_until", "asked_at", "demand", "is_alone", "is_asked", "whole_burst", "whole_rate", "windows",
    )  # fmt: skip

    def __init__(
        self,
        count: float,
        seconds: float,
        burst: float,
        windows: tuple[tuple[float, float], ...],
        replicas: int,
        now: float,
        ask: Callable[[], None],
    ) -> None:
        super().__init__(count, seconds, burst, now)
        self.whole_rate = count / seconds  # Of the fleet, as ...
        self.whole_burst = burst  # ... this; `rate` and `burst` are this pod's now.
        self.windows = windows  # The longer ones: count and seconds.
        self.demand = Demand(now)
        self.is_asked = False
        self.is_alone = False
        self.asked_at = 0.0
        self._ask = ask
        self._replicas = max(1, replicas)
        self._block: Block | None = None  # The last one; it may be over.
        self._ends_at = NEVER
        self._away_since = NEVER  # The first question without an answer.
        self._haste = Haste()
        self._waits_until = 0.0  # Nothing is free until then, the store said.
        self._permits = 0.0  # Of the quotas, in hand.
        self._least = 1.0  # Permits: the most that one attempt asked for.
        self._quotas = OwnQuotas()  # While alone.
        self._lefts: tuple[float, ...] = ()
        self._be_without(now)

    # For each attempt.

    def may_take(self, now: float, cost: float) -> bool:
        """Take `cost` permits if they are there, and say whether they were; if not, see that some come."""
        if now >= self._ends_at:
            self._end(now)
        if (self.windows and not self._has_permits(now, cost)) or not super().may_take(now, cost):
            self.look(now, cost)
            return False
        self.demand.taken += cost
        if self.windows:
            self._permits -= cost
            if self.is_alone:
                self._quotas.take(now, cost)
        return True

    def give_back(self, cost: float) -> None:
        """Give back what was taken for nothing: the vendor did not see it."""
        if self.needs_none:
            return  # What it was part of is over.
        super().give_back(cost)
        self._permits += cost
        self._quotas.give_back(cost)

    def wait(self, now: float, cost: float, ahead: float) -> float:
        """Give the seconds until `cost` permits may go behind `ahead` others, as far as is known."""
        if now >= self._ends_at:
            self._end(now)
        wait = self._wait_for_pace(now, cost, ahead)
        if not self.windows:
            return wait
        if self.is_alone:
            return max(wait, self._quotas.wait(now, cost, ahead))
        if self._permits < ahead + cost:
            wait = max(wait, self._next_in(now))
        return wait

    def _wait_for_pace(self, now: float, cost: float, ahead: float) -> float:
        level = self.level(now)
        missing = ahead + min(cost, self.burst) - level
        if missing <= 1e-9:
            return 0.0
        wait = missing / self.rate if self.rate > 0 else NEVER
        if self.is_alone:
            if now < self._ends_at < NEVER:  # The fair pace begins then.
                begin = self._ends_at - now
                wait = min(wait, begin + max(0.0, missing - begin * self.rate) / self._fair)
            return wait
        # The next block has the pace that is fair.
        until = self._next_in(now)
        share = self._block.share if self._block is not None and self._block.is_full else self.whole_rate
        return min(wait, until + max(0.0, missing - until * self.rate) / max(share, 1e-6))

    def _next_in(self, now: float) -> float:
        """Give the seconds until there may be another block."""
        return ASKED_S if self.is_asked else max(ASKED_S, self._waits_until - now)

    def _has_permits(self, now: float, cost: float) -> bool:
        if self.is_alone:
            return self._quotas.wait(now, cost, 0.0) <= 0
        return self._permits >= cost

    def look(self, now: float, cost: float) -> None:
        """See that there are more permits, where asking may bring some."""
        self._least = max(self._least, cost)
        if self.is_asked:
            if self._ends_at == NEVER and not self.is_alone and now - self.asked_at >= PATIENCE_S:
                self._be_alone(now)
        elif not self.is_alone and self._may_ask(now, cost):
            self.begin(now)
            self._ask()

    def _may_ask(self, now: float, cost: float) -> bool:
        if self._ends_at == NEVER:
            return self._haste.may_ask_without(now)
        if self.windows and self._permits < cost:
            return self._haste.may_ask_for_permits(now)
        return self._haste.may_ask_for_pace(now, self.asked_at, self.rate, self.demand)

    # What the shell asks, and what it hears.

    def begin(self, now: float) -> None:
        """Note that a question begins."""
        self.is_asked = True
        self.asked_at = now

    @property
    def needs_none(self) -> bool:
        """Whether it has nothing that would have to be asked for anew or given back."""
        return self._ends_at == NEVER and not self.is_alone

    @property
    def is_away(self) -> bool:
        """Whether the last question had no answer."""
        return self._away_since < NEVER

    def wanted(self, pod: str, now: float, waiting: float) -> Wanted:
        """Say what is wanted, for a question that is sent now; `waiting` permits are asked for in line."""
        if now >= self._ends_at:
            self._end(now)
        self.demand.look(now)
        use = self.demand.use(waiting)
        span = min(SPAN_MAX_S, max(SPAN_MIN_S, CALLS_A_BLOCK / self.demand.pace()))
        for _, seconds in self.windows:
            span = min(span, max(SPAN_MIN_S, seconds * SPAN_OF_QUOTA))
        target = use * span * WANTED + waiting + self._least
        held = max(0.0, self._permits)
        back = max(0.0, held - 2 * target)
        self._permits = held - back
        self.begin(now)
        away = max(0.0, now - self._away_since)
        need = waiting + use * AT_ONCE_S + self._least
        return self._question(pod, use, now, need=need, permits=target, back=back, span=span, away=away)

    def returned(self, pod: str, now: float) -> Wanted:
        """Give all back: nobody called lately, or the process ends."""
        if now >= self._ends_at:
            self._end(now)
        said = self._question(pod, -1.0, now, need=0.0, permits=0.0, back=0.0, span=SPAN_MIN_S, away=0.0)
        self._be_without(now)
        self._block = None
        self.demand.begin(now)
        return said

    def _question(
        self, pod: str, use: float, now: float, *, need: float, permits: float, back: float, span: float, away: float
    ) -> Wanted:
        return Wanted(
            pod, 0 if self._block is None else self._block.serial, self.whole_rate, self.whole_burst, self.windows,
            use, need, permits, self._least, self.level(now), max(0.0, self._permits), back, self._quotas.spent, span,
            self._fair, self.whole_burst / self._pods, away,
        )  # fmt: skip

    def use_block(self, block: Block, held: float, now: float) -> None:
        """Take the answer to the question of `asked_at`, which told of `held` permits of quotas."""
        spent_since = held - max(0.0, self._permits)
        was_alone, self.is_alone = self.is_alone, False
        self.is_asked = False
        self._away_since = NEVER
        self._quotas.end()
        self._lefts = block.left
        before, self._block = self._block, block
        self._permits = max(0.0, block.permits - max(0.0, spent_since))
        self._waits_until = self.asked_at + block.again
        is_used_up = bool(self.windows) and block.permits < self._least
        self._haste.answered(block, self.asked_at, is_used_up=is_used_up)
        ends_at = self.asked_at + block.span
        if block.rate > 0 and now < ends_at:
            level = min(block.burst, self.level(now) + block.level)
            self._set(level, block.rate, max(1.0, block.burst), ends_at, now)
        elif block.rate > 0:
            self._be_without(now)  # It came too late to be of use.
        elif was_alone or before is None or self._ends_at == NEVER:
            self._be_without(now)
        # Else: nothing is free; what is in hand is good until its end.

    def failed(self, now: float) -> None:
        """Note that there was no answer. What is in hand is good until its end."""
        self.is_asked = False
        if not self.is_away:
            self._away_since = self.asked_at or now
        self._haste.failed(now)
        if self._ends_at == NEVER and not self.is_alone:
            self._be_alone(now)

    # From one way to the other.

    @property
    def _pods(self) -> int:
        return max(self._replicas, self._block.pods if self._block is not None else 1)

    @property
    def _fair(self) -> float:
        return self.whole_rate / self._pods

    def _end(self, now: float) -> None:
        """Do what is due when the block, or the time before the fair pace, is over."""
        if self.is_alone:
            at, burst = self._ends_at, max(1.0, self.whole_burst / self._pods)
            self._set(self.level(at), self._fair, burst, NEVER, at)
        elif self.is_away or self.is_asked:
            self._be_alone(self._ends_at)
        else:
            self._be_without(now)

    def _be_without(self, now: float) -> None:
        self.is_alone = False
        self._set(min(0.0, self.level(now)), 0.0, 1.0, NEVER, now)
        self._permits = 0.0

    def _be_alone(self, now: float) -> None:
        """Go on without the store: first no faster than before, then at the fair pace."""
        if not self.is_away:
            self._away_since = self.asked_at
        fair = self._fair
        after = min(SPAN_MAX_S, max(SPAN_MIN_S, AFTER_CALLS / fair))
        burst = max(1.0, self.whole_burst / self._pods)
        self.is_alone = True
        burst = min(self.burst, burst)  # Until then it has no more in hand than it may have had.
        self._set(min(self.level(now), burst), min(self.rate, fair), burst, self._away_since + after, now)
        self._quotas.begin(self.windows, self._lefts, self._pods, now)

    def _set(self, level: float, rate: float, burst: float, ends_at: float, now: float) -> None:
        self._level = level
        self._filled_at = now
        self.rate = rate
        self.burst = burst
        self._ends_at = ends_at

    # For people.

    def used_ratio(self, now: float) -> float:
        """Give the share of the fleet's rate that is used; alone, of this pod's share."""
        if self.is_alone or self._block is None:
            return min(1.0, super().used_ratio(now) * (self._pods if self.is_alone else 1))
        return self._block.used

    def window_ratios(self, now: float) -> list[float]:
        """Give the used shares of the longer windows, of the fleet as far as it was told."""
        if self.is_alone:
            return self._quotas.ratios(now)
        if not self._lefts:
            return [0.0 for _ in self.windows]
        return [1 - left / count for (count, _), left in zip(self.windows, self._lefts, strict=True)]

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        shown = super().snapshot(now)
        state = "alone" if self.is_alone else "none" if self._ends_at == NEVER else "block"
        return shown | {"shared": state, "per_second": round(self.rate, 3), "pods": self._pods}
