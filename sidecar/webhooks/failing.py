"""Failing: what is told of deliveries that fail: that it begins, how it goes on, rarely, and that they succeed again.

Each event is tried again and again, and with a hundred thousand of them a line for each try would be the whole log. How
an event stands is asked of the event (`sidecar events show`); each that ends has a line of its own.
"""

BEGIN_EVERY = 60.0  # Seconds between two lines that it begins, where some deliveries fail and others do not,
GO_ON_EVERY = 600.0  # and between two that it goes on.


class Failing:
    """Of one webhook, in this pod. A machine."""

    def __init__(self) -> None:
        self._told_at: float | None = None  # The last time that a line was written.
        self._began_at: float | None = None  # None: it is not told to fail now.
        self._untold = 0  # Tries that failed since the last line.
        self._failed = 0  # Since it began.

    def failed(self, now: float) -> dict[str, float] | None:
        """Take in a try that failed; give what to tell beside it, or None for nothing."""
        self._untold += 1
        self._failed += 1
        every = BEGIN_EVERY if self._began_at is None else GO_ON_EVERY
        if self._told_at is not None and now < self._told_at + every:
            return None
        untold, self._untold, self._told_at = self._untold, 0, now
        if self._began_at is None:
            self._began_at, self._failed = now, untold
        return {"failures": untold, "failing_for": round(now - self._began_at, 3)}

    def succeeded(self, now: float) -> dict[str, float] | None:
        """Take in one that succeeded; give what to tell, where it was told to fail."""
        if self._began_at is None:
            return None
        told = {"failures": self._failed, "failed_for": round(now - self._began_at, 3)}
        self._began_at, self._untold, self._failed = None, 0, 0
        return told
