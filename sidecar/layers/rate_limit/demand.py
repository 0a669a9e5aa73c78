"""Demand: how many permits a second a pod has use for, by what it took lately and by those who wait."""

from typing import Final

GAIN: Final = 0.5  # Of what was just seen.
SEEN_MIN_S: Final = 0.3  # A shorter time tells nothing.
PACE_MIN: Final = 0.1  # Permits a second.
PATIENT_S: Final = 0.5  # So much of the use may wait without a wish for more: calls do not come evenly.


class Demand:
    """Counts between two questions, and smooths."""

    __slots__ = ("_pace", "_since", "_wish", "refused", "taken")

    def __init__(self, now: float) -> None:
        self.taken = 0.0  # Permits, since ...
        self.refused = 0.0  # ... and those of calls that were not let into the line.
        self._since = now
        self._pace = -1.0  # Permits a second that went; below 0: not known yet.
        self._wish = 0.0  # The same, with those that were refused.

    def is_none(self, waiting: float) -> bool:
        """Whether nobody wanted anything."""
        return not (self.taken or self.refused or waiting)

    def look(self, now: float) -> None:
        """Take in what was counted, and begin to count anew."""
        seconds = now - self._since
        if seconds < SEEN_MIN_S:
            return
        pace = self.taken / seconds
        wish = pace + self.refused / seconds
        gain = GAIN if self._pace >= 0 else 1.0
        self._pace += gain * (pace - self._pace)
        self._wish += gain * (wish - self._wish)
        self.taken = self.refused = 0.0
        self._since = now

    def pace(self) -> float:
        """Give permits a second, as they went; without end while it is not known."""
        return max(PACE_MIN, self._pace) if self._pace >= 0 else float("inf")

    def use(self, waiting: float) -> float:
        """Give permits a second, as they would go: those who wait for long shall go within a second."""
        return self._wish + max(0.0, waiting - self._wish * PATIENT_S)

    def begin(self, now: float) -> None:
        """Count from now on: before, there was no use."""
        self.taken = self.refused = 0.0
        self._since = now
        self._pace = -1.0
        self._wish = 0.0
