"""Sliding: an allowance over the last so many seconds, of which a piece comes back all the time (Bitbucket, HubSpot).

The vendor's own count cannot be read between two answers, but it is a count of what we sent, so we keep the same count.
"""

from typing import Any, Final

from sidecar.core.advice import Told
from sidecar.layers.rate_limit.allowance import NEVER, Allowance
from sidecar.layers.rate_limit.bucket import Bucket
from sidecar.layers.rate_limit.quota import Quota

JITTER_S: Final = 0.02  # A call may be that much longer under way than the one whose place it takes.
SLICES: Final = 256  # Finer than for a rate of our own: what the vendor gives back is not to be left lying.
FREE_SHARE: Final = 0.5  # Of the limit may be used in whatever burst. What goes in bursts comes back in bursts, ...
EVEN: Final = 1.2  # ... so the rest goes at this many times the mean pace, ...
BURST_SHARE: Final = 0.1  # ... and this share of the limit at once.
GAIN: Final = 0.2  # How much of a new guess of what others used is taken over.
DOUBT_KEPT: Final = 0.98  # Of the doubt, with each call that goes through.
DOUBT_MAX: Final = 8.0  # More than one refusal in seven keeps it above that: then it is no such window.
TRUSTED: Final = 0.1  # Share of the limit by which our count may be above the vendor's before it is put right.


class Sliding(Allowance):
    """A `Quota` of the vendor's own size, put right by what it tells."""

    __slots__ = ("_free_at", "_others", "_pace", "_quota", "_settle", "doubt", "length")

    def __init__(self, told: Told, length: float, in_flight: float, number: float, now: float, settle: float) -> None:
        super().__init__(told, in_flight, number, now)
        assert self.limit >= 1
        self.length = length
        self.doubt = 0.0  # Grows with each refusal that this count should have prevented.
        self._settle = settle
        self._others = 0.0
        self._free_at = NEVER
        self._quota = Quota(self.limit, length + JITTER_S, now, SLICES)
        self._pace = Bucket(self.limit * EVEN, length, max(1.0, self.limit * BURST_SHARE), now)
        self._quota.take(now, self.limit - (told.remaining or 0.0))

    def wait(self, now: float, cost: float, ahead: float) -> float:
        """Wait until enough of what we sent is out of the window."""
        wait = self._quota.wait(now, cost, ahead + self._others)
        if self._quota.taken(now) + ahead >= self.limit * FREE_SHARE:
            wait = max(wait, self._pace.wait(now, cost, ahead))
        if wait and not ahead and not self.in_flight:
            return min(wait, max(0.0, self._free_at + self._settle - now))  # As told; the answer will tell the next.
        return wait

    def take(self, now: float, cost: float) -> None:
        """Count an attempt."""
        if self._quota.taken(now) >= self.limit * FREE_SHARE:
            self._pace.take(now, cost)
        self._quota.take(now, cost)
        self.in_flight += cost

    def give_back(self, cost: float) -> None:
        """Leave it counted, since it is not known where: it comes back by itself."""

    def hear(self, told: Told, sent_at: float, cost: float, now: float, *, since: float, is_throttled: bool) -> None:  # noqa: ARG002
        """Put our count right."""
        self.doubt = self.doubt + 1.0 if is_throttled else self.doubt * DOUBT_KEPT
        if told.remaining is None:
            return
        if told.limit is not None and told.limit >= 1:
            self.limit = self._quota.count = told.limit
        used = self.limit - told.remaining
        ours = self._quota.taken(now)
        self._others += GAIN * (max(0.0, used - ours) - self._others)
        excess = ours - self.in_flight - used - max(2.0, self.limit * TRUSTED)
        if excess > 0:
            self._quota.forget(excess)
        self._free_at = now + told.reset_in if told.reset_in is not None else NEVER
        self.told_at = now

    def used_ratio(self, now: float) -> float:
        """Give the share of the limit that is used, 0 to 1."""
        return min(1.0, (self._quota.taken(now) + self._others) / self.limit)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        left = max(0.0, self.limit - self._quota.taken(now) - self._others)
        return {"limit": self.limit, "left": round(left, 3), "others": round(self._others, 3), "slides": self.length}
