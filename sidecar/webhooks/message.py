"""Message: a webhook as it came, and what its verification says of it."""

from typing import NamedTuple

from sidecar.core.body import Headers
from sidecar.core.headers import find_all
from sidecar.core.secret import Secret


class Incoming(NamedTuple):
    """A webhook as it came, before anything in it is believed."""

    method: str
    url: str  # As the vendor called it: scheme, host, path and query.
    headers: Headers
    body: bytes  # Raw: what is signed is bytes, not what they mean.

    def values(self, name: bytes) -> list[bytes]:
        """Give all values of the header `name` (lower case)."""
        return find_all(self.headers, name)


class Handshake(NamedTuple):
    """The answer that the vendor waits for instead of a plain 2xx; nothing is delivered."""

    status: int
    headers: Headers
    body: bytes


class Verified(NamedTuple):
    """What a webhook that is the vendor's says of itself."""

    id: str | None  # The event's, at the preset's place. None: name and hash of the raw body stand for it.
    type: str | None
    sent_at: float | None  # Unix seconds.
    handshake: Handshake | None = None
    secret: Secret | None = None  # That came with the handshake.
    visits: str | None = None  # The URL by which the handshake is confirmed; until then it is an event, too.


class NotVerified(Exception):
    """The webhook is not the vendor's, or cannot be known to be.

    The sentence says why, for our log and never for the answer; it holds nothing of the secret or the signature.
    """
