"""Leased: a credential that an engine made for us, and what is to be done about its lease; a machine."""

import hashlib

from sidecar.auth.secrets.vault.lease import Lease, Pause, Step
from sidecar.core.secret import Secret

# It is asked about every second or two, and no call is to begin with a credential that ends under it.
GIVEN_UP_AHEAD = 3.0  # Seconds before its end in which it is used no more ...
GIVEN_UP_SHARE = 0.1  # ... or this share of its lease, where that is less.


class Leased:
    """One credential. It lasts as long as its lease, and no longer than the login under which it was made."""

    __slots__ = ("lease", "lease_id", "made_under", "secret")

    def __init__(self, document: bytes, lease_id: str, lease: Lease, made_under: Lease) -> None:
        self.secret = Secret(document, hashlib.blake2b(lease_id.encode(), digest_size=8).hexdigest())
        self.lease_id = lease_id
        self.lease = lease
        self.made_under = made_under

    def is_over(self, now: float) -> bool:
        """Whether it is no credential any more, or will be none in a moment."""
        ahead = min(GIVEN_UP_AHEAD, GIVEN_UP_SHARE * self.lease.seconds)
        return now >= min(self.lease.expires_at, self.made_under.expires_at) - ahead


class Place:
    """One path that somebody reads, and the credential there; the old one stays until there is a new one."""

    __slots__ = ("_pause", "asked_at", "leased", "path", "problem")

    def __init__(self, path: str, now: float) -> None:
        self.path = path
        self.asked_at = now  # When somebody last wanted it.
        self.leased: Leased | None = None
        self.problem = ""  # Why the last step failed.
        self._pause = Pause()  # After failures before there was a credential at all.

    def current(self, now: float) -> Secret | None:
        """Give the credential, while it is one."""
        return self.leased.secret if self.leased is not None and not self.leased.is_over(now) else None

    @property
    def due_at(self) -> float:
        """When the next step is to be taken."""
        return self.leased.lease.due_at if self.leased is not None else self._pause.ends_at

    def next_step(self, now: float) -> Step:
        """Say which it is. What is over already is not renewed: the server has forgotten it, or will while we ask."""
        return self.leased.lease.next_step if self.leased is not None and not self.leased.is_over(now) else "replace"

    def made(self, leased: Leased) -> None:
        """Take a new credential; the one before is left to its lease."""
        self.leased = leased
        self.problem = ""
        self._pause.end()

    def failed(self, problem: str, now: float, chance: float) -> None:
        """Note that a step could not be taken: again after a pause."""
        self.problem = problem
        if self.leased is not None:
            self.leased.lease.failed(now, chance)
        else:
            self._pause.begin(now, chance)

    def follow(self, login: Lease | None, now: float) -> bool:
        """Have a credential replaced that was made under another login than this: it ends with that one.

        Say whether it is so.
        """
        if self.leased is None or self.leased.made_under is login:
            return False
        self.leased.lease.refused(now)
        return True
