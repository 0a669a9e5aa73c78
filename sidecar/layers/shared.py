"""Shared: what all services of a generation stand on."""

from collections.abc import Callable
from typing import NamedTuple

from sidecar.auth.secrets.held import HeldSecrets
from sidecar.core.clock import Clock
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.layers.admission import Gate
from sidecar.telemetry.log import Log
from sidecar.telemetry.metrics import Metrics
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import Contexts


class Shared(NamedTuple):
    """What all services of a generation share."""

    clock: Clock
    jitter: Callable[[], float]  # Draws from [0, 1).
    ids: Ids
    tasks: Tasks
    metrics: Metrics
    log: Log
    gate: Gate
    secrets: HeldSecrets
    resolver: Resolver
    contexts: Contexts
    replicas: int  # Pods that share the vendor's limits, when nothing else divides them.
