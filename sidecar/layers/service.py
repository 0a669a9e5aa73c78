"""Service: the configuration of one vendor API, gathered from the policies, and what is built from it."""

from typing import Literal

import msgspec

from sidecar.auth.schemes import Auth
from sidecar.auth.signing.config import Mtls
from sidecar.core.secret import SecretRef
from sidecar.core.section import Section
from sidecar.core.units import Duration, Size
from sidecar.layers.access import Rule
from sidecar.layers.batch.config import BatchConfig
from sidecar.layers.bulkhead.config import BulkheadConfig
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig
from sidecar.layers.coalesce.config import CoalesceConfig
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.gathering.config import GatherConfig
from sidecar.layers.hedge.config import HedgeConfig
from sidecar.layers.idempotency.config import IdempotencyConfig
from sidecar.layers.rate_limit.config import RateLimitConfig
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.transform import ApiVersion, HeaderRules
from sidecar.upstream.hints.config import HintsConfig
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.pool import PoolConfig


class ProxyAuth(Section, kw_only=True):
    """Basic credentials for a corporate proxy."""

    username: str
    password: SecretRef


class CertificateConfig(Section, kw_only=True):
    """A client certificate for the connections to the vendor."""

    certificate: SecretRef  # PEM: our certificate first, then the chain up to what the vendor trusts.
    private_key: SecretRef  # PEM.
    password: SecretRef | None = None  # Of an encrypted key.


class ServiceConfig(Section, kw_only=True):
    """`[services.<name>]`: one vendor API. All of it but the first block may stand in a route, too."""

    provider: str | None = None  # The preset under it all; what stands here wins over it.
    base_url: BaseUrl
    listen: tuple[str, ...] = ()
    ca_file: str | None = None
    allow_private: bool = False
    upstream_proxy: BaseUrl | None = None
    upstream_proxy_auth: ProxyAuth | None = None
    pool: PoolConfig = PoolConfig()
    client_certificate: CertificateConfig | None = None  # Beside an `auth` of another kind; alone, `mtls` is enough.
    dns_timeout: Duration = Duration(2)
    connect_timeout: Duration = Duration(2)
    tls_timeout: Duration = Duration(3)

    auth: Auth | None = None
    timeout: Duration = Duration(20)
    attempt_timeout: Duration | None = None  # Absent: what is left of the timeout.
    first_byte_timeout: Duration | None = None  # Absent: what is left of the attempt.
    idle_timeout: Duration = Duration(30)
    cost: int = 1  # Permits that one attempt takes.
    rate_limit: RateLimitConfig | Literal[False] | None = None
    hints: HintsConfig | Literal[False] = HintsConfig()
    circuit_breaker: CircuitBreakerConfig | Literal[False] = CircuitBreakerConfig()
    retry: RetryConfig | Literal[False] = RetryConfig()
    hedge: HedgeConfig | Literal[False] | None = None
    bulkhead: BulkheadConfig | Literal[False] = BulkheadConfig()
    idempotency: IdempotencyConfig | Literal[False] | None = None
    queue: QueueConfig | Literal[False] | None = None
    batch: BatchConfig | Literal[False] | None = None
    gather: GatherConfig | Literal[False] | None = None
    coalesce: CoalesceConfig | Literal[False] | None = None
    body_max: Size = Size(5 * 2**30)
    allow: tuple[Rule, ...] | None = None  # Absent: everything; empty: nothing.
    forward: tuple[str, ...] = ()
    headers: HeaderRules = HeaderRules()
    response_headers: HeaderRules = HeaderRules()
    api_version: ApiVersion | None = None
    rewrite_urls: Literal["headers", "body", False] = "headers"


def certificate_of(config: ServiceConfig) -> CertificateConfig | Mtls | None:
    """Give the client certificate that the connections of a service show, if there is one."""
    return config.auth if isinstance(config.auth, Mtls) else config.client_certificate


def identity_of(section: CertificateConfig | Mtls) -> str:
    """Name a client certificate, so that services with the same one share their TLS sessions, and others do not."""
    return "\n".join((section.certificate, section.private_key, section.password or ""))


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`[services.<name>.routes.<route>]`: a path pattern, and the service's settings overlaid by its own."""

    name: str
    match: Rule
    config: ServiceConfig  # Whole: what the route does not say is the service's.


class ServiceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A service with its routes, in the order in which they are tried; the first match wins."""

    config: ServiceConfig
    routes: tuple[Route, ...] = ()
