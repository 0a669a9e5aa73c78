"""Running: a service at work; its pool and handlers, built from its config once and retired with its generation."""

from collections.abc import Awaitable, Container
from functools import partial
from typing import Any, NamedTuple

import msgspec

from sidecar.auth.oauth.config import TokenRequest
from sidecar.auth.signing.mtls import ClientCertificate
from sidecar.core.call import Call, Handler, Reply
from sidecar.layers.access import Rule
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.entitling import Entitling
from sidecar.layers.notices import Notices, hearing
from sidecar.layers.observe import Observer
from sidecar.layers.policies import Policies
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.service import ServiceConfig, ServiceEntry, certificate_of, identity_of
from sidecar.layers.shared import Shared
from sidecar.layers.stack import build
from sidecar.layers.way import Way
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.tls import ClientContext, Contexts
from sidecar.upstream.transport import Timeouts, Transport


class _Route(NamedTuple):
    name: str
    match: Rule
    handler: Handler


class Service:
    """One vendor API at work."""

    def __init__(self, name: str, entry: ServiceEntry, shared: Shared, previous: "Service | None" = None) -> None:
        config = entry.config
        self.name = name
        self.entry = entry
        self.base_path = config.base_url.base_path
        self.authorities = _authorities(config)
        self._shared = shared
        self.policies: Policies = Policies(name, shared, previous.policies if previous is not None else None)
        self._observers: dict[str, Observer] = {}
        self._transports: dict[str, Transport] = {}
        self.lines: dict[str, tuple[QueueConfig, frozenset[int]]] = {}  # Of jobs, with what they are tried again after.
        self._notable = frozenset[bytes]()
        self._entitling = Entitling(name, shared, self.policies.machines)
        self._tls = self._context(config)
        self._way = self._lead_to(config.base_url)
        self._default = self._handler("", config)
        self.observer = self._observers[""]  # Also for what is refused before it gets here.
        self._routes = self._make_routes()
        self.policies.settle()
        self._notable = self.policies.notable
        self._entitling.on_moved(self._move)
        self._watch_gauges()

    def handle(self, call: Call) -> Awaitable[Reply]:
        """Send a call through the layers of its route; the first route that matches wins."""
        if self._routes:
            path = call.target.partition(b"?")[0] or b"/"
            for route in self._routes:
                if route.match.matches(call.method, path):
                    call.route = route.name
                    call.path_template = route.match.template
                    return route.handler(call)
        return self._default(call)

    @property
    def in_flight(self) -> int:
        """Calls that began and have not ended."""
        return sum(observer.in_flight for observer in self._observers.values())

    def snapshot(self) -> dict[str, Any]:
        """Show what the service does now, for people."""
        return {
            "base_url": str(self._way.base_url),
            "routes": [route.name for route in self._routes],
            "calls_in_flight": self.in_flight,
            "pool": self._way.pool.snapshot(),
            **self.policies.snapshot(),
            **self._entitling.snapshot(),
        }

    def start(self) -> None:
        """Fetch ahead what the first call would otherwise wait for."""
        self._entitling.start()
        self.policies.start()

    def encourage(self) -> None:
        """Try at once what failed, perhaps for want of trust: a file of authorities is another now."""
        self._entitling.encourage()

    def trusts_by(self, contexts: Contexts) -> bool:
        """Whether its connections are made with the context that is theirs in `contexts`."""
        section = certificate_of(self.entry.config)
        identity = identity_of(section) if section else ""
        return self._tls is None or self._tls is contexts.get(self.entry.config.ca_file, identity)

    async def close(self) -> None:
        """Finish what must not be cut off, as the process ends."""
        await self.policies.close()
        await self._entitling.close()

    def retire(self, kept: Container[int] = ()) -> None:
        """Let what is under way finish, and keep nothing: a newer generation took over, with the machines `kept`."""
        self._way.pool.retire()
        self.policies.retire()
        self._entitling.retire(kept)
        self._shared.metrics.unwatch(self)

    def _lead_to(self, base_url: BaseUrl) -> Way:
        return Way(base_url, self.entry.config, self._shared, self._tls, lambda: self._notable)

    def _move(self, told: str) -> None:
        """Go to where the token's answer says that the API is; the base URL's own path stays behind that."""
        configured = self.entry.config.base_url
        try:
            base_url = BaseUrl.parse(told.rstrip("/") + configured.base_path.decode())
        except ValueError as error:
            self._shared.tell("error", "base_url_refused", service=self.name, error=str(error))
            return
        if base_url == self._way.base_url:
            return
        if configured.is_tls and not base_url.is_tls:
            sentence = "the token's answer names an address without TLS"
            self._shared.tell("error", "base_url_refused", service=self.name, error=sentence)
            return
        before, self._way = self._way, self._lead_to(base_url)
        self._default, self._routes = self._handler("", self.entry.config), self._make_routes()
        before.pool.retire()
        self._shared.tell("info", "base_url_moved", service=self.name, base_url=str(base_url))

    def _make_routes(self) -> list[_Route]:
        return [_Route(route.name, route.match, self._handler(route.name, route.config)) for route in self.entry.routes]

    def _handler(self, route: str, config: ServiceConfig) -> Handler:
        shared, base_url = self._shared, self._way.base_url
        config = msgspec.structs.replace(config, base_url=base_url)
        metrics = shared.metrics.for_service(self.name, route)
        observer = self._observers.get(route)  # There already when the vendor moved: it counts what is under way.
        if observer is None:
            observer = self._observers[route] = Observer(metrics, shared.log, shared.clock, shared.audit)
        replay_max = int((config.retry or RetryConfig()).replay_max)  # Without retries, too: a 401 was not processed.
        entitlement = self._entitling.of(config.auth, base_url, replay_max)
        line = self.name if config.queue == self.entry.config.queue else f"{self.name}.{route}"
        parts = self.policies.parts(route, config, observer, entitlement, line)
        if parts.queue is not None and line not in self.lines:
            self.lines[line] = (parts.queue, (config.retry or RetryConfig()).statuses)
        timeouts = Timeouts(config.attempt_timeout, config.first_byte_timeout, config.idle_timeout)
        # Of what the config says it calls: who goes on to the vendor's next version has heard nothing of that one.
        which = (self.entry.config.base_url, config.api_version)
        hear = hearing(self.name, self.policies.machines.get(Notices, which, Notices), shared.clock, shared.tell)
        transport = Transport(
            base_url, self._way.pool, timeouts, shared.clock, shared.ids, metrics.count_attempt, parts.recent, hear
        )
        self._transports[route] = transport
        may_move = isinstance(config.auth, TokenRequest) and config.auth.base_url_from is not None
        return build(config, parts, partial(self._send, route) if may_move else transport)

    def _send(self, route: str, call: Call) -> Awaitable[Reply]:
        """Send an attempt to where the vendor is by now: the token that said so may have come while the call waited."""
        return self._transports[route](call)

    def _context(self, config: ServiceConfig) -> ClientContext | None:
        section = certificate_of(config)
        if not config.base_url.is_tls:
            return None
        if section is None:
            return self._shared.contexts.get(config.ca_file)
        context = self._shared.contexts.get(config.ca_file, identity_of(section))
        hold = self._shared.secrets.hold
        password = None if section.password is None else hold(section.password)
        certificate = ClientCertificate(
            hold(section.certificate), hold(section.private_key), password, context, self._shared.tell
        )
        certificate.on_rotated(self._turn_over)
        self._entitling.certificate = certificate
        return context

    def _turn_over(self) -> None:
        self._way.pool.turn_over()

    def _watch_gauges(self) -> None:
        metrics = self._shared.metrics
        metrics.watch("sidecar_calls_in_flight", (self.name,), lambda: self.in_flight, self)
        for state in ("idle", "busy"):
            metrics.watch("sidecar_pool_connections", (self.name, state), partial(self._count, state), self)
        metrics.watch("sidecar_pool_waiting", (self.name,), partial(self._count, "waiting"), self)

    def _count(self, state: str) -> float:
        return self._way.pool.snapshot()[state]


def _authorities(config: ServiceConfig) -> list[bytes]:
    """Give the ways in which an app behind HTTP_PROXY may write the vendor's host."""
    origin = config.base_url
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    if origin.authority == host.encode():
        return [host.encode(), f"{host}:80".encode(), f"{host}:443".encode()]
    return [origin.authority]
