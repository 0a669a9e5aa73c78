"""Pace: when a store is asked next; pure."""

FIRST_RETRY_S = 1.0  # After a failure; doubled with each in a row, up to the store's own pace, or a minute.
RETRY_MAX_S = 60.0
SPREAD = 0.1  # Share of the pace by which chance moves it, so that pods do not ask in step.


class Pace:
    """One store's: every `poll_s` seconds, sooner after a failure. A value is used for `stale_max` unconfirmed."""

    __slots__ = ("_failures", "_is_hurried", "due_at", "poll_s", "stale_max")

    def __init__(self, poll_s: float, stale_max: float) -> None:
        assert poll_s > 0
        self.poll_s = poll_s
        self.stale_max = stale_max
        self.due_at = 0.0
        self._failures = 0
        self._is_hurried = False  # Somebody wants it now.

    def hurry(self) -> None:
        """Be due at once, and once more if somebody is asking just now."""
        self.due_at = 0.0
        self._is_hurried = True

    def begin(self) -> None:
        """Note that the store is asked now."""
        self._is_hurried = False

    def done(self, now: float, chance: float, *, is_well: bool) -> None:
        """Plan the next time; `chance` is drawn from [0, 1)."""
        self._failures = 0 if is_well else self._failures + 1
        wait = self.poll_s
        if self._failures:
            wait = min(wait, RETRY_MAX_S, FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 16))
        self.due_at = 0.0 if self._is_hurried else now + wait * (1 - SPREAD * chance)
