"""Way: the connections of one service to one base URL, and how they are made."""

from collections.abc import Callable
from functools import partial
from typing import cast

from sidecar.auth.schemes import basic
from sidecar.auth.secrets.held import HeldSecrets
from sidecar.core.call import AttemptRecord
from sidecar.layers.service import ServiceConfig
from sidecar.layers.shared import Shared
from sidecar.upstream.connection import Connection
from sidecar.upstream.dial import Dialer
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.pool import Pool
from sidecar.upstream.proxy import Proxy
from sidecar.upstream.tls import ClientContext, remember


class Way:
    """A pool and its dialer; a service whose vendor moves gets another."""

    def __init__(
        self,
        base_url: BaseUrl,
        config: ServiceConfig,
        shared: Shared,
        context: ClientContext | None,
        notable: Callable[[], frozenset[bytes]],
    ) -> None:
        self.base_url = base_url
        self.pool = Pool(config.pool, self._dial, shared.clock)
        self._shared = shared
        self._notable = notable  # Names of the fields in answers that tell of limits; known once all routes are.
        self._dialer = _dialer(base_url, config, shared, context)
        self._on_closed = self.pool.closed

    async def _dial(self, record: AttemptRecord, deadline_at: float) -> Connection:
        shared = self._shared
        factory = partial(Connection, shared.clock, shared.tasks, self._on_closed, _remember_session, self._notable())
        _, connection = await self._dialer.dial(factory, record, deadline_at)
        return connection


def _dialer(base_url: BaseUrl, config: ServiceConfig, shared: Shared, context: ClientContext | None) -> Dialer:
    proxy = None
    if config.upstream_proxy is not None:
        proxy = Proxy(config.upstream_proxy, _proxy_authorization(config, shared.secrets))
    return Dialer(
        base_url,
        shared.resolver,
        shared.clock,
        dns_timeout=config.dns_timeout,
        connect_timeout=config.connect_timeout,
        tls_timeout=config.tls_timeout,
        allow_private=config.allow_private,
        tls=context if base_url.is_tls else None,
        proxy=proxy,
    )


def _remember_session(connection: Connection) -> None:
    if connection.transport is not None:
        remember(connection.transport.get_extra_info("ssl_object"))


def _proxy_authorization(config: ServiceConfig, secrets: HeldSecrets) -> Callable[[], bytes] | None:
    auth = config.upstream_proxy_auth
    if auth is None:
        return None
    return cast("Callable[[], bytes]", partial(secrets.hold(auth.password).reveal_as, partial(basic, auth.username)))
