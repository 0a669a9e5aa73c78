"""Reach: whether Valkey answers, and when to look again while it does not; a machine."""

PAUSE_MIN = 0.1
PAUSE_MAX = 5.0


class Reach:
    """Up until a question fails; then looked at again after pauses that grow, with the upper half up to chance."""

    __slots__ = ("_failures", "is_up", "problem")

    def __init__(self) -> None:
        self.is_up = True
        self.problem = ""
        self._failures = 0

    def failed(self, problem: str) -> bool:
        """Note that it is away, and say whether that is new."""
        was_up, self.is_up, self.problem = self.is_up, False, problem
        return was_up

    def pause(self, chance: float) -> float:
        """Give the seconds until the next look; the first is at once, since only one connection may have broken."""
        failures, self._failures = self._failures, self._failures + 1
        if not failures:
            return 0.0
        return min(PAUSE_MAX, PAUSE_MIN * 2.0 ** min(failures - 1, 16)) * (1 + chance) / 2

    def answered(self) -> None:
        """Note that it is there."""
        self.is_up, self.problem, self._failures = True, "", 0
