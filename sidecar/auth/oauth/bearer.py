"""Bearer: puts a service's current token on its calls, and has it replaced when the vendor refuses it."""

from collections.abc import Callable

from sidecar.auth.oauth.source import TokenSource
from sidecar.auth.oauth.token import Token
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.headers import find, find_all

_UNAUTHORIZED = 401
_ALSO = frozenset({400, 403})  # Statuses under which some vendors say what RFC 6750 section 3.1 says with 401.
_INVALID = (b'error="invalid_token"', b"error=invalid_token")
_NONCE_WANTED = b"use_dpop_nonce"


class Proofs:
    """What a token bound to a key needs beside it (RFC 9449): `prove` gives the field `DPoP` for a call with a token,

    `hear` takes the vendor's `DPoP-Nonce` and says whether it is a new one.
    """

    __slots__ = ("hear", "prove")

    def __init__(self, prove: Callable[[Call, Token], bytes], hear: Callable[[str], bool]) -> None:
        self.prove = prove
        self.hear = hear


class TokenCredential:
    """The credential of a service whose tokens come from `source`.

    `prefix` None: the kind that the endpoint named, as a rule `Bearer`.
    """

    __slots__ = ("_clock", "_field", "_header", "_key", "_prefix", "_proofs", "_source", "_token")

    def __init__(
        self,
        source: TokenSource,
        clock: Clock,
        *,
        header: str = "Authorization",
        prefix: str | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        self._source = source
        self._clock = clock
        self._header = header.encode()
        self._key = self._header.lower()
        self._prefix = prefix
        self._proofs = proofs
        self._token: Token | None = None  # The one that `_field` was made of.
        self._field = (b"", b"")

    def is_ready(self) -> bool:
        """Whether there is a good token now."""
        return self._clock.now() < self._source.expires_at

    async def ready(self, call: Call) -> None:
        """Wait for a good token. Raises CredentialUnavailable with the step that failed."""
        call.step = "waiting for a token"
        await self._source.get(call.deadline_at)

    def put_on(self, call: Call) -> None:
        """Put the token on, in place of whatever stands there. Raises CredentialUnavailable if there is none."""
        token = self._source.token(self._clock.now())
        if token is None:
            raise CredentialUnavailable(f"the token for {call.service} expired while the call waited to be sent")
        if token is not self._token:
            kind = f"{token.kind} " if self._prefix is None else self._prefix
            self._token = token
            self._field = (self._header, kind.encode() + token.value)
        key = self._key
        headers = [field for field in call.headers if field[0].lower() != key]
        headers.append(self._field)
        proofs = self._proofs
        if proofs is not None:
            headers = [field for field in headers if field[0].lower() != b"dpop"]
            headers.append((b"DPoP", proofs.prove(call, token)))
        call.headers = headers

    def is_refused(self, reply: Reply) -> bool:
        """Whether the vendor says that the token is no good (RFC 6750 section 3.1)."""
        if reply.status == _UNAUTHORIZED:
            return not any(b"insufficient_scope" in value for value in find_all(reply.headers, b"www-authenticate"))
        if reply.status not in _ALSO:
            return False
        challenges = find_all(reply.headers, b"www-authenticate")
        return any(invalid in value.lower() for value in challenges for invalid in _INVALID)

    def refuse(self, call: Call, reply: Reply) -> bool:
        """Give up the token that is on `call`, once, and say whether the call may go again with another."""
        proofs = self._proofs
        if proofs is not None:
            nonce = find(reply.headers, b"dpop-nonce")
            is_new = nonce is not None and proofs.hear(nonce.decode("latin-1"))
            if is_new and any(_NONCE_WANTED in value for value in find_all(reply.headers, b"www-authenticate")):
                return True  # The token is good; its proof lacked the vendor's nonce.
        token = self._token
        sent = self._field[1]
        if token is None or not any(value is sent for _, value in call.headers):
            return self._source.has_another()  # It was replaced before.
        return self._source.drop(token)

    async def another(self, call: Call) -> bool:
        """Wait for the token that takes its place. Raises CredentialUnavailable with the step that failed."""
        if not self.is_ready():
            await self.ready(call)
        return True
