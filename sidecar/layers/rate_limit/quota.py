"""Quota: so many permits in any window of a given length; for the longer windows of a rate.

A token bucket would allow twice the count in its first window: the full bucket, and what flows in meanwhile. So this
counts what was taken. The window slides in slices, and a permit counts until the whole of its slice is out of the
window: up to a slice longer than it must, never shorter.
"""

from math import ceil
from typing import Any, Final

SLICES: Final = 64
_SLACK: Final = 1e-9
_ROUNDING_S: Final = 1e-6  # Added to each wait: an index that is computed from a sum may be one too low.


class Quota:
    """Never more than `count` permits in any window of `seconds`. One that costs more waits until none is taken."""

    __slots__ = ("_index", "_ring", "_slice", "_slices", "_span", "_taken", "count", "seconds")

    def __init__(self, count: float, seconds: float, now: float, slices: int = SLICES) -> None:
        assert count >= 1
        assert seconds > 0
        self.count = count
        self.seconds = seconds
        self._span = slices
        self._ring = slices + 1  # The window covers so many, and the one that is going on.
        self._slice = seconds / slices
        self._slices = [0.0] * self._ring  # Slice number i stands at i modulo its length.
        self._index = int(now / self._slice)  # Number of the newest slice.
        self._taken = 0.0  # In all slices.

    def taken(self, now: float) -> float:
        """Give how many permits count now."""
        oldest = int(now / self._slice) - self._span
        if oldest <= self._index - self._span:
            return self._taken
        gone = range(self._index - self._span, min(oldest, self._index + 1))
        return max(0.0, self._taken - sum(self._slices[i % self._ring] for i in gone))

    def wait(self, now: float, cost: float, ahead: float) -> float:
        """Give the seconds until `cost` permits may go behind `ahead` others, each of which goes as soon as it may."""
        taken = self.taken(now)
        missing = ahead + min(cost, self.count) - (self.count - taken)
        if missing <= _SLACK:
            return 0.0
        # Every permit comes back a window after it went, so each whole count more is one more window.
        windows = ceil(missing / self.count) - 1
        missing -= windows * self.count
        newest = int(now / self._slice)
        due_at = now + self.seconds + self._slice  # Those that go now come back then.
        for i in range(max(newest, self._index) - self._span, self._index + 1):
            if i < newest - self._span:
                continue
            missing -= self._slices[i % self._ring]
            if missing <= _SLACK:
                due_at = (i + self._span + 1) * self._slice
                break
        return max(0.0, due_at - now) + windows * self.seconds + _ROUNDING_S

    def may_take(self, now: float, cost: float) -> bool:
        """Take `cost` permits if they are free, and say whether they were."""
        if int(now / self._slice) != self._index:
            self._advance(now)
        count = self.count
        if self._taken + min(cost, count) > count + _SLACK:
            return False
        self.take(now, cost)
        return True

    def take(self, now: float, cost: float) -> None:
        """Take `cost` permits, free or not."""
        if int(now / self._slice) != self._index:
            self._advance(now)
        self._slices[self._index % self._ring] += cost
        self._taken += cost

    def give_back(self, taken_at: float, cost: float) -> None:
        """Give back what was taken at `taken_at` for nothing: the vendor did not see it."""
        index = int(taken_at / self._slice)
        if index < self._index - self._span:
            return  # It does not count any more.
        cost = min(cost, self._slices[index % self._ring])
        self._slices[index % self._ring] -= cost
        self._taken -= cost

    def forget(self, cost: float) -> None:
        """Give back the oldest `cost` permits: who really counts them says that they are free."""
        for i in range(self._index - self._span, self._index + 1):
            gone = min(cost, self._slices[i % self._ring])
            self._slices[i % self._ring] -= gone
            self._taken -= gone
            cost -= gone
            if cost <= _SLACK:
                return

    def used_ratio(self, now: float) -> float:
        """Give the share of the count that is used, 0 to 1."""
        return min(1.0, self.taken(now) / self.count)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        return {"used": round(self.taken(now), 3), "count": self.count, "seconds": self.seconds}

    def _advance(self, now: float) -> None:
        """Begin the slice of `now`, and let go what is out of the window."""
        newest = int(now / self._slice)
        if newest < self._index:
            return  # Time does not go back; what is asked for the past counts in the newest slice.
        for i in range(self._index + 1, min(newest, self._index + self._ring) + 1):
            self._taken -= self._slices[i % self._ring]
            self._slices[i % self._ring] = 0.0
        self._index = newest
        if self._taken < _SLACK:
            self._taken = 0.0
