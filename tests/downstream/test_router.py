from types import SimpleNamespace
from typing import cast

import pytest

from sidecar.core.errors import BadRequest, HostNotAllowed, MethodNotAllowed, PathEscapes, SidecarError, UnknownService
from sidecar.downstream.request import Request
from sidecar.downstream.router import HOSTS_MAX, Destination, Door, Router
from sidecar.layers.running import Service, _authorities
from sidecar.layers.service import ServiceConfig
from sidecar.upstream.origin import BaseUrl

EGRESS = Door(None, is_unix=False)
UNIX = Door(None, is_unix=True)

SERVICES = {
    "crm": "https://api.crm.example/v2",
    "crm-admin": "https://api.crm.example/v2/admin",
    "stripe": "https://api.stripe.example",
    "six": "http://[2001:db8::1]:8443/x",
    "odd": "https://odd.example:8443",
}


def service(name: str, base_url: str) -> Service:
    """Give what the router looks at of a service."""
    config = ServiceConfig(base_url=BaseUrl.parse(base_url))
    parts = SimpleNamespace(name=name, base_path=config.base_url.base_path, authorities=_authorities(config))
    return cast("Service", parts)


@pytest.fixture
def router() -> Router:
    """A router over a handful of services; `pod.internal` is a name of the pod's own."""
    return Router({name: service(name, url) for name, url in SERVICES.items()}, frozenset({"pod.internal"}))


def request(url: str, *hosts: str, method: str = "GET", is_http_1_0: bool = False) -> Request:
    """Make a request with these Host fields."""
    made = Request()
    made.method, made.url, made.is_http_1_0 = method, url.encode(), is_http_1_0
    made.headers = [(b"Host", host.encode()) for host in hosts]
    made.sort()
    return made


def found(destination: Destination) -> tuple[str, str, str]:
    """Give a destination as text: service, target, address."""
    assert destination.service is not None
    return destination.service.name, destination.target.decode(), destination.address.decode()


@pytest.mark.parametrize(
    ("url", "host", "wanted"),
    [
        ("/crm/contacts?a=/b", "localhost:4000", ("crm", "/contacts?a=/b", "http://localhost:4000/crm")),
        ("/crm/", "localhost", ("crm", "/", "http://localhost/crm")),
        ("/crm", "127.0.0.1:4000", ("crm", "", "http://127.0.0.1:4000/crm")),
        ("/crm?a", "[::1]:4000", ("crm", "?a", "http://[::1]:4000/crm")),
        ("/stripe", "localhost", ("stripe", "/", "http://localhost/stripe")),
        ("/stripe?a", "localhost", ("stripe", "/?a", "http://localhost/stripe")),
        ("/stripe//v1/%2f?", "pod.internal", ("stripe", "//v1/%2f?", "http://pod.internal/stripe")),
        ("/crm-admin/x", "localhost", ("crm-admin", "/x", "http://localhost/crm-admin")),
        ("/v1/x", "stripe.localhost:4000", ("stripe", "/v1/x", "http://stripe.localhost:4000")),
        ("/stripe/x", "CRM.LocalHost", ("crm", "/stripe/x", "http://CRM.LocalHost")),
        ("/x", "crm.localhost.", ("crm", "/x", "http://crm.localhost.")),
    ],
)
def test_a_service_is_found_by_path_and_by_name(
    router: Router, url: str, host: str, wanted: tuple[str, str, str]
) -> None:
    """The rest of the target is untouched, and the address is what the app wrote."""
    for _ in range(2):  # The second time from memory.
        assert found(router.find(request(url, host), EGRESS)) == wanted


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://api.crm.example/v2/contacts?a", ("crm", "/contacts?a", "http://api.crm.example/v2")),
        ("https://api.crm.example/v2/contacts", ("crm", "/contacts", "http://api.crm.example/v2")),
        ("HTTP://API.CRM.example:80/v2", ("crm", "", "http://api.crm.example:80/v2")),
        ("http://api.crm.example:443/v2?a", ("crm", "?a", "http://api.crm.example:443/v2")),
        ("http://api.crm.example/v2/admin", ("crm-admin", "", "http://api.crm.example/v2/admin")),
        ("http://api.crm.example/v2/admin/x", ("crm-admin", "/x", "http://api.crm.example/v2/admin")),
        ("http://api.crm.example/v2/admin?x", ("crm-admin", "?x", "http://api.crm.example/v2/admin")),
        ("http://api.crm.example/v2/administrator", ("crm", "/administrator", "http://api.crm.example/v2")),
        ("http://api.stripe.example", ("stripe", "/", "http://api.stripe.example")),
        ("http://api.stripe.example?a", ("stripe", "/?a", "http://api.stripe.example")),
        ("http://[2001:db8::1]:8443/x/y", ("six", "/y", "http://[2001:db8::1]:8443/x")),
        ("http://odd.example:8443/y", ("odd", "/y", "http://odd.example:8443")),
        ("http://stripe.localhost:4000/v1", ("stripe", "/v1", "http://stripe.localhost:4000")),
        ("http://localhost:4000/stripe/v1", ("stripe", "/v1", "http://localhost:4000/stripe")),
    ],
)
def test_a_service_is_found_by_the_vendors_own_url(router: Router, url: str, wanted: tuple[str, str, str]) -> None:
    """As HTTP_PROXY sends it; the longest base path wins; Host plays no part (RFC 9112 section 3.2.2)."""
    assert found(router.find(request(url, "anything.example"), EGRESS)) == wanted


@pytest.mark.parametrize("host", ["localhost:4010", "127.0.0.1", "stripe.localhost"])
def test_a_door_of_a_services_own_leads_there_alone(router: Router, host: str) -> None:
    """Whatever path and local name are written; another vendor's URL is not served here."""
    own = Door("crm", is_unix=False)
    assert found(router.find(request("/stripe/x", host), own)) == ("crm", "/stripe/x", f"http://{host}")
    assert router.find(request("http://api.crm.example/v2/x", host), own).target == b"/x"
    with pytest.raises(UnknownService):
        router.find(request("http://api.stripe.example/x", host), own)
    with pytest.raises(HostNotAllowed):
        router.find(request("/x", "evil.example"), own)


def test_a_door_whose_service_is_gone_says_so(router: Router) -> None:
    """During a reload a request may come in by a door that leads nowhere any more."""
    with pytest.raises(UnknownService, match="'old'"):
        router.find(request("/x", "localhost"), Door("old", is_unix=False))


@pytest.mark.parametrize("target", ["/_sidecar/batch/crm?a=1", "/_sidecar", "/_sidecar/"])
def test_what_is_our_own_has_no_service(router: Router, target: str) -> None:
    """Its target is the whole path; by a host name or a door of a service's own, the same path is the vendor's."""
    assert router.find(request(target, "localhost:4000"), EGRESS) == (None, target.encode(), b"http://localhost:4000")
    assert found(router.find(request(target, "crm.localhost"), EGRESS))[:2] == ("crm", target)
    assert found(router.find(request(target, "localhost"), Door("crm", is_unix=False)))[:2] == ("crm", target)


@pytest.mark.parametrize("target", ["/_sidecar/../../x", "/_sidecar/%2e%2e/%2e%2e/x"])
def test_dots_do_not_lead_out_of_what_is_our_own(router: Router, target: str) -> None:
    """The rule of paths is the same for all."""
    with pytest.raises(PathEscapes):
        router.find(request(target, "localhost"), EGRESS)


def test_a_unix_socket_takes_every_host(router: Router) -> None:
    """No browser reaches it, and clients write what they like there."""
    assert found(router.find(request("/crm/x", "evil.example"), UNIX))[0] == "crm"
    assert found(router.find(request("/x", "crm.localhost"), UNIX))[0] == "crm"
    with pytest.raises(HostNotAllowed):
        router.find(request("/crm/x", "evil.example"), EGRESS)  # What a socket may is not remembered for the others.


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (request("/crm/x"), BadRequest),
        (request("/crm/x", "localhost", "localhost"), BadRequest),
        (request("/crm/x", "localhost", "localhost", is_http_1_0=True), BadRequest),
        (request("*", "localhost", method="OPTIONS"), BadRequest),
        (request("crm/x", "localhost"), BadRequest),
        (request("", "localhost"), BadRequest),
        (request("ftp://api.crm.example/v2/x", "localhost"), BadRequest),
        (request("http://a:b@api.crm.example/v2/x", "localhost"), BadRequest),
        (request("/crm/x#y", "localhost"), BadRequest),
        (request("/crm/../x", "localhost"), PathEscapes),
        (request("http://api.crm.example/v2/../x", "localhost"), PathEscapes),
        (request("api.crm.example:443", "api.crm.example:443", method="CONNECT"), MethodNotAllowed),
        (request("/crm/x", "evil.example"), HostNotAllowed),
        (request("/crm/x", ""), HostNotAllowed),
        (request("/nothing", "localhost"), UnknownService),
        (request("/x", "nothing.localhost"), UnknownService),
        (request("/x", "x.crm.localhost"), UnknownService),
        (request("http://evil.example/", "localhost"), UnknownService),
        (request("http://api.crm.example/v1/x", "localhost"), UnknownService),
        (request("http://api.crm.example/v22", "localhost"), UnknownService),
        (request("http://api.crm.example:8080/v2/x", "localhost"), UnknownService),
        (request("http:///v2/x", "localhost"), UnknownService),
    ],
)
def test_what_leads_nowhere_is_refused(router: Router, made: Request, kind: type[SidecarError]) -> None:
    """Each with the error that says why."""
    with pytest.raises(SidecarError) as caught:
        router.find(made, EGRESS)
    assert type(caught.value) is kind


def test_http_1_0_may_lack_a_host(router: Router) -> None:
    """It had none; it means us."""
    assert router.find(request("/crm/x", is_http_1_0=True), EGRESS).address == b"http://localhost/crm"


def test_hosts_are_remembered_within_a_bound(router: Router) -> None:
    """An app that makes up names fills nothing."""
    for number in range(HOSTS_MAX + 10):
        router.find(request("/crm/x", f"127.0.0.1:{number}"), EGRESS)
    assert len(router._by_host) <= HOSTS_MAX


def test_many_names_are_told_in_part() -> None:
    """The sentence stays one; what was asked for is quoted in part and as ASCII."""
    router = Router({f"s{number:03}": service("s", "https://x.example") for number in range(100)}, frozenset())
    with pytest.raises(UnknownService) as caught:
        router.find(request("/" + "\xe4" * 1000, "localhost"), EGRESS)
    assert len(caught.value.detail) < 400
    assert "s019, ..." in caught.value.detail
    with pytest.raises(UnknownService, match="no services"):
        Router({}, frozenset()).find(request("/x", "localhost"), EGRESS)
