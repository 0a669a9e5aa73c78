"""What the operator sets for the bulkhead."""

from sidecar.core.section import Section
from sidecar.core.units import Duration


class BulkheadConfig(Section, kw_only=True):
    """`bulkhead`: how many attempts may be under way at once, each until its last byte."""

    slots: int = 100  # All in use: attempts wait in line. Adaptive: the most there may be.
    waiting_max: int = 100  # Full: refused with 503 and Retry-After.
    wait_max: Duration | None = None  # Absent: what is left of the call's time. Over it: as when the line is full.
    adaptive: bool = False  # Find the number by the vendor's latency, between slots_min and slots.
    slots_min: int = 10  # Adaptive: never fewer, and the number to begin with.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        if self.adaptive and self.slots_min > self.slots:
            return [("slots_min", f"{self.slots_min} is more than slots = {self.slots}; write at most that")]
        return []
