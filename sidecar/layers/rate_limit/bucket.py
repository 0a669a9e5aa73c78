"""Bucket: a token bucket, for the shortest window of a rate."""

from typing import Any, Final

SLACK: Final = 1e-9  # Permits. What a sum of fractions misses its whole by is not worth a wait.


class Bucket:
    """Never more than `rate` x t + `burst` permits in any t seconds, where `rate` is `count` in `seconds`.

    One that costs more than the burst waits for a full bucket and takes it into debt: the excess is then the most by
    which the bound is passed, and it is paid back before anything else goes.
    """

    __slots__ = ("_filled_at", "_level", "_spent", "_spent_before", "_turn_at", "burst", "count", "rate", "seconds")

    def __init__(self, count: float, seconds: float, burst: float, now: float) -> None:
        assert count > 0
        assert seconds > 0
        assert burst >= 1
        self.count = count
        self.seconds = seconds
        self.rate = count / seconds  # Permits per second.
        self.burst = burst
        self._level = burst
        self._filled_at = now
        self._turn_at = now  # For `used_ratio`: when the present window began,
        self._spent = 0.0  # what was taken in it,
        self._spent_before = 0.0  # and in the one before.

    def level(self, now: float) -> float:
        """Give how many permits are there; below 0 in debt."""
        return min(self.burst, self._level + (now - self._filled_at) * self.rate)

    def wait(self, now: float, cost: float, ahead: float) -> float:
        """Give the seconds until `cost` permits may go behind `ahead` others, each of which goes as soon as it may."""
        missing = ahead + min(cost, self.burst) - self.level(now)
        return missing / self.rate if missing > SLACK else 0.0

    def may_take(self, now: float, cost: float) -> bool:
        """Take `cost` permits if they are there, and say whether they were."""
        level = self._level + (now - self._filled_at) * self.rate
        burst = self.burst
        level = min(level, burst)
        if level + SLACK < (cost if cost < burst else burst):  # noqa: FURB136 - min() costs a call
            return False
        self._level = level - cost
        self._filled_at = now
        if now - self._turn_at >= self.seconds:
            self._turn(now)
        self._spent += cost
        return True

    def take(self, now: float, cost: float) -> None:
        """Take `cost` permits, there or not."""
        self._level = self.level(now) - cost
        self._filled_at = now
        if now - self._turn_at >= self.seconds:
            self._turn(now)
        self._spent += cost

    def _turn(self, now: float) -> None:
        """Begin a window of the count."""
        self._spent_before = self._spent if now - self._turn_at < 2 * self.seconds else 0.0
        self._spent = 0.0
        self._turn_at = now

    def give_back(self, cost: float) -> None:
        """Give back what was taken for nothing: the vendor did not see it."""
        self._level = min(self.burst, self._level + cost)
        self._spent = max(0.0, self._spent - cost)

    def used_ratio(self, now: float) -> float:
        """Give the share of the count that was used in the last `seconds`, 0 to 1; of the window before by its part."""
        age = (now - self._turn_at) / self.seconds
        if age >= 2:
            return 0.0
        spent = self._spent + self._spent_before * (1 - age) if age < 1 else self._spent * (2 - age)
        return min(1.0, spent / self.count)

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        return {"permits": round(self.level(now), 3), "burst": self.burst, "used_ratio": round(self.used_ratio(now), 3)}
