"""Budget: how many extra attempts a service may make, so that retries do not keep a failing vendor down."""

from sidecar.core.rolling import RollingCounts

WINDOW = 10.0  # Seconds over which calls and extra attempts are compared.
_CALLS, _EXTRA = 0, 1


class Budget:
    """Allows `share` x calls of the last 10 s as extra attempts, and `floor` a second in any case."""

    __slots__ = ("_counts", "_filled_at", "_floor", "_permits", "_share")

    def __init__(self, share: float, floor: float, now: float) -> None:
        assert 0 <= share <= 1
        assert floor >= 0
        self._share = share
        self._floor = floor
        self._permits = floor  # Of the floor; never more than one second's worth.
        self._filled_at = now
        self._counts = RollingCounts(WINDOW, 2, now)

    def count(self, now: float) -> None:
        """Count a call."""
        self._counts.add(_CALLS, now)

    def spend(self, now: float) -> bool:
        """Take one extra attempt, and say whether there was one."""
        self._fill(now)
        if self._earned(now) >= 1:
            self._counts.add(_EXTRA, now)
            return True
        if self._permits >= 1:
            self._permits -= 1
            return True
        assert self._permits >= 0
        return False

    def left(self, now: float) -> float:
        """Say how many extra attempts are allowed now; changes nothing, since a scrape reads in another thread."""
        earned = self._counts.peek(_CALLS, now) * self._share - self._counts.peek(_EXTRA, now)
        filled = min(self._floor, self._permits + max(0.0, now - self._filled_at) * self._floor)
        return max(0.0, earned) + filled

    def snapshot(self, now: float) -> dict[str, float]:
        """Show the counts, for people."""
        return {"budget_left": round(self.left(now), 1)}

    def _earned(self, now: float) -> float:
        # What was spent may outlast the calls that earned it; it is no debt.
        return max(0.0, self._counts.total(_CALLS, now) * self._share - self._counts.total(_EXTRA, now))

    def _fill(self, now: float) -> None:
        if now > self._filled_at:
            self._permits = min(self._floor, self._permits + (now - self._filled_at) * self._floor)
            self._filled_at = now
