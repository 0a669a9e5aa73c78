"""Generation: one loaded config, and all that was built from it; a newer one takes over what did not change."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from sidecar.auth.app_token import AppToken
from sidecar.auth.network import Network
from sidecar.auth.oauth.config import RefreshToken
from sidecar.auth.oauth.pace import Paces
from sidecar.auth.secrets.held import HeldSecrets
from sidecar.auth.secrets.known import forgetting_late
from sidecar.auth.secrets.learning import Learning
from sidecar.auth.secrets.opening import open_store
from sidecar.auth.secrets.store import SecretStore
from sidecar.config.changes import FileMark, Fingerprint, authorities, ca_files
from sidecar.config.model import Config
from sidecar.config.problem import ConfigError, Problem
from sidecar.config.walk import leaves
from sidecar.core.clock import Clock
from sidecar.core.errors import BadRequest, UnknownService
from sidecar.core.ids import Ids
from sidecar.core.secret import SecretRef
from sidecar.core.tasks import Tasks
from sidecar.downstream.router import Router
from sidecar.layers.admission import Gate
from sidecar.layers.running import Service
from sidecar.layers.service import certificate_of, identity_of
from sidecar.layers.shared import Shared
from sidecar.queue.job import ITEMS
from sidecar.queue.line import LineSpec
from sidecar.queue.queue import Queue
from sidecar.storing import Storing
from sidecar.telemetry.audit.audit import Audit
from sidecar.telemetry.log import Log
from sidecar.telemetry.metrics import Metrics
from sidecar.upstream.connector import Guarded
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import Contexts, Trust, client_context
from sidecar.webhooks.receiver import HookSpec
from sidecar.webhooks.verifying import verifier_of


class Grounds(NamedTuple):
    """What lives as long as the process, under all generations."""

    clock: Clock
    jitter: Callable[[], float]
    ids: Ids
    tasks: Tasks
    metrics: Metrics
    log: Log
    tell: Callable[..., None]  # Into the log, and into the audit what belongs there.
    audit: Audit
    resolver: Resolver
    trust: Trust
    paces: Paces
    storing: Storing
    queue: Queue


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
        """Read the files of authorities. Blocks: call in a thread. Raises ConfigError with all that cannot be read."""
        problems = []
        of_services = {f"services.{name}.ca_file" for name in self.config.services}
        for name, entry in self.config.services.items():
            if entry.config.base_url.is_tls:
                section = certificate_of(entry.config)
                try:
                    self.shared.contexts.get(entry.config.ca_file, identity_of(section) if section else "")
                except ValueError as error:
                    problems.append(Problem(f"services.{name}.ca_file", str(error)))
        for path, file in ca_files(self.config):
            if path not in of_services:
                try:
                    self.shared.contexts.get(file)
                except ValueError as error:
                    problems.append(Problem(path, str(error)))
        if problems:
            raise ConfigError(problems)

    def open(self, previous: "Generation | None") -> None:
        """Build every service that the previous generation does not have just so."""
        old_services = previous.services if previous is not None else {}
        contexts = self.shared.contexts
        is_shared = previous is not None and previous.shared._replace(contexts=contexts) == self.shared
        for name, entry in self.config.services.items():
            old = old_services.get(name)
            is_same = is_shared and old is not None and old.entry == entry and old.trusts_by(contexts)
            self.services[name] = old if old is not None and is_same else Service(name, entry, self.shared, old)
        listen = self.config.listen
        self.router = Router(self.services, frozenset(host.lower().rstrip(".") for host in listen.hosts))
        if listen.app_token is not None:
            self.app_token = AppToken(self.shared.secrets.hold(listen.app_token))

    def retire(self, successor: "Generation | None") -> None:
        """Let go of every service that `successor` (or the predecessor, if this one failed) does not share."""
        alive = set(successor.services.values()) if successor is not None else set()
        # As the process ends `close` has let everything land, and nothing more is begun.
        keepers = alive if successor is not None else self.services.values()
        kept = {id(machine) for service in keepers for machine in service.policies.machines.everything()}
        for service in self.services.values():
            if service not in alive:
                service.retire(kept)
        shares_secrets = successor is not None and successor.shared.secrets is self.shared.secrets
        self.shared.secrets.forget_others(references(successor.config) if successor and shares_secrets else ())
        if not shares_secrets and successor is not None:
            self.shared.tasks.spawn(self.shared.secrets.close(successor.shared.secrets), "secret stores")

    def lines(self) -> dict[str, LineSpec]:
        """Give the lines of jobs, and what works them off."""
        found = {}
        for service in self.services.values():
            for name, (queue, statuses) in service.lines.items():
                secret = None if queue.callback_secret is None else self.shared.secrets.hold(queue.callback_secret)
                found[name] = LineSpec(queue, statuses, service.handle, service.policies.is_busy, secret)
                if name == service.name:
                    found[name + ITEMS] = found[name]
        return found

    def hooks(self) -> dict[str, HookSpec]:
        """Give the webhooks, and what verifies and signs them."""
        secrets, found = self.shared.secrets, {}
        for name, config in self.config.webhooks.items():
            own = tuple(secrets.hold(secret) for secret in config.secrets)
            deliver = None if config.deliver_secret is None else secrets.hold(config.deliver_secret)
            learning = Learning(own, secrets.store, secrets.hurry) if config.secret_from_handshake else None
            found[name] = HookSpec(config, verifier_of(config), own, deliver, learning)
        return found

    def start(self, previous: "Generation | None") -> None:
        """Fetch ahead what first calls would wait for; the secrets have been read."""
        is_trust_new = previous is not None and previous.shared.contexts is not self.shared.contexts
        for service in self.services.values():
            service.start()
            if is_trust_new:
                service.encourage()

    async def close(self) -> None:
        """Finish what must not be cut off, all services beside each other, as the process ends."""
        closing = [self.shared.tasks.spawn(service.close(), "close") for service in self.services.values()]
        if closing:
            await asyncio.wait(closing)
        await self.shared.secrets.close()

    def force_circuit(self, name: str, state: str) -> list[dict[str, Any]]:
        """Hold the circuits of a service `open`, or let them go (`auto`). Raises UnknownService."""
        return self._service(name).policies.force_circuit(state)

    def logged_in(self, name: str) -> SecretRef:
        """Read the refresh token of a service anew, as another was stored, and say which it is.

        Raises UnknownService, BadRequest for a service without one.
        """
        auth = self._service(name).entry.config.auth
        if not isinstance(auth, RefreshToken):
            raise BadRequest(f'{name} has no refresh token: its auth is not of kind "oauth2_refresh_token"')
        self.shared.secrets.hurry(auth.refresh_token)
        return auth.refresh_token

    def _service(self, name: str) -> Service:
        if name not in self.services:
            raise UnknownService(f"no such service; known are: {', '.join(sorted(self.services)) or 'none'}")
        return self.services[name]

    def snapshot(self, queue_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """Show all services, for people, each with its queue."""
        return {
            "generation": self.number,
            "calls_in_flight": self.shared.gate.inside,
            "services": {name: service.snapshot() | queue_of(name) for name, service in self.services.items()},
        }


def share(grounds: Grounds, config: Config, mark: Fingerprint, previous: Generation | None) -> Shared:
    """Make what the services of a generation share, from the previous one where it is still true."""
    old = previous.shared if previous is not None else None
    if previous is not None and old is not None:
        same_gate = previous.config.admission == config.admission
        same_secrets = previous.config.secrets == config.secrets
    else:
        same_gate = same_secrets = False
    network = old.network if old is not None else network_of(grounds.resolver, grounds.trust)
    return Shared(
        grounds.clock,
        grounds.jitter,
        grounds.ids,
        grounds.tasks,
        grounds.metrics,
        grounds.log,
        grounds.tell,
        gate=old.gate if old is not None and same_gate else Gate(config.admission.calls_max),
        secrets=old.secrets if old is not None and same_secrets else _held(grounds, config, network, previous),
        resolver=grounds.resolver,
        contexts=_contexts(config, mark, previous),
        network=network,
        paces=grounds.paces,
        store=grounds.storing.store,
        submit=grounds.queue.submit if grounds.storing.store.is_durable else None,
        token_key=config.store.encryption_key,
        replicas=config.sidecar.replicas,
        audit=grounds.audit if config.audit is not None else None,
    )


def _contexts(config: Config, mark: Fingerprint, previous: Generation | None) -> Contexts:
    """Give the previous generation's contexts, or others of which only those of changed files are made anew."""
    if previous is None:
        return Contexts()
    now, before = _trusted(config, mark), _trusted(previous.config, previous.mark)
    if now == before:
        return previous.shared.contexts
    return Contexts(previous.shared.contexts, {None, *(file.path for file in now & before)})


def _trusted(config: Config, mark: Fingerprint) -> frozenset[FileMark]:
    """Give the marks of the ca_files, among those of all files."""
    names = {str(path) for path in authorities(config)}
    return frozenset(file for file in mark.files if file.path in names)


def _held(grounds: Grounds, config: Config, network: Network, previous: Generation | None) -> HeldSecrets:
    stores = open_stores(config, grounds.clock, grounds.jitter, network, grounds.tell)
    before = previous.config.secrets if previous is not None else {}
    same = {name for name, section in config.secrets.items() if before.get(name) == section}
    if previous is not None:  # A store whose section did not change goes on, with its login and its last values.
        stores |= {name: previous.shared.secrets.stores[name] for name in same}
    know = forgetting_late(grounds.log.redactor.know, grounds.clock)
    held = HeldSecrets(stores, grounds.tell, know, grounds.clock, grounds.metrics, grounds.tasks, grounds.jitter)
    if previous is not None:
        held.inherit(previous.shared.secrets, same)
    return held


def network_of(resolver: Resolver, trust: Trust) -> Network:
    """Give the way to token endpoints and secret stores."""
    return Network(partial(Guarded, resolver.resolve), trust.context, client_context)


def open_stores(
    config: Config, clock: Clock, jitter: Callable[[], float], network: Network, tell: Callable[..., None]
) -> dict[str, SecretStore]:
    """Make the secret stores, by name; each connects when it is asked for the first time."""
    return {name: open_store(store, clock, jitter, network, tell) for name, store in config.secrets.items()}


def references(config: Config) -> Mapping[SecretRef, None]:
    """Give every secret reference, as keys in the order of the config."""
    return {value: None for _, value in leaves(config) if isinstance(value, SecretRef)}
