"""What services stand on, for layers without sockets."""

from collections.abc import Callable
from typing import Any

from sidecar.auth.oauth.pace import Paces
from sidecar.core.clock import Clock
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.layers.admission import Gate
from sidecar.layers.shared import Shared
from sidecar.telemetry.log import Log
from sidecar.telemetry.metrics import Metrics


def shared_by(
    clock: Clock, metrics: Metrics, log: Log, gate: Gate, jitter: Callable[[], float], tasks: Tasks | None = None
) -> Shared:
    """Give it; what reads secrets and reaches vendors is not there, for no layer asks for it."""
    nothing: Any = None
    return Shared(
        clock=clock, jitter=jitter, ids=Ids(), tasks=tasks or Tasks(), metrics=metrics, log=log, tell=log.event,
        gate=gate, secrets=nothing, resolver=nothing, contexts=nothing, network=nothing, paces=Paces(),
        store=nothing, submit=None, token_key=None, replicas=1,
    )  # fmt: skip
