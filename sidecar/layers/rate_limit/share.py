"""Share: how much of a vendor's limit is ours, where others use it, too: other pods, other programs.

A call may also weigh more than one with the vendor (tokens, points); then what it weighs looks like others' calls, and
is reckoned with in the same way.
"""

from typing import Final

from sidecar.layers.rate_limit.quota import Quota

SPAN_MIN_S: Final = 1.0  # What we sent is counted over so long at least, and over the window's length.
SLICES: Final = 8
OTHERS_MIN: Final = 0.5  # Calls of others for each of ours. Below, it is taken for noise: answers overtake each other.
GAIN: Final = 0.5  # How much of what one window showed is taken over.
_MANY: Final = 1e18


class Share:
    """Counts what we sent over the length of a window, and compares it with what the vendor saw."""

    __slots__ = ("_carry", "_ours", "ratio")

    def __init__(self, cost: float, now: float) -> None:
        self.ratio = 0.0  # Calls of others for each of ours.
        self._carry = 0.0  # Part of a call that our share left over.
        self._ours = Quota(_MANY, SPAN_MIN_S, now, SLICES)
        self._ours.take(now, cost)

    def sent(self, now: float, cost: float, length: float) -> None:
        """Count what we sent; `length` is the window's."""
        if length > self._ours.seconds * 1.1:
            known = self._ours.taken(now)
            self._ours = Quota(_MANY, length, now, SLICES)
            self._ours.take(now, known)
        self._ours.take(now, cost)

    def refused(self, sent_at: float, cost: float) -> None:
        """Take back what the vendor refused: it does not count that either."""
        self._ours.give_back(sent_at, cost)

    def is_mostly_ours(self, used: float, now: float) -> bool:
        """Whether at least half of what was used in a window was ours."""
        return self._ours.taken(now) >= used / 2

    def learn(self, used: float, sent: float, limit: float, now: float) -> None:
        """Learn from a window that is over, in which we sent `sent`, and the vendor counted `used`."""
        left_over = self.fair(limit) - sent
        self._carry = min(1.0, max(0.0, left_over)) if self.ratio else 0.0
        ours = max(1.0, sent, self._ours.taken(now))
        ratio = max(0.0, used - ours) / ours
        self.ratio += GAIN * ((ratio if ratio >= OTHERS_MIN else 0.0) - self.ratio)
        if self.ratio < OTHERS_MIN / 4:
            self.ratio = 0.0

    def fair(self, limit: float) -> float:
        """Give how many of `limit` are ours; all of it, when nobody else is seen."""
        return limit / (1.0 + self.ratio) + self._carry if self.ratio else limit

    def has_others(self) -> bool:
        """Whether others are seen."""
        return self.ratio > 0
