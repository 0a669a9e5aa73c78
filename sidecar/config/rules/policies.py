"""Policies: what two settings of a service's policies mean together."""

import re
from collections.abc import Iterator

from sidecar.auth.signing.config import Passthrough
from sidecar.config.model import Config, SidecarSection
from sidecar.config.problem import Problem
from sidecar.layers.bulkhead.config import BulkheadConfig
from sidecar.layers.rate_limit.limiter import BURST_SHARE
from sidecar.layers.service import ServiceConfig, ServiceEntry
from sidecar.store.config import StoreConfig

_ONE_ID = re.compile(r"(?:GET|\*) (/[^/*{}]+)*/(\*|\{\w+\})")


def limits(config: ServiceConfig, pod: SidecarSection) -> Iterator[Problem]:
    """Warn of a rate limit that does something else than it says."""
    section = config.rate_limit
    if not section:
        return
    shortest = section.rate[0]
    replicas = max(1, pod.replicas)  # Fewer are told by `bounds`.
    burst = max(1.0, (shortest.count * BURST_SHARE if section.burst is None else section.burst) / replicas)
    if config.cost > burst:
        needed = config.cost * replicas
        cure = f"rate_limit.burst = {needed} or more" if needed <= shortest.count else "a smaller cost"
        yield Problem(
            "cost",
            f"an attempt that costs {config.cost} takes more than the burst of {burst:g}, so each waits for a full one"
            f" and then passes the rate by the rest; write {cure}",
            is_warning=True,
        )
    if section.wait_max > config.timeout:
        yield Problem(
            "rate_limit.wait_max",
            f"no call waits {section.wait_max} for a permit, for its timeout is {config.timeout}",
            is_warning=True,
        )


def sharing(service: ServiceConfig, config: Config) -> Iterator[Problem]:
    """Hold a shared rate limit to a store that pods share, and warn of what it cannot do well."""
    section, replicas = service.rate_limit, config.sidecar.replicas
    if not section or not section.shared:
        return
    if config.store.kind != "valkey":
        yield Problem(
            "rate_limit.shared",
            f'pods cannot agree through a store of kind "{config.store.kind}", which each has for itself; write'
            ' [store] with kind = "valkey" and its url, or shared = false',
            because=("store.kind",),
        )
        return
    if replicas == 1:
        yield Problem(
            "rate_limit.shared",
            "while the store is away each pod goes on with rate / replicas, and sidecar.replicas is 1; write the most"
            " pods that there will be",
            is_warning=True,
        )
    shortest = section.rate[0]
    burst = max(1.0, shortest.count * BURST_SHARE) if section.burst is None else section.burst
    if burst < replicas:
        yield Problem(
            "rate_limit.burst",
            f"{burst:g} at once is less than one for each of {replicas} pods, so they take turns of a second; write"
            f" burst = {replicas} or more",
            is_warning=True,
        )


def slots(config: ServiceConfig) -> Iterator[Problem]:
    """Warn of slots that are never taken: who waits, waits for a connection, and the bulkhead's numbers do not tell."""
    section, most = config.bulkhead, config.pool.connections_max
    if section and section.slots > most and section.slots != BulkheadConfig().slots:
        yield Problem(
            "bulkhead.slots",
            f"{section.slots} attempts at once never are, with pool.connections_max = {most}; raise both",
            is_warning=True,
        )


def jobs(config: ServiceConfig, store: StoreConfig) -> Iterator[Problem]:
    """Hold jobs to a store that keeps them: what is acknowledged is not lost."""
    section = config.queue
    if not section:
        return
    if store.kind == "memory":
        yield Problem(
            "queue",
            'jobs outlive the process, and the store is in memory; write [store] with kind = "sqlite" or "valkey"',
        )
    if section.when == "always" and (config.forward or isinstance(config.auth, Passthrough)):
        yield Problem(
            "queue.when",
            "calls that carry a credential of the app's cannot be made later, since that is not written down;"
            ' write when = "unavailable", which passes them on',
        )
    if section.schedule and section.age_max < section.schedule[0]:
        yield Problem("queue.age_max", "a job is older than that before it is tried again", is_warning=True)


def replays(config: ServiceConfig, store: StoreConfig) -> Iterator[Problem]:
    """Warn of answers that are to be repeated for a day, and are forgotten with the process."""
    if config.idempotency and config.idempotency.replay is not None and store.kind == "memory":
        yield Problem(
            "idempotency.replay",
            "the store is in memory, so answers are forgotten when the process ends, and no other pod knows them;"
            ' write [store] with kind = "sqlite" or "valkey"',
            is_warning=True,
        )


def batches(config: ServiceConfig) -> Iterator[Problem]:
    """Warn of a batch whose failed items are only counted."""
    if config.batch and (not config.retry or config.retry.attempts_max == 1):
        yield Problem(
            "batch", "failed items are not sent again, only told: there is no retry with attempts_max above 1",
            is_warning=True,
        )  # fmt: skip


def gathers(entry: ServiceEntry) -> Iterator[Problem]:
    """Hold `gather` to routes that say where the id is: the last segment, and nothing else that may differ."""
    if entry.config.gather:
        yield Problem("gather", 'it stands in a route that says where the id is, such as match = "GET /contacts/{id}"')
        return
    for route in entry.routes:
        if route.config.gather and not _ONE_ID.fullmatch(route.match):
            sentence = 'match = "GET /contacts/{id}" is the form: the id is the last segment, and no other varies'
            yield Problem(f"routes.{route.name}.gather", sentence, because=(f".routes.{route.name}.match",))
