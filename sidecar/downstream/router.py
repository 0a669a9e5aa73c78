"""Router: which service a request is for, by its door, its Host and its target; and where in it."""

from collections.abc import Mapping
from typing import NamedTuple

from sidecar.core.errors import (
    BadRequest,
    HostNotAllowed,
    MethodNotAllowed,
    PathEscapes,
    SidecarError,
    UnknownService,
)
from sidecar.core.hosts import HOST_MAX, is_local_host
from sidecar.core.paths import escapes
from sidecar.downstream.request import Request
from sidecar.layers.running import Service

HOSTS_MAX = 1024  # Host values remembered, none over HOST_MAX bytes. Full: all are forgotten and worked out again.
NAMES_SHOWN_MAX = 20
_OWN = b"_sidecar"


class Door(NamedTuple):
    """Where a request came in."""

    service: str | None  # A listener of one service's own.
    is_unix: bool  # No browser reaches a Unix socket, so its Host is not held against rebinding.


class Destination(NamedTuple):
    """Where a request goes."""

    service: Service | None  # None: a resource of the sidecar's own, and `target` is its whole path and query.
    target: bytes  # Path and query under the base URL, byte for byte.
    address: bytes  # The URL by which the app called the base URL.


class Router:
    """The services of one generation, by name and by the vendors' own hosts."""

    def __init__(self, services: Mapping[str, Service], hosts: frozenset[str]) -> None:
        self._services = {name.encode(): service for name, service in services.items()}
        self._hosts = hosts
        self._by_host: dict[tuple[bytes, bool], Service | None] = {}
        self._by_authority: dict[bytes, list[Service]] = {}
        for service in services.values():
            for authority in service.authorities:
                self._by_authority.setdefault(authority, []).append(service)
        for found in self._by_authority.values():
            found.sort(key=lambda service: len(service.base_path), reverse=True)

    def named(self, name: str) -> Service | None:
        """Give the service of this name."""
        return self._services.get(name.encode())

    def wanted(self, name: bytes) -> Service:
        """Give the service of this name. Raises UnknownService."""
        service = self._services.get(name)
        if service is None:
            raise self._unknown(name)
        return service

    def find(self, request: Request, door: Door) -> Destination:
        """Find the service. Raises BadRequest, HostNotAllowed, UnknownService, PathEscapes, MethodNotAllowed."""
        url = request.url
        hosts = request.ours.get(b"host", ())
        if len(hosts) != 1 and (hosts or not request.is_http_1_0):
            raise BadRequest("a request has exactly one Host field (RFC 9112 section 3.2)")
        host = hosts[0] if hosts else b"localhost"
        if request.method == "CONNECT":
            raise MethodNotAllowed(
                "a tunnel would hide the calls from the sidecar; set HTTP_PROXY instead of HTTPS_PROXY and call the "
                "vendor by an http:// URL, the sidecar sends it on over https"
            )
        if request.method == "TRACE":
            raise MethodNotAllowed("a vendor answers TRACE with what it was sent, and that holds the credential")
        if not url.startswith(b"/"):
            return self._find_absolute(url, door)
        return self._find_local(url, host, door)

    def _find_local(self, url: bytes, host: bytes, door: Door) -> Destination:
        service = self._named_by_host(host, door)
        if service is not None:
            destination = Destination(service, url, b"http://" + host)
        else:
            destination = self._find_by_path(url, host)
        return checked(destination)

    def _find_by_path(self, url: bytes, host: bytes) -> Destination:
        path = url.partition(b"?")[0]
        end = path.find(b"/", 1)
        name = path[1:] if end == -1 else path[1:end]
        service = self._services.get(name)
        if service is None:
            if name == _OWN:
                return Destination(None, url, b"http://" + host)
            raise self._unknown(name)
        rest = url[len(name) + 1 :]
        if not rest.startswith(b"/") and not service.base_path:
            rest = b"/" + rest
        return Destination(service, rest, b"http://%b/%b" % (host, name))

    def _named_by_host(self, host: bytes, door: Door) -> Service | None:
        """Give the service of the door or of `<service>.localhost`; None for a plain name of ours."""
        key = (host, door.is_unix)
        if door.service is None and key in self._by_host:
            return self._by_host[key]
        if not door.is_unix and not is_local_host(host, self._hosts):
            raise HostNotAllowed(
                "this Host is not one of the sidecar's names; call localhost, or add the name to listen.hosts"
            )
        if door.service is not None:
            own = self._services.get(door.service.encode())
            if own is None:  # A reload took the service, or has not brought it yet.
                raise self._unknown(door.service.encode())
            return own
        first, _, rest = host.lower().partition(b".")
        service = None
        if rest.partition(b":")[0].rstrip(b".") == b"localhost":
            service = self._services.get(first)
            if service is None:
                raise self._unknown(first)
        if len(host) <= HOST_MAX:
            if len(self._by_host) >= HOSTS_MAX:
                self._by_host.clear()
            self._by_host[key] = service
        return service

    def _find_absolute(self, url: bytes, door: Door) -> Destination:
        """Find the service by the vendor's own host, as HTTP_PROXY sends it; it goes on over the base URL's scheme."""
        scheme, separator, rest = url.partition(b"://")
        if not separator or scheme.lower() not in {b"http", b"https"}:
            raise BadRequest("the request target is neither a path nor an http:// URL")
        cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at != -1), default=len(rest))
        authority, path = rest[:cut].lower(), rest[cut:]
        if not path.startswith(b"/"):
            path = b"/" + path
        if b"@" in authority:
            raise BadRequest("a request target holds no credentials (RFC 9110 section 4.2.4)")
        services = self._by_authority.get(authority, [])
        if not services and is_local_host(authority, self._hosts):
            return self._find_local(path, authority, door)
        for service in services:
            if door.service not in {None, service.name}:
                continue
            base = service.base_path
            if path.startswith(base) and path[len(base) : len(base) + 1] in {b"/", b"?", b""}:
                return checked(Destination(service, path[len(base) :], b"http://" + authority + base))
        if services:
            raise UnknownService("this host is a configured vendor's, but the path is under none of its base URLs")
        raise self._unknown(authority)

    def _unknown(self, name: bytes) -> UnknownService:
        names = [known.decode() for known in sorted(self._services)]
        known = ", ".join(names[:NAMES_SHOWN_MAX]) + (", ..." if len(names) > NAMES_SHOWN_MAX else "")
        said = name[:64].decode("ascii", "replace")
        return UnknownService(f"there is no service {said!r}; known are: {known or 'none, the config has no services'}")


def checked(destination: Destination) -> Destination:
    """Give it back if its target may be sent. Raises BadRequest, PathEscapes."""
    target = destination.target
    error: SidecarError | None = None
    if b"#" in target:
        error = BadRequest("a request target has no fragment (RFC 9112 section 3.2)")
    elif (b"." in target or b"%" in target) and escapes(target.partition(b"?")[0]):
        error = PathEscapes("dot segments in the path lead out of the service's base path")
    if error is not None:
        error.service = destination.service.name if destination.service is not None else ""
        raise error
    return destination
