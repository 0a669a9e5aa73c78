"""Allowance: one limit as the vendor announces it, kept by what it told last and by what we sent since."""

from typing import Any, Final

from sidecar.core.advice import Told

NEVER: Final = float("inf")
NAME_CHARS_MAX: Final = 64  # Of a vendor's name for a limit, as it is shown.


class Allowance:
    """What the kinds have in common; each says when the next call may go."""

    __slots__ = ("in_flight", "limit", "name", "number", "resource", "told_at")

    def __init__(self, told: Told, in_flight: float, number: float, now: float) -> None:
        self.name = told.name
        self.resource = told.resource
        self.limit = told.limit or 0.0  # 0: not known yet.
        self.in_flight = in_flight  # Permits of attempts whose answer is not there yet.
        self.number = number  # Attempts with a higher number are counted here; those of `in_flight`, too.
        self.told_at = now

    def wait(self, now: float, cost: float, ahead: float) -> float:
        """Give the seconds until `cost` permits may go behind `ahead` others; 0 is now. Changes nothing."""
        raise NotImplementedError

    def take(self, now: float, cost: float) -> None:
        """Count an attempt that is sent now."""
        raise NotImplementedError

    def done(self, number: float, cost: float, now: float) -> None:  # noqa: ARG002 - for those that keep the time
        """Note that an attempt was answered, or will not be."""
        if number > self.number:
            self.in_flight = max(0.0, self.in_flight - cost)

    def give_back(self, cost: float) -> None:
        """Note that the vendor did not see an attempt."""
        raise NotImplementedError

    def hear(self, told: Told, sent_at: float, cost: float, now: float, *, since: float, is_throttled: bool) -> None:
        """Learn from the answer to an attempt of `sent_at`, after its `done`; `since` permits were sent after it."""
        raise NotImplementedError

    @property
    def shown_name(self) -> str:
        """Give the name under which people see it."""
        name = self.name or "requests"
        if self.resource:
            name += "/" + self.resource
        return "announced:" + name[:NAME_CHARS_MAX]

    def used_ratio(self, now: float) -> float:
        """Give the share of the limit that is used, 0 to 1."""
        raise NotImplementedError

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        raise NotImplementedError
