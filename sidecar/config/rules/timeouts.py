"""Timeouts: no call may outlive the load balancer in front of the app, and no step its call."""

from collections.abc import Iterator

from sidecar.config.model import Config, SidecarSection
from sidecar.config.problem import Problem
from sidecar.core.units import Duration
from sidecar.layers.service import ServiceConfig

_STEPS = ("attempt_timeout", "first_byte_timeout", "connect_timeout")
_LIMITS = ("sidecar.load_balancer_timeout", "sidecar.timeout_margin")


def margins(config: Config) -> Iterator[Problem]:
    """Leave something for the call itself."""
    whole, margin = config.sidecar.load_balancer_timeout, config.sidecar.timeout_margin
    if margin >= whole:
        yield Problem(
            "sidecar.timeout_margin",
            f"{margin} leaves no time for a call; it must be shorter than load_balancer_timeout ({whole})",
            because=_LIMITS,
        )


def fits(config: ServiceConfig, pod: SidecarSection) -> Iterator[Problem]:
    """Hold a service's or a route's timeout below the instant when the load balancer gives up."""
    longest = Duration(pod.load_balancer_timeout - pod.timeout_margin)
    if 0 < longest < config.timeout:
        yield Problem(
            "timeout",
            f"{config.timeout} outlives the load balancer: load_balancer_timeout ({pod.load_balancer_timeout}) minus"
            f" timeout_margin ({pod.timeout_margin}) leaves {longest} at most",
            because=_LIMITS,
        )


def steps(config: ServiceConfig, inherited: ServiceConfig) -> Iterator[Problem]:
    """Refuse a step that may take longer than the whole: a slip of the pen.

    Only where it was written: a default, or a service's own step under a route's shorter timeout, simply ends with it.
    """
    for name in _STEPS:
        step = getattr(config, name)
        if step is not None and step != getattr(inherited, name) and step > config.timeout:
            yield Problem(
                name, f"{step} is longer than the whole call's timeout ({config.timeout})", because=(".timeout",)
            )
