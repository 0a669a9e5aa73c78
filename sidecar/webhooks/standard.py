"""Standard: the signature of Standard Webhooks and Svix (https://www.standardwebhooks.com)."""

import hmac
from collections.abc import Sequence

import msgspec

from sidecar.webhooks.incoming import Incoming, NotVerified, Verified
from sidecar.working.signing import sign

TOLERANCE = 300.0  # Seconds that a timestamp may be off, either way.
SIGNATURES_MAX = 16  # In one header. More: refused.


class _Typed(msgspec.Struct):
    """What the body says of itself."""

    type: str | None = None


class StandardWebhooks:
    """Verifies; `v1` with a secret that both know."""

    def verify(self, incoming: Incoming, secrets: Sequence[bytes], now: float) -> Verified:
        """Give what the event says of itself. Raises NotVerified."""
        name, at, given = (self._one(incoming, field) for field in ("id", "timestamp", "signature"))
        if not at.isascii() or not at.isdigit() or len(at) > 12:
            raise NotVerified("webhook-timestamp is no number")
        if abs(now - int(at)) > TOLERANCE:
            raise NotVerified(f"the timestamp is {abs(now - int(at)):.0f} s off; {TOLERANCE:.0f} s are allowed")
        signatures = given.encode("utf-8", "replace").split(b" ")
        if len(signatures) > SIGNATURES_MAX:
            raise NotVerified("there are too many signatures")
        wanted = [sign(secret, name, int(at), incoming.body).encode() for secret in secrets]
        # All are compared, so that the time taken tells nothing.
        matches = [hmac.compare_digest(one, other) for one in signatures for other in wanted]
        if not any(matches):
            raise NotVerified("the signature is of none of the secrets")
        return Verified(name, _type_of(incoming.body), float(at))

    def _one(self, incoming: Incoming, field: str) -> str:
        values = incoming.values(b"webhook-" + field.encode()) or incoming.values(b"svix-" + field.encode())
        if len(values) != 1 or not values[0]:
            raise NotVerified(f"webhook-{field} is there {len(values)} times")
        try:
            return values[0].decode("ascii")
        except UnicodeDecodeError:
            raise NotVerified(f"webhook-{field} is not ASCII") from None


def _type_of(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Typed).type
    except (msgspec.DecodeError, RecursionError):
        return None
