"""Mirror: an allowance that refills all the time (OpenAI, Shopify, Salesforce): a picture of the vendor's own bucket.

Such a vendor tells when the bucket is full, which nobody has to wait for: the next permit is there long before.
"""

from typing import Any, Final

from sidecar.core.advice import Told
from sidecar.layers.rate_limit.allowance import Allowance

GAIN: Final = 0.2  # How much of the difference to what was told is taken over: answers overtake each other.
JITTER_S: Final = 0.03  # Calls arrive closer together than they were sent; what refills in this time is kept back ...
RESERVE_MAX: Final = 0.1  # ... at most this share of the limit.
UNKNOWN_RATE: Final = 1.0  # Permits per second, while the vendor has told nothing from which a rate follows.


class Mirror(Allowance):
    """The level of the vendor's bucket, as far as we know."""

    __slots__ = ("_level", "_level_at", "rate")

    def __init__(self, told: Told, in_flight: float, number: float, now: float) -> None:
        super().__init__(told, in_flight, number, now)
        self.rate = 0.0  # Permits per second; 0: not known.
        self._level = max(0.0, (told.remaining or 0.0) - in_flight)
        self._level_at = now

    def level(self, now: float) -> float:
        """Give how many permits there are; below 0 when more was sent than there was."""
        return min(self.limit, self._level + (now - self._level_at) * (self.rate or UNKNOWN_RATE))

    def wait(self, now: float, cost: float, ahead: float) -> float:
        """Wait until the level reaches the cost, never until it is full."""
        if not self.limit:
            return 0.0
        rate = self.rate or UNKNOWN_RATE
        reserve = min(self.limit * RESERVE_MAX, rate * JITTER_S)
        missing = ahead + min(cost, self.limit - reserve) + reserve - self.level(now)
        return missing / rate if missing > 1e-9 else 0.0

    def take(self, now: float, cost: float) -> None:
        """Count an attempt."""
        self._level = self.level(now) - cost
        self._level_at = now
        self.in_flight += cost

    def give_back(self, cost: float) -> None:
        """Do not count it."""
        self._level += cost

    def hear(self, told: Told, sent_at: float, cost: float, now: float, *, since: float, is_throttled: bool) -> None:  # noqa: ARG002
        """Come nearer to the vendor's level, and to its rate."""
        if told.limit is not None:
            self.limit = told.limit
        if told.remaining is None:
            return
        self.limit = max(self.limit, told.remaining)
        self._learn_rate(told)
        level = self.level(now)
        seen = told.remaining - since
        if is_throttled:
            level = min(level, seen, 0.0)
        else:
            level += GAIN * (seen - level)
        self._level = level
        self._level_at = now
        self.told_at = now

    def _learn_rate(self, told: Told) -> None:
        missing = self.limit - (told.remaining or 0.0)
        if told.window is not None and told.window > 0:
            self.rate = self.limit / told.window
        elif told.reset_in is not None and told.reset_in > 0 and missing > 0:
            rate = missing / told.reset_in
            self.rate = self.rate + GAIN * (rate - self.rate) if self.rate else rate

    def used_ratio(self, now: float) -> float:
        """Give the share of the bucket that is used, 0 to 1."""
        return min(1.0, max(0.0, 1.0 - self.level(now) / self.limit)) if self.limit else 0.0

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        return {"limit": self.limit, "left": round(self.level(now), 3), "per_second": round(self.rate, 6)}
