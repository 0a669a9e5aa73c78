"""Stack: the order of the layers, and why. Top is outermost; what is not configured is not there.

observe      sees everything, also what the sidecar refuses by itself
deadline     all below share one budget of time
admission    protects this pod's memory; sheds before any work
body_bound   the same for one call
access       least privilege: what is not allowed stops before anything is done with it
defer        a call that may happen later becomes a job: as the app made it, so that its turn passes all below anew
rewrite      the app's addresses outwards
transform    the vendor's shape inwards, the app's shape outwards
idempotency  one key per logical operation, the same on every attempt; what was done before is answered from here
batch        only the items that failed are sent again, each sending a call to all below, with a key of its own
gather       reads of different things share one call; one that waited alone may still share with an equal one
coalesce     equal reads at the same time share one call
retry        all below happens once per attempt
hedge        a second attempt beside a late one passes all below like the first
entitled     waits for a token, and replaces it when it is refused; nothing below is held meanwhile
circuit_breaker  the cheapest refusal; judges attempts, not calls
rate_limit   each attempt costs the vendor one request; an open circuit spends no permits
bulkhead     the innermost wait: a slot is never held while waiting for something else
credentials  innermost (entitle, sign): fresh at the moment of sending; then noted, where there is an audit log
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from sidecar.auth.pool import PooledCredential
from sidecar.auth.signing.config import Passthrough
from sidecar.core.call import Handler, Layer
from sidecar.core.clock import Clock
from sidecar.core.recent import Recent
from sidecar.core.tasks import Tasks
from sidecar.layers.access import access
from sidecar.layers.admission import Gate, admission
from sidecar.layers.batch.config import BatchConfig
from sidecar.layers.batch.layer import BatchParts, BatchRules, batch
from sidecar.layers.body_bound import body_bound
from sidecar.layers.bulkhead.bulkhead import Bulkhead
from sidecar.layers.bulkhead.layer import bulkhead
from sidecar.layers.circuit_breaker.breaker import Breaker
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig
from sidecar.layers.circuit_breaker.layer import circuit_breaker
from sidecar.layers.coalesce.config import CoalesceConfig
from sidecar.layers.coalesce.layer import coalesce
from sidecar.layers.coalesce.likeness import Likeness
from sidecar.layers.credentials import credentials, noted
from sidecar.layers.deadline import deadline
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.defer.layer import Submit, defer
from sidecar.layers.defer.storing import storing
from sidecar.layers.entitling import Entitlement
from sidecar.layers.gathering.config import GatherConfig
from sidecar.layers.gathering.layer import gather
from sidecar.layers.hedge.config import HedgeConfig
from sidecar.layers.hedge.layer import Hedges, Lateness, counted, hedge
from sidecar.layers.idempotency.config import IdempotencyConfig
from sidecar.layers.idempotency.keeper import Keeper
from sidecar.layers.idempotency.layer import idempotency
from sidecar.layers.idempotency.once import NOT_FINAL, Keyed, OnceRules, once
from sidecar.layers.idempotency.placing import keys_of, place_of
from sidecar.layers.lanes import Lane, Lanes
from sidecar.layers.observe import Observer, observe
from sidecar.layers.rate_limit.ear import Ear
from sidecar.layers.rate_limit.layer import rate_limit
from sidecar.layers.rate_limit.line import Line
from sidecar.layers.rate_limit.near import Near
from sidecar.layers.retry.budget import Budget
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.retry.layer import RetryRules, retry
from sidecar.layers.rewrite import Rewriter, rewrite
from sidecar.layers.service import ServiceConfig
from sidecar.layers.transform import transform
from sidecar.telemetry.metrics import Counter
from sidecar.upstream.origin import DEFAULT_PORTS


class Limits(NamedTuple):
    """What `rate_limit` stands on."""

    line: Line
    near: Near
    ear: Ear
    listened: frozenset[int]  # Statuses of answers that are read although no field of theirs tells of limits.
    count_wait: Callable[[float], None]


class Parts(NamedTuple):
    """What the layers of one route stand on: the machines of its policies, and what moves them."""

    observer: Observer
    gate: Gate
    entitlement: Entitlement
    recent: Recent
    budget: Budget | None
    breaker: Breaker | None
    limits: Limits | None
    limits_of: Callable[[str, str], Limits | None]  # The same for one credential of a pool, by its name and mark.
    bulkhead: Bulkhead | None
    keeper: Keeper | None  # Of answers that are repeated.
    clock: Clock
    tasks: Tasks
    jitter: Callable[[], float]
    make_key: Callable[[], str]
    queue: QueueConfig | None  # Its calls may become jobs, in this line.
    line: str
    submit: Submit | None
    tell: Callable[..., None]
    count_retry: Callable[[str], None]
    counter: Callable[..., Counter]  # Of a metric, by its name and what it is labelled with beside the service.


def build(config: ServiceConfig, parts: Parts, transport: Handler) -> Handler:
    """Fold the layers of one route around its transport."""
    layers: list[Layer | None] = [
        observe(parts.observer),
        deadline(config.timeout),
        admission(parts.gate),
        body_bound(config.body_max),
        access(config.allow) if config.allow is not None else None,
        _defer(config, parts) if parts.queue is not None else None,
        rewrite(_rewriter(config), has_bodies=config.rewrite_urls == "body") if config.rewrite_urls else None,
        transform(config.headers, config.response_headers, config.api_version, config.forward),
        _idempotency(config.idempotency, config, parts) if config.idempotency else None,
        _batch(config.batch, config, parts) if config.batch else None,
        _gather(config.gather, config, parts) if config.gather else None,
        _coalesce(config.coalesce, parts) if config.coalesce else None,
        _retry(config.retry, parts) if config.retry else None,
        counted(parts.budget, parts.clock) if config.hedge and not config.retry and parts.budget else None,
        _hedge(config.hedge, config, parts) if config.hedge else None,
        parts.entitlement.outer,
        _circuit_breaker(config.circuit_breaker, parts) if config.circuit_breaker else None,
    ]
    return compose((layer for layer in layers if layer is not None), _below(config, parts, transport))


def _below(config: ServiceConfig, parts: Parts, transport: Handler) -> Handler:
    """Fold what an attempt meets below the circuit; of a pool of credentials each has limits of its own."""
    open_lanes = parts.entitlement.pool
    if open_lanes is None:
        return _limited(config, parts, parts.limits, parts.entitlement.inner, _noting(parts.entitlement, transport))

    def lane(credential: PooledCredential) -> Lane:
        limits = parts.limits_of(f"credential {credential.number}", credential.mark)
        noting = _noting(parts.entitlement, transport, f" credential {credential.number}")
        handler = _limited(config, parts, limits, credentials(credential.credential), noting)
        return Lane(credential.number, handler, partial(_is_free, limits, float(config.cost), parts.clock))

    lanes = Lanes(lane)
    open_lanes(lanes)
    return lanes


def _is_free(limits: Limits | None, cost: float, clock: Clock) -> bool:
    return limits is None or (limits.line.count == 0 and limits.line.limiter.is_free(clock.now(), cost))


def _noting(entitlement: Entitlement, transport: Handler, which: str = "") -> Handler:
    return noted(entitlement.name + which, entitlement.version)(transport) if entitlement.is_noted else transport


def _limited(
    config: ServiceConfig, parts: Parts, limits: Limits | None, inner: Layer | None, transport: Handler
) -> Handler:
    layers = [
        _rate_limit(limits, config.cost, parts.clock) if limits is not None else None,
        bulkhead(parts.bulkhead, parts.clock) if parts.bulkhead is not None else None,
        inner,
    ]
    return compose((layer for layer in layers if layer is not None), transport)


def compose(layers: Iterable[Layer], innermost: Handler) -> Handler:
    """Put the first layer outermost."""
    handler = innermost
    for layer in reversed(list(layers)):
        handler = layer(handler)
    return handler


def _rewriter(config: ServiceConfig) -> Rewriter:
    origin = config.base_url
    # The app's paths begin behind a version that is put in front of them.
    return Rewriter(
        origin.root, origin.base_path + _pinned(config), DEFAULT_PORTS["https" if origin.is_tls else "http"]
    )


def _pinned(config: ServiceConfig) -> bytes:
    """Give the path that stands in front of every other."""
    return b"" if config.api_version is None else config.api_version.prefix


def _defer(config: ServiceConfig, parts: Parts) -> Layer:
    assert parts.queue is not None
    assert parts.submit is not None
    statuses = (config.retry or RetryConfig()).statuses
    rules = storing(config, parts.clock, parts.make_key)
    return defer(parts.queue, parts.line, statuses, *rules, parts.submit, parts.clock)


def _retry(config: RetryConfig, parts: Parts) -> Layer:
    assert parts.budget is not None
    rules = RetryRules(
        config.attempts_max,
        float(config.backoff),
        float(config.backoff_max),
        config.statuses,
        config.unprocessed,
        int(config.replay_max),
    )
    return retry(rules, parts.budget, parts.recent, parts.clock, parts.jitter, parts.count_retry)


def _hedge(config: HedgeConfig, service: ServiceConfig, parts: Parts) -> Layer:
    assert parts.budget is not None
    lateness = Lateness(parts.recent, config.quantile, float(config.delay_min), config.samples_min)
    failures = service.retry.statuses if service.retry else RetryConfig().statuses
    hedges = Hedges(*(parts.counter("sidecar_hedges_total", result) for result in ("started", "won", "refused")))
    return hedge(lateness, failures, parts.budget.spend, parts.clock, parts.tasks, hedges)


def _circuit_breaker(config: CircuitBreakerConfig, parts: Parts) -> Layer:
    assert parts.breaker is not None
    return circuit_breaker(config, parts.breaker, parts.recent, parts.clock)


def _idempotency(section: IdempotencyConfig, config: ServiceConfig, parts: Parts) -> Layer:
    answers = _once(section, config, parts) if section.replay is not None else None
    return idempotency(*keys_of(section, parts.clock, parts.make_key), parts.tell, answers)


def _once(section: IdempotencyConfig, config: ServiceConfig, parts: Parts) -> Callable[[Handler], Keyed]:
    assert parts.keeper is not None
    assert section.replay is not None
    retried = config.retry.statuses | config.retry.unprocessed if config.retry else frozenset[int]()
    own = frozenset(name.lower().encode() for name in config.forward)
    if isinstance(config.auth, Passthrough):
        own |= {b"authorization"}
    rules = OnceRules(
        float(section.replay), section.wait, int(section.body_max), int(section.answer_max), NOT_FINAL | retried, own
    )
    return once(rules, parts.keeper, parts.clock, parts.jitter)


def _batch(config: BatchConfig, service: ServiceConfig, parts: Parts) -> Layer:
    keys = service.idempotency or IdempotencyConfig()  # Without a place of the section's: the header.
    counters = [parts.counter("sidecar_batch_items_total", result) for result in ("sent_again", "failed")]
    place, key_max = place_of(keys, parts.clock), keys.key_max
    told = (parts.budget, parts.recent, parts.clock, parts.jitter, parts.count_retry)
    return batch(BatchRules(config, service.retry or None), BatchParts(place, key_max, *told, *counters))


def _gather(config: GatherConfig, service: ServiceConfig, parts: Parts) -> Layer:
    return gather(config, _pinned(service), parts.clock, parts.tasks, parts.counter("sidecar_gathered_total"))


def _coalesce(config: CoalesceConfig, parts: Parts) -> Layer:
    likeness = Likeness(config.headers)
    counter = parts.counter("sidecar_coalesced_total")
    return coalesce(likeness, int(config.body_max), config.waiting_max, parts.clock, parts.tasks, counter)


def _rate_limit(limits: Limits, cost: int, clock: Clock) -> Layer:
    return rate_limit(limits.line, limits.near, limits.ear, limits.listened, float(cost), clock, limits.count_wait)
