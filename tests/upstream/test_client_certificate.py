"""Client certificates: a vendor that wants one, and rotation under connections that are in use."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from sidecar.auth.signing.mtls import ClientCertificate
from sidecar.core.errors import TlsFailed, UpstreamError
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.tasks import Tasks
from sidecar.upstream.pool import PoolConfig
from sidecar.upstream.tls import ClientContext, Contexts, remember
from tests.auth.signing.keeping import Told, held
from tests.kit.clock import ManualClock, settle
from tests.upstream.dialing import dialer, dialled, greet, server_context, serving, trusting
from tests.upstream.pooled import Lines
from tests.upstream.sending import Way, call_of, until


@pytest.fixture
def authority() -> trustme.CA:
    """Give an authority that vendor and app share."""
    return trustme.CA()


class Pair:
    """A client certificate with its key, in PEM."""

    def __init__(self, authority: trustme.CA, name: str) -> None:
        issued = authority.issue_cert(common_name=name)
        self.certificate = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        self.key = issued.private_key_pem.bytes()

    def encrypted(self, password: bytes) -> bytes:
        """Give the key under a password."""
        key = load_pem_private_key(self.key, None)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))


def wanting(authority: trustme.CA, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Make the context of a vendor that lets nobody in without a certificate."""
    context = server_context(authority, "api.test")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    authority.configure_trust(context)
    return context


async def tell_name(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with the name in the certificate that the connection began with."""
    subject = writer.get_extra_info("peercert")["subject"]
    name = dict(pair for part in subject for pair in part)["commonName"].encode()
    while head := await reader.readuntil(b"\r\n\r\n"):
        body = b"slow-" + name if b" /slow " in head else name
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        if b" /slow " in head:
            writer.write(body[:5])
            await reader.readexactly(2)  # What no client sends; the test writes it when the time has come.
            body = body[5:]
        writer.write(body)


def closed(way: Way) -> list[bool]:
    """Say of each connection, in the order of dialling, whether it is closed."""
    return [connection.is_closed for connection in way.connections]


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Fail if the block leaves a file open."""
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    yield
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


async def test_a_vendor_that_wants_a_certificate_sees_ours(authority: trustme.CA) -> None:
    """It knows us by the connection; nothing is in the headers."""
    context = trusting(authority)
    first = Pair(authority, "first")
    context.show(first.certificate, first.key)
    async with (
        serving(tell_name, tls=wanting(authority)) as port,
        Way(f"https://api.test:{port}", tls=context) as way,
    ):
        assert (await way.ask()).body == b"first"


async def test_a_certificate_with_its_chain_is_shown_with_it(authority: trustme.CA) -> None:
    """A vendor that trusts the root alone needs what stands between."""
    middle = authority.create_child_ca()
    pair = Pair(middle, "leaf")
    assert pair.certificate.count(b"BEGIN CERTIFICATE") == 2
    context = trusting(authority)
    context.show(pair.certificate, pair.key)
    async with (
        serving(tell_name, tls=wanting(authority)) as port,
        Way(f"https://api.test:{port}", tls=context) as way,
    ):
        assert (await way.ask()).body == b"leaf"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_without_a_certificate_it_lets_nobody_in(authority: trustme.CA, version: ssl.TLSVersion) -> None:
    """So that the tests above show something. TLS 1.3 tells only after the handshake."""
    async with (
        serving(tell_name, tls=wanting(authority, version)) as port,
        Way(f"https://api.test:{port}", tls=trusting(authority)) as way,
    ):
        with pytest.raises(UpstreamError) as refused:
            await way.ask()
        assert isinstance(refused.value, TlsFailed) or version is ssl.TLSVersion.TLSv1_3


async def test_rotation_ends_no_call_and_the_next_shows_the_new_certificate(authority: trustme.CA) -> None:
    """Idle connections of the old one are closed at once, a lent one when its call is over."""
    context = trusting(authority)
    first, second = Pair(authority, "first"), Pair(authority, "second")
    context.show(first.certificate, first.key)
    async with (
        serving(tell_name, tls=wanting(authority)) as port,
        Way(f"https://api.test:{port}", tls=context) as way,
    ):
        slow = call_of(target=b"/slow")
        reply = await way.begin(slow)
        assert (await way.ask()).body == b"first"
        lent, _ = way.connections
        context.show(second.certificate, second.key)
        way.pool.turn_over()
        assert closed(way) == [False, True]
        assert way.counts() == (0, 1, 0)
        assert (await way.ask()).body == b"second"
        assert lent.transport is not None
        lent.transport.write(b"go")
        assert (await way.finish(slow, reply)).body == b"slow-first"
        assert closed(way) == [True, True, False]
        assert (await way.ask()).body == b"second"
        assert len(way.connections) == 3
        assert way.counts() == (1, 0, 0)


async def test_rotation_under_load_fails_no_call(authority: trustme.CA) -> None:
    """Certificate and key lie in two secrets, so each rotation passes through a pair that does not fit."""
    certificate, key = held(), held(ref=SecretRef.parse("files:tls-key"))
    context = trusting(authority)
    mine = ClientCertificate(certificate, key, None, context, Told())
    async with (
        serving(tell_name, tls=wanting(authority)) as port,
        Way(f"https://api.test:{port}", tls=context) as way,
    ):
        mine.on_rotated(way.pool.turn_over)
        seen: list[bytes] = []

        async def rotate(number: int) -> None:
            pair = Pair(authority, f"number-{number}")
            certificate.put(Secret(pair.certificate, str(number)))
            await way.ask() if number else None
            key.put(Secret(pair.key, str(number)))

        async def work() -> None:
            while not seen or seen[-1] != b"number-4":
                call = call_of()
                mine.put_on(call)
                seen.append((await way.finish(call, await way.begin(call))).body)

        await rotate(0)
        tasks = Tasks()
        workers = [tasks.spawn(work(), "app") for _ in range(8)]
        for number in range(1, 5):
            before = len(seen)
            await until(lambda before=before: len(seen) > before + 20)  # type: ignore[misc]
            await rotate(number)
        for worker in workers:
            await worker
        assert (await way.ask()).body == b"number-4"
        assert set(seen) == {b"number-%d" % number for number in range(5)}


async def test_a_session_of_the_certificate_before_is_not_resumed(authority: trustme.CA) -> None:
    """It would bring the old identity back: a resumed handshake shows no certificate."""
    context = trusting(authority)
    pairs = [Pair(authority, name) for name in ("first", "second")]
    server = wanting(authority)
    async with serving(greet, tls=server) as port:
        reused = []

        async def visit() -> object:
            async with dialled(dialer(f"https://api.test:{port}", tls=context)) as protocol:
                await protocol.hear(b"hello")
                assert protocol.transport is not None
                ssl_object = protocol.transport.get_extra_info("ssl_object")
                reused.append(ssl_object.session_reused)
                remember(ssl_object)
                return ssl_object

        context.show(pairs[0].certificate, pairs[0].key)
        old = await visit()
        await visit()
        context.show(pairs[1].certificate, pairs[1].key)
        remember(old)  # A connection from before, which is done only now.
        await visit()
        await visit()
    assert reused == [False, True, False, True]


async def test_a_handshake_under_way_while_the_certificate_changes_is_used_once(clock: ManualClock) -> None:
    """It may have shown either; the call that waits for it gets it, and nobody after."""
    lines = Lines(clock, PoolConfig())
    hold = asyncio.Event()
    lines.holds.append(hold)
    asked = lines.ask()
    await settle()
    lines.pool.turn_over()
    hold.set()
    line = await asked
    assert (lines.open, lines.counts()) == (1, (0, 1, 0))
    lines.give_back(line)
    assert (lines.open, lines.counts()) == (0, (0, 0, 0))


async def test_who_waits_in_line_gets_a_place_of_a_connection_that_is_over(clock: ManualClock) -> None:
    """An old connection that comes back is not handed on; its place is."""
    lines = Lines(clock, PoolConfig(connections_max=1))
    first = await lines.take()
    waiting = lines.ask()
    await until(lambda: lines.counts() == (0, 1, 1))
    lines.pool.turn_over()
    lines.give_back(first)
    second = await waiting
    assert first.is_closed
    assert second is not first
    lines.give_back(second)
    assert lines.counts() == (1, 0, 0)


async def test_a_key_of_another_certificate_leaves_the_pair_before_in_use(authority: trustme.CA) -> None:
    """Certificate and key may be rotated one after the other; what does not fit is never half loaded."""
    context = trusting(authority)
    first, second = Pair(authority, "first"), Pair(authority, "second")
    context.show(first.certificate, first.key)
    with pytest.raises(ValueError, match="not that of the client certificate"):
        context.show(second.certificate, first.key)
    async with (
        serving(tell_name, tls=wanting(authority)) as port,
        Way(f"https://api.test:{port}", tls=context) as way,
    ):
        assert (await way.ask()).body == b"first"


async def test_an_encrypted_key_wants_its_password(authority: trustme.CA) -> None:
    """And a missing one is told, not asked for on a terminal."""
    context = trusting(authority)
    pair = Pair(authority, "first")
    encrypted = pair.encrypted(b"opens")
    for wrong in (b"", b"closes"):
        with pytest.raises(ValueError, match="password"):
            context.show(pair.certificate, encrypted, wrong)
    with pytest.raises(ValueError, match="could not be loaded"):
        context.show(pair.certificate, encrypted, b"x" * 2000)
    context.show(pair.certificate, encrypted, b"opens")
    assert context.turn == 1


@pytest.mark.parametrize("what", ["certificate", "key"])
async def test_what_is_no_pem_is_told_without_a_byte_of_it(authority: trustme.CA, what: str) -> None:
    """The sentence goes into logs and answers; no descriptor stays open."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    pair = Pair(authority, "first")
    canary = b"canary-" * 5
    with no_descriptor_left(), pytest.raises(ValueError, match="PEM") as refused:
        context.show(canary if what == "certificate" else pair.certificate, canary if what == "key" else pair.key)
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_contexts_are_shared_by_trust_and_identity() -> None:
    """A service without a certificate never shows that of another."""
    contexts = Contexts()
    plain, one, other = contexts.get(None), contexts.get(None, "files:one"), contexts.get(None, "files:other")
    assert len({id(context) for context in (plain, one, other)}) == 3
    assert contexts.get(None, "files:one") is one


async def test_a_lent_connection_of_an_old_certificate_gives_its_place_back_when_it_breaks(clock: ManualClock) -> None:
    """Each place comes back once, whatever comes first."""
    lines = Lines(clock, PoolConfig())
    line = await lines.take()
    lines.pool.turn_over()
    lines.lose(line)
    assert lines.counts() == (0, 1, 0)
    lines.give_back(line)
    assert lines.counts() == (0, 0, 0)
