"""Steady: Unix time for what is stored, which neither jumps while we run nor goes back over a restart."""

from sidecar.core.clock import Clock


class Steady:
    """The wall clock at the start, moved on by the monotonic one; never before `seen_at`, which an earlier run wrote.

    A clock that is set while we run changes nothing here. One that was set back between two runs makes time stand
    where the last run ended, so nothing lives longer by more than it was off.
    """

    __slots__ = ("_clock", "_wall_ahead")

    def __init__(self, clock: Clock, seen_at: float = 0.0) -> None:
        self._clock = clock
        self._wall_ahead = max(clock.wall(), seen_at) - clock.now()

    def now(self) -> float:
        """Unix seconds."""
        return self._clock.now() + self._wall_ahead
