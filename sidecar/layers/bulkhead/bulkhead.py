"""Bulkhead: the slots of one service, and what finds their number when it is adaptive."""

from typing import Any

from sidecar.layers.bulkhead.config import BulkheadConfig
from sidecar.layers.bulkhead.gradient import Gradient
from sidecar.layers.bulkhead.slots import Slots


class Bulkhead:
    """What all routes of a service share."""

    __slots__ = ("gradient", "slots", "wait_max")

    def __init__(self, config: BulkheadConfig, now: float) -> None:
        self.gradient = Gradient(config.slots_min, config.slots, now) if config.adaptive else None
        self.slots = Slots(config.slots_min if config.adaptive else config.slots, config.waiting_max)
        self.wait_max = float("inf") if config.wait_max is None else float(config.wait_max)

    def learn(self, took_s: float, now: float) -> None:
        """Note how long an answer took, and follow the number that this leads to."""
        gradient, slots = self.gradient, self.slots
        assert gradient is not None
        if gradient.add(took_s, slots.taken, now) and gradient.slots != slots.capacity:
            slots.resize(gradient.slots)

    def snapshot(self, now: float) -> dict[str, Any]:  # noqa: ARG002 - as of all machines
        """Show who is inside and in line."""
        slots = self.slots
        shown: dict[str, Any] = {
            "in_use": slots.taken, "slots": slots.capacity, "waiting": slots.waiting, "waiting_max": slots.waiting_max
        }  # fmt: skip
        if self.gradient is not None:
            shown["usual_ms"] = round(self.gradient.usual_s * 1000, 1)
        return shown
