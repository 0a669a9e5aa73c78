"""Lease: how long a login lasts, when to renew it, and how long to leave a server alone that refused one.

Machines: `now` goes in, and chance in [0, 1) as a number. All times are monotonic seconds.
"""

from typing import Literal

NEVER = float("inf")
RENEW_FROM = 0.6  # The share of its life after which a login is renewed ...
RENEW_SPREAD = 0.2  # ... and the share over which the pods of one rollout are spread from there.
CAPPED_BELOW = 0.9  # A renewal that gives less than this share of the first life ran into the server's maximum.
PAUSE_MIN = 1.0
PAUSE_MAX = 60.0  # After refusals in a row. Vault locks a role out for a quarter of an hour after five quick ones.

Step = Literal["renew", "login"]


class Pause:
    """How long to wait after failures in a row: doubling, with the upper half of it up to chance."""

    __slots__ = ("_failures", "ends_at")

    def __init__(self) -> None:
        self._failures = 0
        self.ends_at = -NEVER

    def begin(self, now: float, chance: float) -> None:
        """Note a failure."""
        self._failures += 1
        seconds = min(PAUSE_MAX, PAUSE_MIN * 2.0 ** min(self._failures - 1, 16))
        self.ends_at = now + seconds * (1 + chance) / 2

    def end(self) -> None:
        """Note a success."""
        self._failures = 0
        self.ends_at = -NEVER


class Lease:
    """The life of one login; a lease of 0 seconds never ends, as Vault has it for root tokens."""

    __slots__ = ("_first", "_pause", "due_at", "expires_at", "next_step")

    def __init__(self, seconds: float, *, is_renewable: bool, now: float, chance: float) -> None:
        assert seconds >= 0
        self._first = seconds
        self._pause = Pause()
        self.due_at = NEVER  # When `next_step` is to be taken.
        self.expires_at = NEVER
        self.next_step: Step = "renew"
        self._begin(seconds, is_renewable=is_renewable, now=now, chance=chance)

    def is_over(self, now: float) -> bool:
        """Whether the server has forgotten the login by now."""
        return now >= self.expires_at

    def renewed(self, seconds: float, *, is_renewable: bool, now: float, chance: float) -> None:
        """Note what a renewal gave. Capped at the maximum, or no longer renewable, the next step is a new login."""
        self._pause.end()
        if seconds == 0 and self._first:
            self.refused(now)
            return
        is_capped = seconds < self._first * CAPPED_BELOW
        self._begin(seconds, is_renewable=is_renewable and not is_capped, now=now, chance=chance)

    def refused(self, now: float) -> None:
        """Note that the server will not renew: a new login is due at once."""
        self.next_step = "login"
        self.due_at = now

    def failed(self, now: float, chance: float) -> None:
        """Note that a step could not be taken: again after a pause; what is held is good until it expires."""
        self._pause.begin(now, chance)
        self.due_at = self._pause.ends_at

    def _begin(self, seconds: float, *, is_renewable: bool, now: float, chance: float) -> None:
        self.next_step = "renew" if is_renewable else "login"
        if seconds == 0:
            self.due_at = self.expires_at = NEVER
            return
        self.expires_at = now + seconds
        self.due_at = now + seconds * (RENEW_FROM + RENEW_SPREAD * chance)
