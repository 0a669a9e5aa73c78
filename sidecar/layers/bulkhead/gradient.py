"""Gradient: how many at once the vendor bears, as its latency tells.

The idea is that of Netflix concurrency-limits (Gradient2) and of Envoy's adaptive concurrency: compare what answers
take now with what they take when nothing stands in line at the vendor. While that is about the same, allow a few more;
when it is more, allow fewer in proportion.

What answers take without a line is learned where we cannot be the cause: while the slots are not needed, and at the
fewest slots, where we go when latency stays high. So a vendor that is slower for good gets its slots again.
"""

from math import sqrt

TOLERANCE = 1.5  # Answers may take so many times their usual length before it counts as a line.
SHRINK_MAX = 0.5  # In one window, so that a hiccup does not cost all.
WINDOW_S = 1.0  # The shortest time after which the number is looked at ...
SAMPLES_MIN = 10  # ... and the fewest answers to judge by.
USED_MIN = 0.5  # Share of the slots in use below which they were not needed.
LEARN = 0.1  # Weight of a window in what is usual ...
LEARN_AT_LEAST = 0.5  # ... and at the fewest slots, where it is found out anew.


class Gradient:
    """The number of slots, between `slots_min` and `slots_max`. It begins with the fewest, to learn what is usual."""

    __slots__ = ("_count", "_slots", "_slots_max", "_slots_min", "_sum_s", "_used_max", "_window_at", "usual_s")

    def __init__(self, slots_min: int, slots_max: int, now: float) -> None:
        assert 1 <= slots_min <= slots_max
        self._slots_min = slots_min
        self._slots_max = slots_max
        self._slots = float(slots_min)
        self._window_at = now
        self._count = 0
        self._sum_s = 0.0
        self._used_max = 0
        self.usual_s = 0.0  # What an answer takes when nothing stands in line; 0 until it is known.

    @property
    def slots(self) -> int:
        """The number for now."""
        return int(self._slots)

    def add(self, took_s: float, used: int, now: float) -> bool:
        """Note that an answer took so long while `used` slots were taken; say whether the number may have changed."""
        self._count += 1
        self._sum_s += took_s
        self._used_max = max(self._used_max, used)
        if self._count < SAMPLES_MIN or now - self._window_at < WINDOW_S:
            return False
        self._judge(self._sum_s / self._count, self._used_max)
        self._window_at = now
        self._count = 0
        self._sum_s = 0.0
        self._used_max = 0
        return True

    def _judge(self, took_s: float, used: int) -> None:
        is_needed = used >= USED_MIN * self.slots
        is_least = self.slots <= self._slots_min
        if not self.usual_s:
            self.usual_s = took_s
        elif is_least or not is_needed or took_s < self.usual_s:
            self.usual_s += (LEARN_AT_LEAST if is_least else LEARN) * (took_s - self.usual_s)
        if not is_needed:
            return  # The latency says nothing about a number that was not reached.
        gradient = min(1.0, max(SHRINK_MAX, TOLERANCE * self.usual_s / took_s)) if took_s > 0 else 1.0
        # The root keeps a short line at the vendor, without which nobody would learn that it bears more.
        wanted = self._slots * gradient + sqrt(self._slots)
        self._slots = min(float(self._slots_max), max(float(self._slots_min), wanted))
