"""Admission: protects this pod's memory; sheds before any work."""

from collections.abc import Awaitable

from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.errors import Shed
from sidecar.core.outcome import Outcome
from sidecar.core.section import Section


class AdmissionConfig(Section, kw_only=True):
    """`[admission]`: how much may go on in this pod at once, over all services."""

    calls_max: int = 2000  # Full: the call is shed with 503 and Retry-After: 1.


class Gate:
    """Counts the calls under way; all services share one, across generations."""

    __slots__ = ("calls_max", "inside")

    def __init__(self, calls_max: int) -> None:
        assert calls_max >= 1
        self.calls_max = calls_max
        self.inside = 0

    def may_enter(self) -> bool:
        """Enter if there is room, and say whether there was."""
        if self.inside >= self.calls_max:
            return False
        self.inside += 1
        return True

    def leave(self, outcome: Outcome) -> None:  # noqa: ARG002 - the signature of an ending
        """Leave, at the last byte."""
        assert self.inside > 0
        self.inside -= 1


def admission(gate: Gate) -> Layer:
    """Shed a call that finds the gate full."""

    def around(inner: Handler) -> Handler:
        def admitted(call: Call) -> Awaitable[Reply]:
            if not gate.may_enter():
                raise Shed(f"{gate.calls_max} calls are under way in this pod (admission.calls_max)", retry_after=1.0)
            call.on_end(gate.leave)
            return inner(call)

        return admitted

    return around
