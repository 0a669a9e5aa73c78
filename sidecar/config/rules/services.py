"""Services: what must be true of each service, and of each of its routes."""

import re
from collections.abc import Callable, Iterator

from sidecar.auth.signing.config import Mtls
from sidecar.config.model import Config
from sidecar.config.problem import Problem, join
from sidecar.config.rules.headers import PARAMETER, headers
from sidecar.config.rules.policies import batches, gathers, jobs, limits, replays, sharing, slots
from sidecar.config.rules.timeouts import fits, steps
from sidecar.core.address import is_loopback
from sidecar.layers.service import ServiceConfig
from sidecar.upstream.guard import denied
from sidecar.upstream.origin import BaseUrl

_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")  # Unreserved, RFC 3986 section 2.3, and no dot segment.
_QUERY_VALUE = re.compile(r"[!\"$%'-~]+")
_DEFAULTS = ServiceConfig(base_url=BaseUrl.parse("https://localhost"))

_Rule = Callable[[ServiceConfig], Iterator[Problem]]


def services(config: Config) -> Iterator[Problem]:
    """Judge every service; of a route, only what is not already said of its service."""
    for name, entry in config.services.items():
        said = list(_judged(entry.config, _DEFAULTS, config))
        path = f"services.{name}"
        yield from (_placed(problem, path) for problem in said)
        yield from (_placed(problem, path) for problem in gathers(entry))
        for route in entry.routes:
            for problem in _judged(route.config, entry.config, config):
                if problem not in said:
                    yield _placed(problem, f"{path}.routes.{route.name}", path)


def _judged(service: ServiceConfig, inherited: ServiceConfig, config: Config) -> Iterator[Problem]:
    yield from fits(service, config.sidecar)
    yield from steps(service, inherited)
    yield from limits(service, config.sidecar)
    yield from replays(service, config.store)
    yield from jobs(service, config.store)
    yield from sharing(service, config)
    for rule in _RULES:
        yield from rule(service)


def _placed(problem: Problem, *paths: str) -> Problem:
    """Put the first path in front; what the problem rests on, as ".key", may stand under any of them."""
    because = [join(path, key[1:]) for key in problem.because if key.startswith(".") for path in paths]
    because += [key for key in problem.because if not key.startswith(".")]
    return Problem(join(paths[0], problem.path), problem.sentence, problem.is_warning, tuple(because))


def access(config: ServiceConfig) -> Iterator[Problem]:
    """Warn of an empty list: it closes a service without taking it out of the file."""
    if config.allow == ():
        yield Problem("allow", "the list is empty, so every call is refused", is_warning=True)


def proxy(config: ServiceConfig) -> Iterator[Problem]:
    """Hold proxies to what we speak: CONNECT over plain http, RFC 9110 section 9.3.6."""
    if config.upstream_proxy is not None and (config.upstream_proxy.is_tls or config.upstream_proxy.base_path):
        yield Problem("upstream_proxy", 'write scheme http, host and port, and no path, such as "http://proxy:3128"')
    if config.upstream_proxy_auth is not None and config.upstream_proxy is None:
        yield Problem(
            "upstream_proxy_auth", "there is no upstream_proxy that these credentials are for",
            because=(".upstream_proxy",),
        )  # fmt: skip


def plaintext(config: ServiceConfig) -> Iterator[Problem]:
    """Warn of credentials on a wire that anyone may read, also inside a private network."""
    if config.auth is None or isinstance(config.auth, Mtls):  # A client certificate over http is a problem of its own.
        return
    if not config.base_url.is_tls and not is_loopback(config.base_url.host):
        yield Problem("auth", "credentials go over plain http, readable on the way; use https", is_warning=True)


def guarded(config: ServiceConfig) -> Iterator[Problem]:
    """Judge an address that is written as such; a name can only be judged when it is looked up."""
    host = (
        "127.0.0.1" if is_loopback(config.base_url.host) and ":" not in config.base_url.host else config.base_url.host
    )
    if config.upstream_proxy is None and (":" in host or host.replace(".", "").isdigit()):
        why = denied(host, allow_private=config.allow_private)
        if why is not None:
            yield Problem("base_url", f"every call will be refused: {why}{_open(config)}", is_warning=True)


def _open(config: ServiceConfig) -> str:
    return "" if config.allow_private else "; allow_private = true opens private addresses"


def api_version(config: ServiceConfig) -> Iterator[Problem]:
    """Hold the version to exactly one place."""
    pinned = config.api_version
    if pinned is None:
        return
    places = [pinned.header is not None, pinned.query is not None, pinned.path]
    if sum(places) != 1:
        yield Problem(
            "api_version", 'say where it goes, once: header = "<name>", query = "<name>" or path = true',
            because=(".api_version",),
        )  # fmt: skip
    if pinned.path and not _SEGMENT.fullmatch(pinned.value):
        yield Problem("api_version.value", 'in the path, the version is one segment of letters, digits and "-._~"')
    if pinned.query is not None:
        if not PARAMETER.fullmatch(pinned.query):
            yield Problem("api_version.query", 'write the name of a query parameter, such as "api-version"')
        if not _QUERY_VALUE.fullmatch(pinned.value):
            yield Problem("api_version.value", 'in the query, the version has visible characters without "&" and "#"')


_RULES: tuple[_Rule, ...] = (access, proxy, plaintext, guarded, api_version, headers, slots, batches)
