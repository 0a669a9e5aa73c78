"""App token: what the app shows at the door when `listen.app_token` is set."""

import hmac

from sidecar.auth.secrets.held import Held
from sidecar.core.errors import AppTokenMissing, CredentialUnavailable


class AppToken:
    """Compares `Sidecar-Token` with the secret, in constant time."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def check(self, shown: bytes | None) -> None:
        """Raise AppTokenMissing if it is not the token, CredentialUnavailable if we do not have the token."""
        secret = self._held.secret
        if secret is None:
            raise CredentialUnavailable(f"reading listen.app_token from its store failed: {self._held.problem}")
        if shown is None or not hmac.compare_digest(shown, secret.reveal()):
            raise AppTokenMissing("send the app's token in Sidecar-Token; the operator has set listen.app_token")
