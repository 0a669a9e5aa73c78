"""Advice: what a vendor's answer tells about its limits, and about trying again; read once, used by several layers."""

from typing import Literal

TOLD_MAX = 16  # Allowances taken from one answer. More: the rest is left out.
Kind = Literal["window", "bucket", "gauge"]


class Told:
    """One allowance as the vendor announced it; numbers are None where it said nothing. Lengths are seconds.

    `window`: so many calls until it ends, in `reset_in`. `bucket`: refills all the time, and is full in `reset_in`.
    `gauge`: `load` calls are under way at once, as the vendor counts them.
    """

    __slots__ = ("kind", "limit", "load", "name", "remaining", "reset_in", "resource", "window")

    def __init__(
        self,
        name: str,
        kind: Kind = "window",
        *,
        resource: str = "",
        limit: float | None = None,
        remaining: float | None = None,
        reset_in: float | None = None,
        window: float | None = None,
        load: float | None = None,
    ) -> None:
        self.name = name
        self.resource = resource  # Which part of the vendor's API it is for; "" is all of it.
        self.kind = kind
        self.limit = limit
        self.remaining = remaining
        self.reset_in = reset_in
        self.window = window
        self.load = load


class Advice:
    """What one answer says beside its content."""

    __slots__ = (
        "doubts",
        "is_final",
        "is_near",
        "is_throttled",
        "is_worked_out",
        "retry_after",
        "should_retry",
        "told",
    )

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.retry_after: float | None = None  # Seconds from now, as the vendor asks; not capped.
        self.is_worked_out = False  # The vendor did not say the wait itself; it follows from the end of a window.
        self.is_throttled = False  # The vendor refused for the sake of its limits.
        self.is_final = False  # Another attempt would end the same way.
        self.is_near = False  # The vendor says that its limit is close.
        self.should_retry: bool | None = None  # The vendor's own word; it overrides the status.
        self.doubts: list[str] = []  # Sentences about hints that were not believed.
