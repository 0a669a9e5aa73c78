"""mTLS: the client certificate of a service, from its secrets into the handshakes, also when it is rotated."""

from collections.abc import Callable
from typing import Protocol

from sidecar.auth.secrets.held import Held, Notice
from sidecar.auth.signing.parts import Parts
from sidecar.core.call import Call
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret


class Shows(Protocol):
    """Where a client certificate is shown: a TLS context."""

    def show(self, certificate: bytes, private_key: bytes, password: bytes = b"") -> None:
        """Show it from now on. Raises ValueError with a sentence; the one before is shown on, then."""


class ClientCertificate:
    """Keeps one TLS context showing the certificate that the store has.

    Certificate and key may lie in two secrets that change one after the other. In between they do not fit, and the
    pair before stays.
    """

    def __init__(
        self, certificate: Held, private_key: Held, password: Held | None, context: Shows, notice: Notice
    ) -> None:
        self._name = str(certificate.ref)
        self._context = context
        self._notice = notice
        self._is_shown = False
        self._problem = ""
        self._listeners: list[Callable[[], None]] = []
        self._parts = Parts([certificate, private_key, *([password] if password is not None else [])], self._take)

    def on_rotated(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever another certificate is shown: connections of the one before are to end."""
        self._listeners.append(listener)

    def put_on(self, call: Call) -> None:
        """See that there is a certificate; the connection shows it. Raises CredentialUnavailable otherwise."""
        if not self._is_shown:
            problem = self._problem or self._parts.problem
            raise CredentialUnavailable(f"reading the client certificate for {call.service} failed: {problem}")

    def release(self) -> None:
        """Hear of no further value: the service goes away. The context keeps what it shows, for calls under way."""
        self._parts.release()

    def _take(self, secrets: list[Secret]) -> None:
        try:
            self._context.show(*(secret.reveal() for secret in secrets))
        except ValueError as error:
            self._problem = str(error)
            level = "warning" if self._is_shown else "error"
            self._notice(level, "client_certificate_unusable", secret=self._name, error=self._problem)
            return
        self._is_shown = True
        self._problem = ""
        self._notice("info", "client_certificate_shown", secret=self._name, version=secrets[0].version)
        for listener in self._listeners:
            listener()
