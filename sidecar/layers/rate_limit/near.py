"""Near: tells once when a limit is nearly used up, and again only after it was not."""

from typing import Final

GAP: Final = 0.1  # A share is near until it is that much below the mark.
LOOK_EVERY_S: Final = 1.0
TELL_EVERY_S: Final = 60.0  # At most, for each window.


class Near:
    """Looks at the used shares once a second, while calls come."""

    __slots__ = ("_from", "_near", "_told_at", "look_at")

    def __init__(self, near_from: float) -> None:
        self._from = near_from
        self.look_at = 0.0  # When to look next.
        self._near: set[str] = set()
        self._told_at: dict[str, float] = {}  # As many as there are windows: what is not shown any more is forgotten.

    def look(self, ratios: list[tuple[str, float]], now: float) -> list[tuple[str, float]]:
        """Give the (window, used share) that are worth a line now."""
        self.look_at = now + LOOK_EVERY_S
        near: set[str] = set()
        told_at: dict[str, float] = {}
        found = []
        for window, ratio in ratios:
            if ratio >= self._from or (ratio >= self._from - GAP and window in self._near):
                near.add(window)
            last_at = self._told_at.get(window)
            if last_at is not None:
                told_at[window] = last_at
            if window in near and window not in self._near and (last_at is None or now - last_at >= TELL_EVERY_S):
                told_at[window] = now
                found.append((window, ratio))
        self._near = near
        self._told_at = told_at
        return found
