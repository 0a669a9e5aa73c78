"""Material: the secrets that go into one token request, and the mask over them in whatever the endpoint says."""

import re
from collections.abc import Mapping

from sidecar.auth.oauth.token import TokenRefused
from sidecar.core.secret import SecretRef
from sidecar.telemetry.redact import MASK, Redactor, forms

# What is long and made of letters and digits may be a piece of a secret that a server repeats; a trace id is no secret.
_SUSPECT = re.compile(r"(?=[^\s]*[0-9])[A-Za-z0-9+/_=.~%-]{24,}")
_TRACE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Material:
    """The values for one request; they end with it."""

    __slots__ = ("_sent", "_values")

    def __init__(self, values: Mapping[SecretRef, bytes]) -> None:
        self._values = values
        self._sent = list(values.values())

    def value(self, reference: SecretRef) -> bytes:
        """Give the value behind a reference of the config."""
        return self._values[reference]

    def text(self, reference: SecretRef, name: str) -> str:
        """Give a value that is text. Raises TokenRefused if it is not."""
        return decoded(self._values[reference], name)

    def sent(self, value: str) -> str:
        """Remember a value that was made for this request, and give it."""
        self._sent.append(value.encode())
        return value

    def mask(self, text: str) -> str:
        """Give a text without anything that was sent, in whatever form, and without what looks like a piece of it."""
        redactor = Redactor()
        for value in self._sent:
            redactor.know(forms(value))
        shown = redactor.text(text)
        return _SUSPECT.sub(lambda match: match[0] if _TRACE_ID.fullmatch(match[0]) else MASK, shown)

    def masked(self, refused: TokenRefused) -> TokenRefused:
        """Give the refusal without anything that was sent: servers repeat what they did not like."""
        return TokenRefused(
            self.mask(str(refused)),
            error=refused.error if self.mask(refused.error) == refused.error else "error",
            description=self.mask(refused.description),
            status=refused.status,
            is_retryable=refused.is_retryable,
            is_invalid_grant=refused.is_invalid_grant,
            is_unsent=refused.is_unsent,
            retry_after=refused.retry_after,
        )

    def __repr__(self) -> str:
        return f"Material({len(self._sent)} values)"


def decoded(value: bytes, name: str) -> str:
    """Give a secret as text. Raises TokenRefused with its name alone: Python's own error holds the value."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        pass
    raise TokenRefused(f"{name} is not text")
