"""TLS: the contexts with which vendors are verified, and the sessions that save a handshake.

A resumed session skips the certificates: they were verified when it began. A context lives as long as its config, and
sessions live in their context, so a changed `ca_file` begins with none.

A client certificate is put into its context while it works: OpenSSL gives each connection its own copy at the
handshake, so those that are open keep theirs, and new ones take the new one. Sessions remember who they began with, so
those of the certificate before are not offered any more.
"""

import os
import ssl
from collections import OrderedDict
from collections.abc import Container
from typing import Any

SESSIONS_MAX = 64  # Host names. Full: the session used longest ago is forgotten, which costs one full handshake.


class _Object(ssl.SSLObject):
    """Says that it needs more bytes without asking OpenSSL, where that is plain.

    The loop reads until it is told so, once for every answer, and OpenSSL's way of telling builds an exception with a
    formatted text: 1 µs of the call's 35.
    """

    _incoming: ssl.MemoryBIO
    turn = 0  # Which of its context's client certificates it began with.
    _wanting = ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "no more bytes are here")

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the standard library's signature.
        """Read what is decrypted; raises SSLWantReadError if nothing is here."""
        if not self._incoming.pending and not self.pending():
            raise self._wanting.with_traceback(None)
        return super().read(len, buffer)


class ClientContext(ssl.SSLContext):
    """A context that offers each host the last session kept for it.

    asyncio and uvloop have no argument for a session; both call `wrap_bio`, so it is handed in there.
    """

    _sessions: OrderedDict[str, ssl.SSLSession]
    turn = 0  # Counts the client certificates.

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the standard library's signature.
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a handshake, offering the session kept for `server_hostname`, if any."""
        if session is None and isinstance(server_hostname, str):
            session = self._sessions.get(server_hostname)
        ssl_object = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(ssl_object, _Object)
        ssl_object._incoming = incoming  # noqa: SLF001 - set here, since SSLObject is made by the context alone.
        ssl_object.turn = self.turn
        return ssl_object

    def keep(self, host: str, session: ssl.SSLSession) -> None:
        """Offer `session` to `host` from now on."""
        self._sessions[host] = session
        self._sessions.move_to_end(host)
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)

    def forget(self, host: str) -> None:
        """Begin anew with `host`: a handshake failed, and the session may be why."""
        self._sessions.pop(host, None)

    def show(self, certificate: bytes, private_key: bytes, password: bytes = b"") -> None:
        """Show this client certificate in all handshakes from now on; PEM, our own certificate first.

        Raises ValueError with a sentence that holds nothing of them; the certificate before is shown on, then.
        """
        # Tried on a context of its own: OpenSSL takes the certificate before it sees that the key is another's.
        load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, private_key, password)
        load_chain(self, certificate, private_key, password)
        self.turn += 1
        self._sessions.clear()


def client_context(ca_file: str | None = None) -> ClientContext:
    """Make a context that trusts the system's authorities and, in addition, those in `ca_file` (PEM).

    TLS 1.2 at least, host names checked. A client certificate goes in by `show` on the result.
    Raises ValueError with a sentence when `ca_file` cannot be read.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = _Object
    context._sessions = OrderedDict()  # noqa: SLF001 - SSLContext is made by __new__, and takes no further arguments.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # So that ca_file may hold just the issuing authority.
    context.set_alpn_protocols(["http/1.1"])
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_file is not None:
        _trust(context, ca_file)
    return context


class Contexts:
    """The contexts of one generation, one per `ca_file`: each costs 17 ms and 1.2 MiB with the system's authorities.

    Services share one as they share their trust, and the client certificate that they show, if any.
    """

    def __init__(self, before: "Contexts | None" = None, unchanged: Container[str | None] = ()) -> None:
        """Begin with those of the contexts before whose `ca_file` is unchanged and that show no certificate."""
        self._made: dict[tuple[str | None, str], ClientContext] = {}  # As many as the config has such pairs.
        if before is not None:
            self._made |= before.plain(unchanged)

    def get(self, ca_file: str | None, identity: str = "") -> ClientContext:
        """Give the context for `ca_file` and the client certificate called `identity` ("": none is shown).

        Raises ValueError as `client_context` does.
        """
        key = (ca_file, identity)
        if key not in self._made:
            self._made[key] = client_context(ca_file)
        return self._made[key]

    def plain(self, ca_files: Container[str | None]) -> dict[tuple[str | None, str], ClientContext]:
        """Give those for these files that show no certificate."""
        return {key: made for key, made in self._made.items() if key[0] in ca_files and not key[1]}


class Trust:
    """The contexts of the generation that is current, for what outlives one: token sources and secret stores."""

    def __init__(self) -> None:
        self.contexts = Contexts()

    def context(self, ca_file: str | None) -> ClientContext:
        """Give the context that new connections are to be made with. Raises ValueError as `client_context` does."""
        return self.contexts.get(ca_file)


def remember(ssl_object: Any) -> None:
    """Keep the session of a connection for the next one to the same host.

    To be called after the first answer: in TLS 1.3 the server sends its tickets after the handshake, so a session
    taken earlier would not resume. Harmless on a connection without TLS or without a ticket.
    """
    context = getattr(ssl_object, "context", None)
    if not isinstance(context, ClientContext) or ssl_object.server_hostname is None:
        return
    if ssl_object.turn != context.turn:
        return  # It knows us by another certificate.
    session = ssl_object.session
    if session is not None and (session.has_ticket or session.id):
        context.keep(ssl_object.server_hostname, session)


def load_chain(
    context: ssl.SSLContext,
    certificate: bytes,
    private_key: bytes,
    password: bytes = b"",
    what: str = "client certificate",
) -> None:
    """Load a certificate to show. The ssl module takes files alone, so it gets one that is nothing but memory.

    A memfd has no name in any directory, is seen by this process only, and is gone when it is closed; so the key
    touches no disk, and a root file system that is read-only does not matter.

    Raises ValueError with a sentence that holds nothing of them.
    """
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.set_blocking(descriptor, False)  # Memory never blocks; now whoever watches for that sees it, too.
        os.write(descriptor, b"\n".join([certificate.strip(), private_key.strip(), b""]))
        # Given even if it is empty: without one OpenSSL asks on the terminal for that of an encrypted key.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=password)
    except ssl.SSLError as error:
        raise ValueError(_unloadable(error, what, is_encrypted=b"ENCRYPTED" in private_key)) from None
    except (OSError, ValueError) as error:  # The latter: a password of more than 1,023 bytes.
        raise ValueError(f"the {what} could not be loaded ({type(error).__name__})") from None
    finally:
        os.close(descriptor)


def _unloadable(error: ssl.SSLError, what: str, *, is_encrypted: bool) -> str:
    reason = error.reason or ""
    if reason == "KEY_VALUES_MISMATCH":
        return f"the private key is not that of the {what}; while both are rotated that passes by itself"
    if is_encrypted:  # OpenSSL has a dozen ways to say so, and one of them is to say nothing.
        return "the private key is encrypted, and its password is another or missing"
    return (
        f"the {what} and its private key are not both in PEM form "
        f"(-----BEGIN CERTIFICATE-----, -----BEGIN PRIVATE KEY-----): {reason or 'no start line'}"
    )


def _trust(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError as error:
        raise ValueError(
            f"{ca_file} holds no certificates in PEM form (-----BEGIN CERTIFICATE-----): {error.reason or error}"
        ) from None
    except OSError as error:
        raise ValueError(f"{ca_file} cannot be read: {error.strerror}") from None
