"""TLS with a vendor on loopback: what is verified, what is refused and in which words, and sessions that resume."""

import asyncio
import contextlib
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sidecar.core.call import AttemptRecord
from sidecar.core.errors import DeadlineExceeded, TlsFailed
from sidecar.upstream.tls import SESSIONS_MAX, ClientContext, Contexts, client_context, remember
from tests.kit.clock import ManualClock, settle
from tests.upstream.dialing import (
    NEVER,
    Recorder,
    Serve,
    dialer,
    dialled,
    greet,
    no_socket_left,
    server_context,
    serving,
    stay_silent,
    trusting,
)


@pytest.fixture
def authority() -> trustme.CA:
    """Give an authority that only this test trusts."""
    return trustme.CA()


async def refused(server: ssl.SSLContext, tls: ClientContext | None = None) -> TlsFailed:
    """Dial `api.test` at a server that must be refused, and give the error."""
    async with no_socket_left(), serving(greet, tls=server) as port:
        with pytest.raises(TlsFailed) as raised:
            await dialer(f"https://api.test:{port}", tls=tls).dial(Recorder, AttemptRecord(), NEVER)
    return raised.value


async def test_vendor_signed_by_the_ca_file_is_trusted(authority: trustme.CA) -> None:
    """The handshake ends with HTTP/1.1 agreed upon, and the record has its time."""
    record = AttemptRecord()
    server = server_context(authority, "api.test")
    server.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        no_socket_left(),
        serving(greet, tls=server) as port,
        dialled(dialer(f"https://api.test:{port}", tls=trusting(authority)), record) as vendor,
    ):
        await vendor.hear(b"hello")
        assert vendor.transport is not None
        tls = vendor.transport.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"
        assert tls.version() == "TLSv1.3"
    assert record.tls_s > 0


def test_ca_file_comes_on_top_of_the_system_trust(authority: trustme.CA) -> None:
    """A vendor with a public certificate is trusted with and without a ca_file."""
    system, both = client_context(), trusting(authority)
    assert len(both.get_ca_certs()) == len(system.get_ca_certs()) + 1
    assert both.minimum_version == ssl.TLSVersion.TLSv1_2
    assert both.check_hostname
    assert both.verify_mode == ssl.CERT_REQUIRED


def test_services_with_the_same_trust_share_a_context(authority: trustme.CA) -> None:
    """Twenty services do not load the system's authorities twenty times."""
    contexts = Contexts()
    with authority.cert_pem.tempfile() as path:
        assert contexts.get(None) is contexts.get(None)
        assert contexts.get(path) is contexts.get(path)
        assert contexts.get(path) is not contexts.get(None)


def test_contexts_of_unchanged_files_go_on(authority: trustme.CA) -> None:
    """With their sessions; not the one of a file that changed, nor one that shows a certificate."""
    before = Contexts()
    with authority.cert_pem.tempfile() as kept, authority.cert_pem.tempfile() as changed:
        for ca_file, identity in ((None, ""), (kept, ""), (kept, "ours"), (changed, "")):
            before.get(ca_file, identity)
        now = Contexts(before, {None, kept})
        assert now.get(None) is before.get(None)
        assert now.get(kept) is before.get(kept)
        assert now.get(changed) is not before.get(changed)
        assert now.get(kept, "ours") is not before.get(kept, "ours")


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_ca_file_that_cannot_be_used_is_refused_with_its_name(tmp_path: Path, content: str | None) -> None:
    """Missing, empty and wrong files are told apart from a vendor's fault, before any call."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"ca\.pem"):
        client_context(str(path))


@contextmanager
def refusing_with_an_alert(server: ssl.SSLContext) -> Iterator[int]:
    """Serve one handshake in a thread: uvloop's own server closes without the alert that real servers send."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            server.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


async def refused_with_an_alert(server: ssl.SSLContext, tls: ClientContext) -> TlsFailed:
    """Dial `api.test` at a server that refuses the handshake, and give the error."""
    async with no_socket_left():
        with refusing_with_an_alert(server) as port, pytest.raises(TlsFailed) as raised:
            await dialer(f"https://api.test:{port}", tls=tls).dial(Recorder, AttemptRecord(), NEVER)
    return raised.value


async def test_server_sees_the_dialled_name(authority: trustme.CA) -> None:
    """SNI is the host of base_url, as the certificate and the look-up."""
    seen: list[str | None] = []
    server = server_context(authority, "api.test")
    server.sni_callback = lambda _socket, name, _context: seen.append(name)
    async with (
        serving(greet, tls=server) as port,
        dialled(dialer(f"https://API.test:{port}", tls=trusting(authority))),
    ):
        pass
    assert seen == ["api.test"]


async def test_address_in_the_url_is_verified_as_an_address(authority: trustme.CA) -> None:
    """A certificate for 127.0.0.1 serves https://127.0.0.1, and its SNI stays empty."""
    async with (
        serving(greet, tls=server_context(authority, "127.0.0.1")) as port,
        dialled(dialer(f"https://127.0.0.1:{port}", tls=trusting(authority))) as vendor,
    ):
        await vendor.hear(b"hello")


async def test_unknown_authority_is_refused_and_ca_file_is_named(authority: trustme.CA) -> None:
    """The operator's own authority is the usual reason."""
    error = await refused(server_context(authority, "api.test"))
    assert error.proxy_error == "tls_certificate_error"
    assert "ca_file" in error.detail


async def test_self_signed_certificate_is_refused_and_ca_file_is_named(tmp_path: Path) -> None:
    """A certificate signed by itself is trusted only once it stands in ca_file."""
    path = self_signed(tmp_path, "api.test")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    error = await refused(server)
    assert error.proxy_error == "tls_certificate_error"
    assert "ca_file" in error.detail
    async with (
        serving(greet, tls=server) as port,
        dialled(dialer(f"https://api.test:{port}", tls=client_context(str(path)))) as vendor,
    ):
        await vendor.hear(b"hello")


async def test_certificate_of_another_name_is_refused(authority: trustme.CA) -> None:
    """Trusted, but for someone else."""
    error = await refused(server_context(authority, "other.test"), trusting(authority))
    assert error.proxy_error == "tls_certificate_error"
    assert error.detail == "the certificate is not for api.test but for another name; is base_url right?"


@pytest.mark.parametrize(
    ("begins", "ends", "words"), [(-20, -10, "has expired"), (10, 20, "not valid yet; is the clock of this node right")]
)
async def test_certificate_out_of_its_time_is_refused(
    authority: trustme.CA, begins: int, ends: int, words: str
) -> None:
    """Expired is the vendor's to repair, not yet valid is the node's clock as a rule."""
    now = datetime.now(UTC)
    server = server_context(
        authority, "api.test", not_before=now + timedelta(days=begins), not_after=now + timedelta(days=ends)
    )
    error = await refused(server, trusting(authority))
    assert error.proxy_error == "tls_certificate_error"
    assert error.is_final, "it is as old in half a second"
    assert words in error.detail


async def test_tls_1_1_is_refused(authority: trustme.CA) -> None:
    """A vendor that speaks nothing newer than TLS 1.1 is not spoken to."""
    server = server_context(authority, "api.test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        server.minimum_version = ssl.TLSVersion.TLSv1
        server.maximum_version = ssl.TLSVersion.TLSv1_1
    server.set_ciphers("ALL:@SECLEVEL=0")
    error = await refused_with_an_alert(server, trusting(authority))
    assert error.proxy_error == "tls_protocol_error"
    assert "no TLS 1.2" in error.detail
    assert error.is_final


async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a TLS hello as a plain web server does."""
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await reader.read()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close in the middle of the handshake."""
    await reader.read(10)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset in the middle of the handshake."""
    await reader.read(10)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


@pytest.mark.parametrize(
    ("serve", "words", "proxy_error"),
    [
        (speak_http, "does not speak TLS", "tls_protocol_error"),
        (hang_up, "broke off during the TLS handshake", "connection_terminated"),
        (reset, "broke off during the TLS handshake", "connection_terminated"),
    ],
)
async def test_peer_that_is_no_tls_server_is_told_apart(serve: Serve, words: str, proxy_error: str) -> None:
    """A wrong port and a broken vendor lead to different people."""
    async with no_socket_left(), serving(serve) as port:
        with pytest.raises(TlsFailed, match=words) as raised:
            await dialer(f"https://api.test:{port}").dial(Recorder, AttemptRecord(), NEVER)
    assert raised.value.proxy_error == proxy_error
    assert raised.value.is_final is (serve is speak_http), "what broke off may hold the next time"


async def test_refusal_of_the_server_is_told_as_such(authority: trustme.CA) -> None:
    """An alert is the vendor's word: no shared cipher, or a client certificate that it wants."""
    server = server_context(authority, "api.test")
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    client = trusting(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")
    error = await refused_with_an_alert(server, client)
    assert error.proxy_error == "tls_alert_received"


@pytest.mark.parametrize(
    ("deadline", "error", "words"),
    [(NEVER, TlsFailed, "tls_timeout = 2s"), (0.5, DeadlineExceeded, "the TLS handshake")],
)
async def test_handshake_that_stalls_ends_in_time(
    clock: ManualClock, deadline: float, error: type[Exception], words: str
) -> None:
    """By the step's own limit or by the call's deadline, whichever comes first; no socket stays."""
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        arrived.set()
        await stay_silent(reader, writer)

    async with serving(serve) as port, no_socket_left():
        dialling = dialer(f"https://api.test:{port}", clock=clock)
        call = asyncio.create_task(dialling.dial(Recorder, AttemptRecord(), clock.now() + deadline))
        await arrived.wait()
        await clock.advance(2.0)
        with pytest.raises(error, match=words):
            await call


async def test_cancelled_during_the_handshake_leaves_no_socket() -> None:
    """The app hung up while the vendor was shaking hands."""
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        arrived.set()
        await stay_silent(reader, writer)

    async with serving(serve) as port, no_socket_left():
        call = asyncio.create_task(dialer(f"https://api.test:{port}").dial(Recorder, AttemptRecord(), NEVER))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await settle()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_second_connection_resumes_the_session_of_the_first(
    authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    """One round trip and most of the arithmetic less; the server agrees that it is the same session."""
    server = server_context(authority, "api.test")
    server.minimum_version = server.maximum_version = version
    reused: list[bool] = []
    async with serving(greet, tls=server) as port:
        dialling = dialer(f"https://api.test:{port}", tls=trusting(authority))
        for _ in range(3):
            async with dialled(dialling) as vendor:
                await vendor.hear(b"hello")
                assert vendor.transport is not None
                tls = vendor.transport.get_extra_info("ssl_object")
                reused.append(tls.session_reused)
                remember(tls)
    assert reused == [False, True, True]


async def test_session_is_offered_to_its_own_host_only(authority: trustme.CA) -> None:
    """One context may serve several names; their sessions do not mix."""
    tls = trusting(authority)
    async with serving(greet, tls=server_context(authority, "a.test", "b.test")) as port:
        for name in ("a.test", "b.test"):
            async with dialled(dialer(f"https://{name}:{port}", tls=tls)) as vendor:
                await vendor.hear(b"hello")
                assert vendor.transport is not None
                ssl_object = vendor.transport.get_extra_info("ssl_object")
                assert not ssl_object.session_reused
                remember(ssl_object)
    assert list(tls._sessions) == ["a.test", "b.test"]


async def test_failed_handshake_forgets_the_session(authority: trustme.CA) -> None:
    """A session that makes a server stumble is not offered for ever."""
    tls = trusting(authority)
    async with (
        serving(greet, tls=server_context(authority, "api.test")) as port,
        dialled(dialer(f"https://api.test:{port}", tls=tls)) as vendor,
    ):
        await vendor.hear(b"hello")
        assert vendor.transport is not None
        remember(vendor.transport.get_extra_info("ssl_object"))
    assert "api.test" in tls._sessions
    async with serving(hang_up) as port:
        with pytest.raises(TlsFailed):
            await dialer(f"https://api.test:{port}", tls=tls).dial(Recorder, AttemptRecord(), NEVER)
    assert tls._sessions == {}


async def test_sessions_are_bounded(authority: trustme.CA) -> None:
    """The session used longest ago is forgotten."""
    tls = trusting(authority)
    async with (
        serving(greet, tls=server_context(authority, "api.test")) as port,
        dialled(dialer(f"https://api.test:{port}", tls=tls)) as vendor,
    ):
        await vendor.hear(b"hello")
        assert vendor.transport is not None
        session = vendor.transport.get_extra_info("ssl_object").session
    for number in range(SESSIONS_MAX + 1):
        tls.keep(f"{number}.test", session)
    assert len(tls._sessions) == SESSIONS_MAX
    assert "0.test" not in tls._sessions


def test_remembering_a_plain_connection_does_nothing() -> None:
    """The connection need not know whether it speaks TLS; a context without sessions stays without."""
    tls = client_context()
    remember(None)
    assert not tls._sessions


def self_signed(folder: Path, name: str) -> Path:
    """Write a certificate signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "self-signed.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
