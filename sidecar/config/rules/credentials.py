"""Credentials: client certificates belong to connections, secrets to one environment, and neither to an open wire."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from sidecar.auth.oauth.config import RefreshToken, TokenRequest
from sidecar.auth.secrets.file import FileStoreConfig
from sidecar.auth.secrets.gcp.config import GcpStoreConfig
from sidecar.auth.secrets.opening import SecretStoreConfig
from sidecar.auth.secrets.vault.config import VaultStoreConfig
from sidecar.auth.signing.config import GithubApp, Mtls
from sidecar.config.model import Config
from sidecar.config.problem import Problem
from sidecar.config.walk import leaves
from sidecar.core.address import is_loopback
from sidecar.core.secret import SecretRef
from sidecar.layers.service import ServiceConfig, ServiceEntry, certificate_of, identity_of


def credentials(config: Config) -> Iterator[Problem]:
    """Judge what a section of `auth` or a store cannot know of itself."""
    yield from _stores(config)
    yield from _shared_paths(config)
    for name, entry in config.services.items():
        yield from _refresh_tokens(f"services.{name}", entry, config)
        yield from _certificates(f"services.{name}", entry)
        yield from _token_urls(f"services.{name}", entry)


def _stores(config: Config) -> Iterator[Problem]:
    """Warn of a store that is asked over plain http."""
    for name, store in config.secrets.items():
        if isinstance(store, VaultStoreConfig) and _is_open(store.address):
            yield _readable(f"secrets.{name}.address", "secrets and the login")
        elif isinstance(store, GcpStoreConfig) and _is_open(store.endpoint):
            yield _readable(f"secrets.{name}.endpoint", "secrets and the login")


def _refresh_tokens(path: str, entry: ServiceEntry, config: Config) -> Iterator[Problem]:
    """Hold a refresh token to a store that can be written: the vendor may replace it at each use."""
    for place, service in _with_own_auth(path, entry):
        if not isinstance(service.auth, RefreshToken):
            continue
        store = config.secrets.get(service.auth.refresh_token.store)
        if isinstance(store, VaultStoreConfig) and store.engine == "dynamic":
            yield Problem(
                f"{place}.auth.refresh_token",
                "nothing can be written to an engine that makes credentials; name a place in a store of another kind",
                because=("secrets",),
            )


def _token_urls(path: str, entry: ServiceEntry) -> Iterator[Problem]:
    """Warn of a token endpoint that is asked over plain http; of a route, only of its own."""
    for place, service in _with_own_auth(path, entry):
        if isinstance(service.auth, TokenRequest) and _is_open(service.auth.token_url):
            yield _readable(f"{place}.auth.token_url", "the client's secret and the tokens")
        elif isinstance(service.auth, GithubApp) and _is_open(service.auth.api_base):
            yield _readable(f"{place}.auth.api_base", "the tokens")


def _with_own_auth(path: str, entry: ServiceEntry) -> list[tuple[str, ServiceConfig]]:
    """Give the service, and the routes whose `auth` is another one."""
    own = [(f"{path}.routes.{route.name}", route.config) for route in entry.routes]
    return [(path, entry.config), *((place, service) for place, service in own if service.auth != entry.config.auth)]


def _is_open(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # The section itself says so.
        return False
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _readable(path: str, what: str) -> Problem:
    return Problem(path, f"{what} go over plain http, readable on the way; use https", is_warning=True)


def _shared_paths(config: Config) -> Iterator[Problem]:
    """Warn of a secret on the network that a second environment, with the same file, would share.

    The reader has put the environment's name in place of {environment} by now. A store that is the environment's own,
    as its section tells (a namespace, a project), needs no name in the path.
    """
    environment = config.sidecar.environment
    if not environment:
        return
    for path, value in leaves(config):
        if not isinstance(value, SecretRef) or environment in value:
            continue
        store = config.secrets.get(value.store)
        if store is None or isinstance(store, FileStoreConfig) or _is_own(store, environment):
            continue
        yield Problem(
            path,
            "this path is the same in every environment; write {environment} into it, so that none uses another's",
            is_warning=True,
            because=("sidecar.environment", "secrets"),
        )


def _is_own(store: SecretStoreConfig, environment: str) -> bool:
    values = (getattr(store, field.name) for field in msgspec.structs.fields(store))
    return any(isinstance(value, str) and environment in value for value in values)


def _certificates(path: str, entry: ServiceEntry) -> Iterator[Problem]:
    """Hold client certificates to what they are: shown by a service's connections, in the handshake of TLS."""
    service = entry.config
    shown = certificate_of(service)
    if shown is not None and not service.base_url.is_tls:
        yield Problem(
            f"{path}.{_key(service)}",
            "a client certificate is shown in the handshake of TLS; write a base_url with https",
            because=(f"{path}.base_url",),
        )
    if isinstance(service.auth, Mtls) and service.client_certificate is not None:
        yield Problem(
            f"{path}.client_certificate",
            "auth is mtls and has a certificate already, and a connection shows one; write either",
            because=(f"{path}.auth",),
        )
    for route in entry.routes:
        own = route.config.auth
        if isinstance(own, Mtls) and (shown is None or identity_of(own) != identity_of(shown)):
            yield Problem(
                f"{path}.routes.{route.name}.auth",
                "a client certificate belongs to the connections, which all routes share; write it at the service, as"
                " client_certificate, or make a service of its own for the route",
                because=(f"{path}.auth", f"{path}.client_certificate"),
            )


def _key(service: ServiceConfig) -> str:
    return "auth" if isinstance(service.auth, Mtls) else "client_certificate"
