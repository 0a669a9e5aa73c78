"""Shared: what all services of a generation stand on."""

from collections.abc import Callable
from typing import NamedTuple

from sidecar.auth.network import Network
from sidecar.auth.oauth.pace import Paces
from sidecar.auth.secrets.held import HeldSecrets
from sidecar.core.clock import Clock
from sidecar.core.ids import Ids
from sidecar.core.secret import SecretRef
from sidecar.core.tasks import Tasks
from sidecar.layers.admission import Gate
from sidecar.layers.defer.layer import Submit
from sidecar.store.base import Store
from sidecar.telemetry.audit.audit import Audit
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
    tell: Callable[..., None]  # Writes a line, and where it belongs there a record of the audit: tell(level, msg, ...).
    gate: Gate
    secrets: HeldSecrets
    resolver: Resolver
    contexts: Contexts
    network: Network  # To token endpoints.
    paces: Paces  # How often these are asked.
    store: Store  # What outlives a call, and what pods agree on.
    submit: Submit | None  # Makes jobs of calls; None where nothing outlives the process.
    token_key: SecretRef | None  # Under which pods share tokens through a store that they share.
    replicas: int  # Pods that share the vendor's limits, when nothing else divides them.
    audit: Audit | None = None  # Absent without [audit], so that calls pay nothing for it.
