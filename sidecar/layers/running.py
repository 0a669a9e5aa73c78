"""Running: a service at work; its pool and handlers, built from its config once and retired with its generation."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple, cast

from sidecar.auth.credential import Credential
from sidecar.auth.schemes import basic
from sidecar.auth.secrets.held import HeldSecrets
from sidecar.core.call import AttemptRecord, Call, Handler, Reply
from sidecar.layers.access import Rule
from sidecar.layers.observe import Observer
from sidecar.layers.policies import Policies
from sidecar.layers.service import ServiceConfig, ServiceEntry
from sidecar.layers.shared import Shared
from sidecar.layers.stack import build
from sidecar.upstream.connection import Connection
from sidecar.upstream.dial import Dialer
from sidecar.upstream.pool import Pool
from sidecar.upstream.proxy import Proxy
from sidecar.upstream.tls import remember
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
        self._credentials: list[Credential] = []
        self._pool = Pool(config.pool, self._dial, shared.clock)
        self._dialer = self._make_dialer(config)
        self._on_closed = self._pool.closed
        self._default = self._handler("", config)
        self.observer = self._observers[""]  # Also for what is refused before it gets here.
        self._routes = [
            _Route(route.name, route.match, self._handler(route.name, route.config)) for route in entry.routes
        ]
        self.policies.settle()
        self._notable = self.policies.notable
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
            "base_url": str(self.entry.config.base_url),
            "routes": [route.name for route in self._routes],
            "calls_in_flight": self.in_flight,
            "pool": self._pool.snapshot(),
            **self.policies.snapshot(),
        }

    def retire(self) -> None:
        """Let what is under way finish, and keep nothing: a newer generation took over."""
        self._pool.retire()
        for credential in self._credentials:
            credential.release()
        self.policies.retire()
        self._shared.metrics.unwatch(self)

    def _handler(self, route: str, config: ServiceConfig) -> Handler:
        shared = self._shared
        metrics = shared.metrics.for_service(self.name, route)
        observer = self._observers[route] = Observer(metrics, shared.log, shared.clock)
        credential = None
        if config.auth is not None:
            held = shared.secrets.hold(config.auth.secret)
            credential = Credential(config.auth, held, shared.secrets.know)
            self._credentials.append(credential)
        parts = self.policies.parts(route, config, observer, credential)
        timeouts = Timeouts(config.attempt_timeout, config.first_byte_timeout, config.idle_timeout)
        transport = Transport(
            config.base_url, self._pool, timeouts, shared.clock, shared.ids, metrics.count_attempt, parts.recent
        )
        return build(config, parts, transport)

    def _make_dialer(self, config: ServiceConfig) -> Dialer:
        shared = self._shared
        proxy = None
        if config.upstream_proxy is not None:
            proxy = Proxy(config.upstream_proxy, _proxy_authorization(config, shared.secrets))
        return Dialer(
            config.base_url,
            shared.resolver,
            shared.clock,
            dns_timeout=config.dns_timeout,
            connect_timeout=config.connect_timeout,
            tls_timeout=config.tls_timeout,
            allow_private=config.allow_private,
            tls=shared.contexts.get(config.ca_file) if config.base_url.is_tls else None,
            proxy=proxy,
        )

    async def _dial(self, record: AttemptRecord, deadline_at: float) -> Connection:
        shared = self._shared
        factory = partial(Connection, shared.clock, shared.tasks, self._on_closed, _remember_session, self._notable)
        _, connection = await self._dialer.dial(factory, record, deadline_at)
        return connection

    def _watch_gauges(self) -> None:
        metrics, pool = self._shared.metrics, self._pool
        metrics.watch("sidecar_calls_in_flight", (self.name,), lambda: self.in_flight, self)
        for state in ("idle", "busy"):
            metrics.watch("sidecar_pool_connections", (self.name, state), partial(_count, pool, state), self)
        metrics.watch("sidecar_pool_waiting", (self.name,), partial(_count, pool, "waiting"), self)


def _count(pool: Pool, state: str) -> float:
    return pool.snapshot()[state]


def _remember_session(connection: Connection) -> None:
    if connection.transport is not None:
        remember(connection.transport.get_extra_info("ssl_object"))


def _proxy_authorization(config: ServiceConfig, secrets: HeldSecrets) -> Callable[[], bytes] | None:
    auth = config.upstream_proxy_auth
    if auth is None:
        return None
    return cast("Callable[[], bytes]", partial(secrets.hold(auth.password).reveal_as, partial(basic, auth.username)))


def _authorities(config: ServiceConfig) -> list[bytes]:
    """Give the ways in which an app behind HTTP_PROXY may write the vendor's host."""
    origin = config.base_url
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    if origin.authority == host.encode():
        return [host.encode(), f"{host}:80".encode(), f"{host}:443".encode()]
    return [origin.authority]
