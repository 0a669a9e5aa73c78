"""Policies: what two settings of a service's policies mean together."""

from collections.abc import Iterator

from sidecar.config.model import SidecarSection
from sidecar.config.problem import Problem
from sidecar.layers.rate_limit.limiter import BURST_SHARE
from sidecar.layers.service import ServiceConfig


def limits(config: ServiceConfig, pod: SidecarSection) -> Iterator[Problem]:
    """Warn of a rate limit that does something else than it says."""
    section = config.rate_limit
    if not section:
        return
    shortest = section.rate[0]
    burst = max(1.0, (shortest.count * BURST_SHARE if section.burst is None else section.burst) / pod.replicas)
    if config.cost > burst:
        yield Problem(
            "cost",
            f"an attempt that costs {config.cost} takes more than the burst of {burst:g}, so each waits for a full one"
            f" and then passes the rate by the rest; write rate_limit.burst = {config.cost * pod.replicas} or more",
            is_warning=True,
        )
    if section.wait_max > config.timeout:
        yield Problem(
            "rate_limit.wait_max",
            f"no call waits {section.wait_max} for a permit, for its timeout is {config.timeout}",
            is_warning=True,
        )
