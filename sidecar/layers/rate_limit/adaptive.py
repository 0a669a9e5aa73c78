"""Adaptive: a pace that is sought, for vendors that refuse without saying until when (Stripe, PayPal, ...).

A refusal brings the pace down to a share of what we sent lately, and each second without one brings it up a little. It
begins with the first such refusal, and ends when the pace is well above what was refused.
"""

from typing import Any, Final

DECREASE: Final = 0.7  # Of the recent rate, at a refusal.
EASE: Final = 0.9  # The same, when the vendor only says that its limit is near.
INCREASE: Final = 0.02  # Of the refused rate, each second.
FORGOTTEN: Final = 2.0  # Times the refused rate: the pace is no limit any more.
RATE_MIN: Final = 0.1  # Permits per second.
FIRST_MIN: Final = 5.0  # The same, after the first refusal: at a pace below it, one refusal says little about the pace.
BACK_OFF_S: Final = 0.1  # Nothing goes for at least that long after a refusal ...
BACK_OFF_MAX_S: Final = 10.0  # ... doubled with each in a row, up to this.


class Adaptive:
    """Permits at an even pace, which falls at a refusal and rises with time."""

    __slots__ = ("_back_off_s", "_lowered_at", "_next_at", "_rate", "_rate_at", "_refused")

    def __init__(self, recent: float, now: float, *, is_refused: bool) -> None:
        """Begin at a share of `recent` permits per second."""
        self._refused = max(FIRST_MIN, recent)  # The rate that was too much.
        self._rate = max(FIRST_MIN, recent * (DECREASE if is_refused else EASE))
        self._rate_at = now
        self._lowered_at = now
        self._back_off_s = BACK_OFF_S
        self._next_at = now + BACK_OFF_S if is_refused else now

    def rate(self, now: float) -> float:
        """Give the pace now, permits per second."""
        return self._rate + max(0.0, now - self._rate_at) * INCREASE * self._refused

    def is_over(self, now: float) -> bool:
        """Whether the pace is so far above what was refused that it holds nothing back."""
        return self.rate(now) >= self._refused * FORGOTTEN

    def wait(self, now: float, ahead: float) -> float:
        """Give the seconds until the next permit behind `ahead` others."""
        return max(0.0, self._next_at - now + ahead / self.rate(now))

    def take(self, now: float, cost: float) -> None:
        """Count an attempt: the next follows at the pace."""
        self._next_at = max(self._next_at, now) + cost / self.rate(now)

    def give_back(self, now: float, cost: float) -> None:
        """Do not count it."""
        self._next_at -= cost / self.rate(now)

    def refused(self, sent_at: float, recent: float, now: float) -> None:
        """Slow down, once for all that was sent before it was known."""
        if sent_at < self._lowered_at:
            return
        self._back_off_s = min(BACK_OFF_MAX_S, self._back_off_s * 2)
        self._lower(min(recent, self.rate(now)), DECREASE, now)
        self._next_at = max(self._next_at, now + self._back_off_s)

    def eased(self, sent_at: float, recent: float, now: float) -> None:
        """Slow down a little, at most once a second: the limit is near."""
        if sent_at >= self._lowered_at + 1.0:
            self._lower(min(recent, self.rate(now)), EASE, now)

    def passed(self, sent_at: float) -> None:
        """Note that a call went through, so that refusals are not in a row."""
        if sent_at >= self._lowered_at:
            self._back_off_s = BACK_OFF_S

    def _lower(self, rate: float, share: float, now: float) -> None:
        self._refused = max(RATE_MIN, rate)
        self._rate = max(RATE_MIN, rate * share)
        self._rate_at = now
        self._lowered_at = now

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        return {"per_second": round(self.rate(now), 3), "next_in": round(max(0.0, self._next_at - now), 3)}
