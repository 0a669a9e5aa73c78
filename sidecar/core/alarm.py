"""Alarm: a time limit that is set and cleared on every call, and arms a timer only now and then.

A timer per call costs half a microsecond to arm and to cancel. Most limits are moved on long before they are due, so
the alarm lets its timer stand, and looks at the real due time when it rings.
"""

from collections.abc import Callable

from sidecar.core.clock import Clock, Timer

NEVER = float("inf")


class Alarm:
    """Calls `fire` once when the instant last given to `set` has passed; never early."""

    __slots__ = ("_armed_at", "_clock", "_due_at", "_fire", "_timer")

    def __init__(self, clock: Clock, fire: Callable[[], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._due_at = NEVER
        self._armed_at = NEVER
        self._timer: Timer | None = None

    def set(self, due_at: float) -> None:
        """Be due at `due_at`, whatever was set before."""
        self._due_at = due_at
        if due_at < self._armed_at:
            self._arm(due_at)

    def clear(self) -> None:
        """Be due never; the timer may stand and finds nothing to do."""
        self._due_at = NEVER

    def stop(self) -> None:
        """Clear, and take the timer down: the owner goes away."""
        self._due_at = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_at = NEVER

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_at = at
        self._timer = self._clock.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._armed_at = NEVER
        due_at = self._due_at
        if due_at == NEVER:
            return
        if self._clock.now() < due_at:
            self._arm(due_at)
            return
        self._due_at = NEVER
        self._fire()
