"""A vendor behind TLS: trusted by its ca_file, refused in helpful words, and resumed without a full handshake."""

import datetime as dt
import secrets
import ssl
from pathlib import Path

import pytest
import trustme

from tests.kit.app import Reply
from tests.kit.certificates import Authority
from tests.kit.exchange import Exchange
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

LONG_AGO = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


async def ask(pod: Pod) -> Reply:
    """Ask on a connection of its own."""
    async with pod.app() as app:
        return await app.ask("GET", "/vendor/v1/charges")


@pytest.fixture
def authority() -> Authority:
    """An authority of this test's own."""
    return Authority()


@pytest.fixture
def trust(authority: Authority, tmp_path: Path) -> str:
    """The setting with which a service trusts it."""
    return f'ca_file = "{authority.write_to(tmp_path / "ca.pem")}"'


async def test_a_vendor_of_the_ca_file_is_called_with_its_credential(
    authority: Authority, trust: str, tmp_path: Path
) -> None:
    """Over TLS, with the host's own name; the credential is seen there and in no line of ours."""
    token = secrets.token_hex(16)
    async with Vendor.echoing(tls=authority.server()) as vendor:
        pod = Pod(tmp_path, vendor, service=f'{trust}\nauth = {{ kind = "bearer", secret = "files:key" }}')
        pod.write_secret("key", token + "\n")
        async with pod:
            reply = await ask(pod)
            assert reply.status == 200
            assert vendor.requests[0].values("Authorization") == [f"Bearer {token}".encode()]
            assert vendor.requests[0].values("Host") == [f"localhost:{vendor.port}".encode()]
            await pod.assert_nothing_left()
        assert token.encode() not in pod.log_file.read_bytes()


async def refused(vendor: Vendor, tmp_path: Path, service: str = "") -> str:
    """Ask a vendor that must be refused before anything is sent; gives the sentence."""
    async with vendor, Pod(tmp_path, vendor, service=service) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.value("Sidecar-Error")) == (502, "tls_failed")
        assert "error=tls_certificate_error" in reply.value("Proxy-Status")
        assert not vendor.requests
        await pod.assert_nothing_left()
        detail: str = reply.json()["detail"]
        assert (await pod.calls())[0]["code"] == "tls_failed"
        return detail


async def test_an_unknown_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    """The sentence says where to name it, should it be one's own."""
    detail = await refused(Vendor.echoing(tls=authority.server()), tmp_path)
    assert "not trusted here" in detail
    assert "ca_file" in detail


async def test_a_certificate_for_another_name_is_refused(authority: Authority, trust: str, tmp_path: Path) -> None:
    """The authority is right, the name is not."""
    detail = await refused(Vendor.echoing(tls=authority.server("api.crm.example")), tmp_path, trust)
    assert "not for localhost" in detail
    assert "base_url" in detail


async def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    """The sentence says whose matter it is."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", not_before=LONG_AGO, not_after=LONG_AGO + dt.timedelta(days=1)).configure_cert(
        server
    )
    detail = await refused(Vendor.echoing(tls=server), tmp_path, f'ca_file = "{tmp_path / "ca.pem"}"')
    assert "expired" in detail
    assert "localhost" in detail


async def test_a_vendor_without_tls_is_refused(tmp_path: Path) -> None:
    """TLS towards a plain port: the sentence asks for the scheme."""
    async with Vendor(plain, reads=False) as vendor, Pod(tmp_path, f"https://localhost:{vendor.port}") as pod:
        reply = await ask(pod)
        assert (reply.status, reply.value("Sidecar-Error")) == (502, "tls_failed")
        assert "does not speak TLS" in reply.json()["detail"]
        await pod.assert_nothing_left()


async def plain(exchange: Exchange) -> None:
    """Answer a ClientHello as a web server without TLS does."""
    await exchange.read_some()
    await exchange.send(answer(b"400", status=400, reason=b"Bad Request"))
    await exchange.close()


async def test_the_second_connection_resumes_the_first_ones_session(
    authority: Authority, trust: str, tmp_path: Path
) -> None:
    """A full handshake costs a round trip and a signature; the ticket saves both."""
    resumed: list[bool] = []

    async def play(exchange: Exchange) -> None:
        resumed.append(exchange._writer.get_extra_info("ssl_object").session_reused)
        await exchange.send(answer(b"ok", headers=[(b"Connection", b"close")]))
        await exchange.close()

    async with Vendor(play, tls=authority.server()) as vendor, Pod(tmp_path, vendor, service=trust) as pod:
        for _ in range(3):
            assert (await ask(pod)).body == b"ok"
            await pod.assert_nothing_left()
        assert resumed == [False, True, True]


async def test_a_large_body_passes_through_tls(authority: Authority, trust: str, tmp_path: Path) -> None:
    """Records are no boundary of anything."""
    content = secrets.token_bytes(3_000_000)
    async with (
        Vendor.answering(answer(content), tls=authority.server()) as vendor,
        Pod(tmp_path, vendor, service=trust) as pod,
    ):
        for _ in range(2):
            assert (await ask(pod)).body == content
        await pod.assert_nothing_left()
        assert vendor.connections_opened == 1


async def test_a_connection_cut_without_a_goodbye_is_a_break(authority: Authority, trust: str, tmp_path: Path) -> None:
    """TCP's end without TLS's: anyone on the way can do that, so an answer without a length is not whole."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        exchange.abort()

    async with Vendor(play, tls=authority.server()) as vendor, Pod(tmp_path, vendor, service=trust) as pod:
        reply = await ask(pod)
        assert (reply.status, reply.is_cut_off) == (200, True)
        await pod.assert_nothing_left()
