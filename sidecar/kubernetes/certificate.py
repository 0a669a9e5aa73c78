"""Certificate: what the injector shows to the API server; replaced while it serves, without a lost connection."""

import ssl
from contextlib import suppress
from pathlib import Path

import msgspec

from sidecar.upstream.tls import load_chain

FILE_BYTES_MAX = 2**20  # As a Secret. More: refused.


class Certificate(msgspec.Struct, frozen=True):
    """A certificate with its key, ready to serve."""

    context: ssl.SSLContext
    expires_at: float  # Unix seconds.


class ServingContext(ssl.SSLContext):
    """Begins each handshake with the certificate that is in use then; connections that are open keep theirs.

    A context of its own for each certificate: OpenSSL keeps one for each kind of key, so that in one that took an
    elliptic key after an RSA one, some would be shown the old one for ever. asyncio and uvloop both call `wrap_bio`.
    """

    current: ssl.SSLContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the standard library's signature.
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a handshake."""
        return self.current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def serving_context(certificate: Certificate) -> ServingContext:
    """Make the context that a door is opened with; another `current` is another certificate from then on."""
    context = ServingContext(ssl.PROTOCOL_TLS_SERVER)
    context.current = certificate.context
    return context


def read_certificate(certificate: Path, key: Path) -> Certificate:
    """Read both files, PEM. It blocks: for a thread. Raises ValueError with a sentence that holds nothing of them."""
    chain, private_key = _read(certificate), _read(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        load_chain(context, chain, private_key, what="certificate")
    except ValueError as error:
        raise ValueError(f"{certificate}: {error}") from None
    try:
        return Certificate(context, _tried(context, chain.decode("latin-1")))
    except ssl.SSLCertVerificationError as error:
        raise ValueError(f"{certificate}: nobody would accept it: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise ValueError(f"{certificate}: it serves no connection: {error.reason}") from None


def _tried(context: ssl.SSLContext, chain: str) -> float:
    """Shake hands with ourselves, as somebody who trusts just this certificate; give the time of its end.

    What has ended, has not begun, or is not for servers shows here, and nothing but the standard library is needed.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # Under which name the API server calls is for the chart to know.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=chain)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server)
    ours = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (theirs, ours, theirs, ours, theirs):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    shown = theirs.getpeercert()
    assert shown is not None
    return float(ssl.cert_time_to_seconds(str(shown["notAfter"])))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{path} has more than {FILE_BYTES_MAX} bytes: it is no certificate")
    return content
