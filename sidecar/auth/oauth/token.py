"""Token: what a token endpoint gave, and what it says when it gives none."""

import math
from typing import Any, NoReturn

from sidecar.core.secret import Secret


class Token:
    """A short-lived credential in memory; it shows itself to nobody, and is never written down."""

    __slots__ = ("bound_to", "expires_at", "extra", "got_at", "is_shared", "kind", "refresh_token", "value")

    def __init__(
        self,
        value: bytes,
        kind: str = "Bearer",
        *,
        got_at: float,
        expires_at: float = math.inf,
        refresh_token: Secret | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.value = value
        self.kind = kind  # The scheme it travels under: "Bearer", or "DPoP" (RFC 9449).
        self.got_at = got_at  # Monotonic: when the request for it was sent, so that its life is rather too short.
        self.expires_at = expires_at  # Monotonic; infinite where nobody says.
        self.refresh_token = refresh_token  # A new one, to be stored before the token is used; None: keep the old.
        self.is_shared = False  # Another pod had it minted, and this one found it in the store.
        self.bound_to: object = None  # The key without which it is worth nothing (dpop.py); None: whoever has it.
        self.extra = extra or {}  # Further plain members of the answer, such as instance_url and scope.

    @property
    def life(self) -> float:
        """Seconds from its birth to its end; infinite where nobody says."""
        return self.expires_at - self.got_at

    def __repr__(self) -> str:
        return f"Token({self.kind} ***, life={self.life:.0f}s)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not pickled")


class TokenRefused(Exception):
    """No token came; the sentence says at which step and why, and never holds a secret that was sent.

    `error` is the code of RFC 6749 section 5.2 or the vendor's own, "" where there is none; `retry_after` in seconds.
    """

    def __init__(
        self,
        sentence: str,
        *,
        error: str = "",
        description: str = "",
        status: int = 0,
        is_retryable: bool = False,
        is_invalid_grant: bool = False,
        is_unsent: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.error = error
        self.description = description
        self.status = status  # 0: no answer came.
        self.is_retryable = is_retryable  # The same request may succeed later; else somebody has to change something.
        self.is_invalid_grant = is_invalid_grant  # The refresh token or assertion is no good (any more).
        self.is_unsent = is_unsent  # The endpoint cannot have seen the request, so a rotating grant is untouched.
        self.retry_after = retry_after
