"""Certificate: a client's certificate and key from a secret store in a TLS context, without a file on a disk."""

import os
import ssl
from collections.abc import Callable

from sidecar.auth.oauth.token import TokenRefused


class CertifiedContext:
    """The context with the certificate that is true now; made anew when the secrets change, or the trust.

    Connections under way keep the context that they began with.
    """

    __slots__ = ("_context", "_made_of", "_own_context")

    def __init__(self, own_context: Callable[[], ssl.SSLContext]) -> None:
        self._own_context = own_context
        self._context: ssl.SSLContext | None = None
        self._made_of: tuple[bytes, bytes, object] | None = None

    def get(self, certificate: bytes, key: bytes, trust: object = None) -> ssl.SSLContext:
        """Give the context. Reads files and takes 20 ms when something changed: not for the loop.

        `trust` is another object as soon as the file of authorities is another.

        Raises TokenRefused if the two are no certificate with its key.
        """
        if self._context is None or self._made_of != (certificate, key, trust):
            try:
                context = self._own_context()
            except ValueError as error:  # A sentence about ca_file.
                raise TokenRefused(str(error)) from None
            load(context, certificate, key)
            self._context = context
            self._made_of = (certificate, key, trust)
        return self._context


def load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Put a certificate chain and its key (both PEM) into a context. Raises TokenRefused.

    Python's ssl reads files alone, so they stand in memory for as long as it reads: never on a disk, nor under a name.
    """
    handle = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(certificate.rstrip() + b"\n" + key.rstrip() + b"\n")
        # An encrypted key would ask for its password on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{handle}", password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
    else:
        return
    finally:
        os.close(handle)
    raise TokenRefused(f"client_certificate and client_key are no certificate with its key in PEM ({reason})")


def _no_password() -> bytes:
    raise ValueError("the key is encrypted")
