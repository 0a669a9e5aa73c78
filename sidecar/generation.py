"""Generation: one loaded config, and all that was built from it; a newer one takes over what did not change."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sidecar.auth.app_token import AppToken
from sidecar.auth.secrets.file import FileStore
from sidecar.auth.secrets.held import HeldSecrets, forgetting_late
from sidecar.config.changes import Fingerprint, authorities
from sidecar.config.model import Config
from sidecar.config.problem import ConfigError, Problem
from sidecar.core.clock import Clock
from sidecar.core.errors import UnknownService
from sidecar.core.ids import Ids
from sidecar.core.secret import SecretRef
from sidecar.core.tasks import Tasks
from sidecar.downstream.router import Router
from sidecar.layers.admission import Gate
from sidecar.layers.running import Service
from sidecar.layers.shared import Shared
from sidecar.telemetry.log import Log
from sidecar.telemetry.metrics import Metrics
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import Contexts


class Grounds(NamedTuple):
    """What lives as long as the process, under all generations."""

    clock: Clock
    jitter: Callable[[], float]
    ids: Ids
    tasks: Tasks
    metrics: Metrics
    log: Log
    resolver: Resolver


class Generation:
    """One config at work."""

    def __init__(self, number: int, config: Config, mark: Fingerprint, shared: Shared) -> None:
        self.number = number
        self.config = config
        self.mark = mark  # The files it was made from, as they were.
        self.shared = shared
        self.services: dict[str, Service] = {}
        self.app_token: AppToken | None = None
        self.router = Router({}, frozenset())

    def prepare(self) -> None:
        """Read the certificate files. Blocks: call in a thread. Raises ConfigError with all that cannot be read."""
        problems = []
        for name, entry in self.config.services.items():
            if entry.config.base_url.is_tls:
                try:
                    self.shared.contexts.get(entry.config.ca_file)
                except ValueError as error:
                    problems.append(Problem(f"services.{name}.ca_file", str(error)))
        if problems:
            raise ConfigError(problems)

    def open(self, previous: "Generation | None") -> None:
        """Build every service that the previous generation does not have just so."""
        old_services = previous.services if previous is not None else {}
        is_shared = previous is not None and previous.shared == self.shared
        for name, entry in self.config.services.items():
            old = old_services.get(name)
            is_same = is_shared and old is not None and old.entry == entry
            self.services[name] = old if old is not None and is_same else Service(name, entry, self.shared, old)
        listen = self.config.listen
        self.router = Router(self.services, frozenset(host.lower().rstrip(".") for host in listen.hosts))
        if listen.app_token is not None:
            self.app_token = AppToken(self.shared.secrets.hold(listen.app_token))

    def retire(self, successor: "Generation | None") -> None:
        """Let go of every service that `successor` (or the predecessor, if this one failed) does not share."""
        alive = set(successor.services.values()) if successor is not None else set()
        for service in self.services.values():
            if service not in alive:
                service.retire()
        shares_secrets = successor is not None and successor.shared.secrets is self.shared.secrets
        self.shared.secrets.forget_others(references(successor.config) if successor and shares_secrets else ())

    def force_circuit(self, name: str, state: str) -> list[dict[str, Any]]:
        """Hold the circuits of a service `open`, or let them go (`auto`). Raises UnknownService."""
        if name not in self.services:
            raise UnknownService(f"no such service; known are: {', '.join(sorted(self.services)) or 'none'}")
        return self.services[name].policies.force_circuit(state)

    def snapshot(self) -> dict[str, Any]:
        """Show all services, for people."""
        return {
            "generation": self.number,
            "calls_in_flight": self.shared.gate.inside,
            "services": {name: service.snapshot() for name, service in self.services.items()},
        }


def share(grounds: Grounds, config: Config, mark: Fingerprint, previous: Generation | None) -> Shared:
    """Make what the services of a generation share, from the previous one where it is still true."""
    old = previous.shared if previous is not None else None
    if previous is not None and old is not None:
        same_gate = previous.config.admission == config.admission
        same_secrets = previous.config.secrets == config.secrets
        same_trust = _trusted(previous.config, previous.mark) == _trusted(config, mark)
    else:
        same_gate = same_secrets = same_trust = False
    return Shared(
        grounds.clock,
        grounds.jitter,
        grounds.ids,
        grounds.tasks,
        grounds.metrics,
        grounds.log,
        gate=old.gate if old is not None and same_gate else Gate(config.admission.calls_max),
        secrets=old.secrets if old is not None and same_secrets else _held(grounds, config),
        resolver=grounds.resolver,
        contexts=old.contexts if old is not None and same_trust else Contexts(),
        replicas=config.sidecar.replicas,
    )


def _trusted(config: Config, mark: Fingerprint) -> frozenset[object]:
    """Give the marks of the ca_files, among those of all files."""
    names = {str(path) for path in authorities(config)}
    return frozenset(file for file in mark.files if file.path in names)


def _held(grounds: Grounds, config: Config) -> HeldSecrets:
    stores = {name: FileStore(store) for name, store in config.secrets.items()}
    know = forgetting_late(grounds.log.redactor.know, grounds.clock)
    return HeldSecrets(stores, grounds.log.event, know, grounds.clock, grounds.metrics)


def references(config: Config) -> Mapping[SecretRef, None]:
    """Give every secret reference of the services, as keys in the order of the config."""
    found: dict[SecretRef, None] = {}
    if config.listen.app_token is not None:
        found[config.listen.app_token] = None
    for entry in config.services.values():
        for part in (entry.config, *(route.config for route in entry.routes)):
            if part.auth is not None:
                found[part.auth.secret] = None
            if part.upstream_proxy_auth is not None:
                found[part.upstream_proxy_auth.password] = None
    return found
