"""Lease: how long a login or a credential lasts, when to renew it, and how long to leave a server alone that refused.

Machines: `now` goes in, and chance in [0, 1) as a number. All times are monotonic seconds.
"""

from typing import Literal

NEVER = float("inf")
RENEW_FROM = 0.6  # The share of its life after which it is renewed ...
RENEW_SPREAD = 0.2  # ... and the share over which the pods of one rollout are spread from there.
CAPPED_BELOW = 0.9  # A renewal that gives less than this share of the first life ran into the server's maximum.
REST_MIN = 50.0  # Seconds. What a capped renewal leaves below this is not used up: a fifth of it is no time to replace.
PAUSE_MIN = 1.0
PAUSE_MAX = 60.0  # After refusals in a row. Vault locks a role out for a quarter of an hour after five quick ones.

Step = Literal["renew", "replace"]


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
    """The life of one login or credential; one of 0 seconds never ends, as Vault has it for root tokens."""

    __slots__ = ("_pause", "due_at", "expires_at", "next_step", "seconds")

    def __init__(self, seconds: float, *, is_renewable: bool, now: float, chance: float) -> None:
        assert seconds >= 0
        self.seconds = seconds  # What it was given at first, and is asked for again.
        self._pause = Pause()
        self.due_at = NEVER  # When `next_step` is to be taken.
        self.expires_at = NEVER
        self.next_step: Step = "renew"
        self._begin(seconds, is_renewable=is_renewable, now=now, chance=chance)

    def is_over(self, now: float) -> bool:
        """Whether the server has forgotten it by now."""
        return now >= self.expires_at

    def renewed(self, seconds: float, *, is_renewable: bool, now: float, chance: float) -> None:
        """Note what a renewal gave. Capped at the maximum, or no longer renewable, a new one is made next."""
        self._pause.end()
        if seconds == 0 and self.seconds:
            self.refused(now)
            return
        is_capped = seconds < self.seconds * CAPPED_BELOW
        self._begin(seconds, is_renewable=is_renewable and not is_capped, now=now, chance=chance)
        if is_capped and seconds < REST_MIN:
            self.refused(now)

    def refused(self, now: float) -> None:
        """Note that the server will not renew: a new one is due at once."""
        self.next_step = "replace"
        self.due_at = now

    def failed(self, now: float, chance: float) -> None:
        """Note that a step could not be taken: again after a pause; what is held is good until it expires."""
        self._pause.begin(now, chance)
        self.due_at = self._pause.ends_at

    def restart(self, seconds: float, *, is_renewable: bool, now: float, chance: float) -> None:
        """Note that it is the same one, with another life than was thought: somebody else renewed it."""
        self.seconds = seconds
        self._pause.end()
        self._begin(seconds, is_renewable=is_renewable, now=now, chance=chance)

    def _begin(self, seconds: float, *, is_renewable: bool, now: float, chance: float) -> None:
        self.next_step = "renew" if is_renewable else "replace"
        if seconds == 0:
            self.due_at = self.expires_at = NEVER
            return
        self.expires_at = now + seconds
        self.due_at = now + seconds * (RENEW_FROM + RENEW_SPREAD * chance)
