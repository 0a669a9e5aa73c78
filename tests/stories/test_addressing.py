"""How an app may write a vendor's address, and what the vendor then sees, byte for byte."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kit.app import App, Reply
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

TARGETS = [
    b"/a%2Fb//c/?x=1;y=%20+&z",
    b"/search?x=[1]",
    b"/caf%C3%A9/%c3%a9",
    b"/things:access?%24alt=json%3Benum-encoding%3Dint",
    b"/?a=b?c=d&&e",
    b"/",
    b"//double//slashes//",
    b"/a%20b/~!$&'()*+,;=:@",
    b"/%7Euser/./inside/../here?path=../../etc",
    b"/v2/v2",
]


class Form(NamedTuple):
    """One way to write the address of a service."""

    door: Callable[[Pod, Vendor], str]
    before: Callable[[Pod, Vendor], str]  # What stands in front of the path in the request line.
    host: Callable[[Pod, Vendor], str]
    leads_to: Callable[[Pod, Vendor], str]  # What an address of the vendor's is rewritten to.


FORMS = {
    "path": Form(
        lambda pod, _: pod.address,
        lambda pod, _: "/crm",
        lambda pod, _: f"localhost:{port(pod)}",
        lambda pod, _: f"http://localhost:{port(pod)}/crm",
    ),
    "host": Form(
        lambda pod, _: pod.address,
        lambda pod, _: "",
        lambda pod, _: f"crm.localhost:{port(pod)}",
        lambda pod, _: f"http://crm.localhost:{port(pod)}",
    ),
    "listener of its own": Form(
        lambda pod, _: own_listener(pod),
        lambda pod, _: "",
        lambda pod, _: own_listener(pod).removeprefix("http://"),
        lambda pod, _: own_listener(pod),
    ),
    "absolute": Form(
        lambda pod, _: pod.address,
        lambda pod, vendor: f"{vendor.url}/v2",
        lambda pod, vendor: f"localhost:{vendor.port}",
        lambda pod, vendor: f"{vendor.url}/v2",
    ),
    "Unix socket": Form(
        lambda pod, _: pod.sidecar.egress_addresses[1],
        lambda pod, _: "/crm",
        lambda pod, _: "sidecar",
        lambda pod, _: "http://sidecar/crm",
    ),
}


def own_listener(pod: Pod) -> str:
    """Give the address of the one listener that belongs to a service."""
    return f"http://{pod.sidecar.egress_addresses[2]}"


async def ask(pod: Pod, vendor: Vendor, form: Form, target: bytes, *headers: str) -> Reply:
    """Call the service by one form, with a path under its base URL."""
    async with App.to(form.door(pod, vendor)) as app:
        line = form.before(pod, vendor) + target.decode("latin-1")
        return await app.ask("GET", line, *headers, host=form.host(pod, vendor))


def crm(tmp_path: Path, vendor: Vendor, listen: str = "") -> Pod:
    """Give a pod with one service, with a base path and a listener of its own; a Unix socket is the second door."""
    return Pod(
        tmp_path,
        {"crm": vendor},
        base_path="/v2",
        service='listen = ["127.0.0.1:0"]',
        egress=f'"127.0.0.1:0", "unix:{tmp_path}/egress.sock"',
        listen=listen,
    )


def port(pod: Pod) -> int:
    """Give the port of the first door."""
    return int(pod.address.rpartition(":")[2])


@pytest.mark.parametrize("name", FORMS)
async def test_path_and_query_reach_the_vendor_byte_for_byte(name: str, tmp_path: Path) -> None:
    """No form decodes, encodes, merges or sorts anything: signatures and vendors' own syntaxes depend on it."""
    async with Vendor.answering(answer(b"ok")) as vendor, crm(tmp_path, vendor) as pod:
        for target in TARGETS:
            reply = await ask(pod, vendor, FORMS[name], target)
            assert reply.status == 200, reply.body
            assert vendor.requests[-1].target == b"/v2" + target
            assert vendor.requests[-1].values("Host") == [b"localhost:%d" % vendor.port]


@pytest.mark.parametrize("name", FORMS)
async def test_an_address_of_the_vendors_leads_back_by_the_form_that_the_app_used(name: str, tmp_path: Path) -> None:
    """An SDK that follows a link comes to the sidecar again, in the way in which it came first."""
    form = FORMS[name]
    async with Vendor(lambda exchange: exchange.send(pages(vendor))) as vendor, crm(tmp_path, vendor) as pod:
        reply = await ask(pod, vendor, form, b"/items?page=1")
        leads_to = form.leads_to(pod, vendor)
        assert reply.value("Location") == f"{leads_to}/items?page=2&x=%2F"
        assert reply.value("Content-Location") == f"{leads_to}/items"
        assert reply.value("Link") == f'<{leads_to}/items?page=2>; rel="next", <https://other.example/v2/x>; rel="help"'


def pages(vendor: Vendor) -> bytes:
    """Give an answer that names further pages, absolutely, in every field that may."""
    link = f'<{vendor.url}/v2/items?page=2>; rel="next", <https://other.example/v2/x>; rel="help"'
    fields = [
        (b"Location", f"{vendor.url}/v2/items?page=2&x=%2F".encode()),
        (b"Content-Location", b"/v2/items"),
        (b"Link", link.encode()),
    ]
    return answer(b"", status=302, reason=b"Found", headers=fields)


@pytest.mark.parametrize("name", FORMS)
async def test_the_rewritten_address_works_as_it_stands(name: str, tmp_path: Path) -> None:
    """Calling what `Location` says brings the next page from the vendor."""
    form = FORMS[name]
    async with Vendor(lambda exchange: exchange.send(pages(vendor))) as vendor, crm(tmp_path, vendor) as pod:
        location = (await ask(pod, vendor, form, b"/items")).value("Location")
        scheme, _, rest = location.partition("://")
        host, _, path = rest.partition("/")
        assert scheme == "http"
        target = location if name == "absolute" else f"/{path}"
        async with App.to(form.door(pod, vendor)) as app:
            await app.ask("GET", target, host=host)
        assert vendor.requests[-1].target == b"/v2/items?page=2&x=%2F"


async def test_a_service_may_be_named_without_a_path(tmp_path: Path) -> None:
    """`/crm` is the base URL itself, with or without a query; nothing is put behind it."""
    async with Vendor.answering(answer(b"ok")) as vendor, crm(tmp_path, vendor) as pod:
        async with App.to(pod.address) as app:
            for target in ("/crm", "/crm?x=1"):
                assert (await app.ask("GET", target)).status == 200
        assert [request.target for request in vendor.requests] == [b"/v2", b"/v2?x=1"]


async def test_a_host_without_base_path_always_gets_a_slash(tmp_path: Path) -> None:
    """A request line needs a path (RFC 9112 section 3.2.1), also where the app wrote none."""
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, {"crm": vendor}) as pod:
        async with App.to(pod.address) as app:
            for target in ("/crm", "/crm?x=1", vendor.url, f"{vendor.url}?x=1"):
                host = f"localhost:{vendor.port}" if target.startswith("http") else "localhost"
                assert (await app.ask("GET", target, host=host)).status == 200
        assert [request.target for request in vendor.requests] == [b"/", b"/?x=1", b"/", b"/?x=1"]


async def test_of_two_services_at_one_host_the_longer_base_path_wins(tmp_path: Path) -> None:
    """Behind HTTP_PROXY the host alone does not tell which service is meant."""
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        Pod(tmp_path, {"all": vendor, "crm": f"{vendor.url}/crm"}) as pod,
        App.to(pod.address) as app,
    ):
        for path, name in (("/crm/x", "crm"), ("/crmx", "all"), ("/crm", "crm"), ("/", "all")):
            reply = await app.ask("GET", vendor.url + path, host=f"localhost:{vendor.port}")
            assert (await pod.calls(len(vendor.requests)))[-1]["service"] == name
            assert reply.status == 200
            assert vendor.requests[-1].target == path.encode()


async def test_an_unknown_service_gets_404_with_the_known_names(tmp_path: Path) -> None:
    """A typing mistake in a base URL is told at once, in each form."""
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        crm(tmp_path, vendor) as pod,
        App.to(pod.address) as app,
    ):
        for target, host in (
            ("/cmr/x", "localhost"),
            ("/x", f"cmr.localhost:{port(pod)}"),
            ("http://api.elsewhere.example/x", "api.elsewhere.example"),
            ("/_sidecar/nothing", "localhost"),
            ("/", "localhost"),
        ):
            reply = await app.ask("GET", target, host=host)
            assert (reply.status, reply.value("Sidecar-Error")) == (404, "unknown_service"), target
            assert "crm" in reply.json()["detail"] or "_sidecar" in target
        assert not vendor.requests


async def test_connect_gets_405_and_a_sentence(tmp_path: Path) -> None:
    """A tunnel would hide the calls; the sentence says what to set instead."""
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        crm(tmp_path, vendor) as pod,
        App.to(pod.address) as app,
    ):
        reply = await app.ask("CONNECT", f"localhost:{vendor.port}", host=f"localhost:{vendor.port}")
        assert reply.status == 405
        assert "HTTP_PROXY" in reply.json()["detail"]
        assert "CONNECT" not in reply.value("Allow")


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", "[::2]", "crm.localhost.evil"])
async def test_a_host_that_is_not_ours_is_refused(host: str, tmp_path: Path) -> None:
    """A page that rebinds its name in DNS to loopback cannot use the app's credentials."""
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        crm(tmp_path, vendor) as pod,
        App.to(pod.address) as app,
    ):
        reply = await app.ask("GET", "/crm/x", host=host)
        assert (reply.status, reply.value("Sidecar-Error")) == (403, "host_not_allowed")
        assert not vendor.requests


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:4000", "gateway.pod", "localhost."],
)
async def test_every_name_of_ours_is_answered(host: str, tmp_path: Path) -> None:
    """Localhost, loopback addresses and the names of `listen.hosts`, with any port."""
    async with (
        Vendor.answering(answer(b"ok")) as vendor,
        crm(tmp_path, vendor, listen='hosts = ["gateway.pod"]') as pod,
        App.to(pod.address) as app,
    ):
        assert (await app.ask("GET", "/crm/x", host=host)).status == 200


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("path", [b"/../admin", b"/a/../../b", b"/%2e%2e/admin", b"/a/%2E./..%2fb", b"/..;/x"])
async def test_dot_segments_do_not_lead_out_of_the_base_path(name: str, path: bytes, tmp_path: Path) -> None:
    """The credential is for what is under the base URL, so nothing else is asked with it."""
    async with Vendor.answering(answer(b"ok")) as vendor, crm(tmp_path, vendor) as pod:
        reply = await ask(pod, vendor, FORMS[name], path)
        assert (reply.status, reply.value("Sidecar-Error")) == (400, "path_escapes")
        assert not vendor.requests


async def test_a_listener_of_one_service_serves_no_other(tmp_path: Path) -> None:
    """What comes in there goes to that service, whatever its path or Host says."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        vendors = {"crm": f"{vendor.url}/v2", "other": f"{vendor.url}/other"}
        own = {"crm": 'listen = ["127.0.0.1:0"]'}
        async with Pod(tmp_path, vendors, service=own) as pod, pod.app(pod.sidecar.egress_addresses[1]) as app:
            assert (await app.ask("GET", "/other/x", host="other.localhost")).status == 200
            assert vendor.requests[-1].target == b"/v2/other/x"
            reply = await app.ask("GET", f"{vendor.url}/other/x", host=f"localhost:{vendor.port}")
            assert (reply.status, reply.value("Sidecar-Error")) == (404, "unknown_service")
