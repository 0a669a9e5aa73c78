"""Gauge: how many calls may be under way at once, where that is what the vendor limits (Twilio).

The vendor tells a load, or only that it is too much. So the ceiling is sought: a bit below what was under way when the
vendor refused, and slowly up again while it does not (additive increase, multiplicative decrease).
"""

from typing import Any, Final

DECREASE: Final = 0.9
GROWTH: Final = 1.0  # Calls at once; each `GROWTH_EVERY_S` seconds in which the ceiling was reached.
GROWTH_EVERY_S: Final = 1.0
CEILING_MAX: Final = 10_000.0  # Above this there is no ceiling worth holding.
TYPICAL_S: Final = 0.1  # How long a call lasts, before one has ended.


class Gauge:
    """A ceiling on the calls under way; each holds its place until its last byte."""

    __slots__ = ("_held_s", "_lowered_at", "_raised_at", "ceiling", "in_use", "load")

    def __init__(self, in_use: float, now: float) -> None:
        self.in_use = in_use
        self.ceiling = max(1.0, in_use * DECREASE)
        self.load = 0.0  # As the vendor told it last.
        self._held_s = 0.0  # Mean time of a call.
        self._lowered_at = now
        self._raised_at = now

    def wait(self, ahead: float) -> float:
        """Give the seconds until a place is likely free; 0 is now. Who looks then too early waits again."""
        missing = self.in_use + ahead + 1.0 - max(1.0, self.ceiling)
        if missing <= 0:
            return 0.0
        return missing * (self._held_s or TYPICAL_S) / max(1.0, self.ceiling)

    def enter(self) -> None:
        """Take a place."""
        self.in_use += 1.0

    def leave(self, entered_at: float, now: float) -> None:
        """Give the place back."""
        self.in_use = max(0.0, self.in_use - 1.0)
        held_s = now - entered_at
        self._held_s += 0.1 * (held_s - self._held_s) if self._held_s else held_s

    def refused(self, sent_at: float, load: float | None, now: float) -> None:
        """Lower the ceiling, once for all that was under way together."""
        if load is not None:
            self.load = load
        if sent_at >= self._lowered_at:
            self.ceiling = max(1.0, min(self.ceiling, self.in_use + 1.0) * DECREASE)
            self._lowered_at = now
        self._raised_at = now

    def passed(self, load: float | None, now: float) -> None:
        """Raise the ceiling a little when it is reached and the vendor does not mind."""
        if load is not None:
            self.load = load
        if now - self._raised_at >= GROWTH_EVERY_S and self.in_use + 1.0 >= self.ceiling * DECREASE:
            self.ceiling = min(CEILING_MAX, self.ceiling + GROWTH)
            self._raised_at = now

    def used_ratio(self) -> float:
        """Give the share of the ceiling that is taken, 0 to 1."""
        return min(1.0, self.in_use / self.ceiling)

    def snapshot(self) -> dict[str, Any]:
        """Show it for people."""
        return {"ceiling": round(self.ceiling, 1), "in_use": self.in_use, "load": self.load}
