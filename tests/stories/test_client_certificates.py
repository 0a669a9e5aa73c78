"""A vendor that knows us by our TLS connection, and a certificate that is rotated while calls are under way."""

import asyncio
import ssl
from pathlib import Path

from tests.kit.certificates import Authority
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

MTLS = 'auth = { kind = "mtls", certificate = "files:certificate", private_key = "files:key" }'


def wanting(authority: Authority, folder: Path) -> ssl.SSLContext:
    """Give the context of a server that lets nobody in without a certificate of `authority`."""
    context = authority.server("localhost", "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(str(authority.write_to(folder / "clients.pem")))
    return context


def name_of(exchange: Exchange) -> bytes:
    """Give the name in the certificate of the connection."""
    names = exchange._writer.get_extra_info("peercert")["subjectAltName"]
    return str(names[0][1]).encode()


def present(pod: Pod, authority: Authority, name: str) -> None:
    """Write a certificate for `name` and its key into the store."""
    certificate, key, _ = authority.pems(name)
    pod.write_secret("key", key)
    pod.write_secret("certificate", certificate)


async def test_a_certificate_is_rotated_without_dropping_what_is_under_way(tmp_path: Path) -> None:
    """New calls show the new one on new connections; an answer that is half sent comes to its end on the old one."""
    authority = Authority()
    going_on = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        name = name_of(exchange)
        if exchange.request.target == b"/slow":
            raw = answer(name)
            await exchange.send(raw[:-3])
            await going_on.wait()
            await exchange.send(raw[-3:])
        else:
            await exchange.send(answer(name))

    ca_file = authority.write_to(tmp_path / "ca.pem")
    async with Vendor(play, tls=wanting(authority, tmp_path)) as vendor:
        pod = Pod(tmp_path, vendor, service=f'{MTLS}\nca_file = "{ca_file}"')
        present(pod, authority, "first.example")
        async with pod, pod.app() as app, pod.app() as slow:
            asking = asyncio.create_task(slow.ask("GET", "/vendor/slow"))
            await vendor.until(lambda: any(one.target == b"/slow" for one in vendor.requests), "the slow call")
            present(pod, authority, "second.example")
            await pod.sidecar._generation.shared.secrets.refresh()  # type: ignore[union-attr]
            bodies = {(await app.ask("GET", "/vendor/x")).body for _ in range(3)}
            assert bodies == {b"second.example"}
            going_on.set()
            reply = await asking
            assert (reply.status, reply.body, reply.is_cut_off) == (200, b"first.example", False)
            shown = [line for line in await pod.log_lines() if line["msg"] == "client_certificate_shown"]
            assert len({line["version"] for line in shown}) == 2
    assert b"PRIVATE KEY" not in pod.log_file.read_bytes()


async def test_a_certificate_that_is_not_there_yet_is_what_the_answer_names(tmp_path: Path) -> None:
    """No connection is made without it; when it is mounted, calls go through without a restart."""
    authority = Authority()
    ca_file = authority.write_to(tmp_path / "ca.pem")

    async def play(exchange: Exchange) -> None:
        await exchange.send(answer(name_of(exchange)))

    async with (
        Vendor(play, tls=wanting(authority, tmp_path)) as vendor,
        Pod(tmp_path, vendor, service=f'{MTLS}\nca_file = "{ca_file}"') as pod,
        pod.app() as app,
    ):
        reply = await app.ask("GET", "/vendor/x")
        assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
        assert "certificate" in reply.json()["detail"]
        present(pod, authority, "late.example")
        await pod.sidecar._generation.shared.secrets.refresh()  # type: ignore[union-attr]
        reply = await app.ask("GET", "/vendor/x")
        assert (reply.status, reply.body) == (200, b"late.example")
