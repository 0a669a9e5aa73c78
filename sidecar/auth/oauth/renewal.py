"""Renewal: when a token is renewed ahead of its end, and when it may be tried again after it went wrong. Pure.

All instants are monotonic and counted from when the request for the token was sent, so that no wall clock, ours or the
endpoint's, has a say in it.
"""

import math
from collections.abc import Callable

LEAD_MAX = 300.0  # Seconds: a token is renewed at most this long before its end,
LEAD_SHARE = 0.2  # and at most this share of its life, so that a short one is not renewed on every call.
SPREAD = 0.5  # Up to so much of the lead earlier still, by chance, so that pods do not renew in one instant.
BACKOFF = 0.5  # Seconds after the first failure; doubled after each further one,
BACKOFF_MAX = 60.0  # up to this. At once, where somebody has to change something first.
TOLD_MAX = 300.0  # Seconds. A longer Retry-After of the endpoint's is taken for this.
WAIT_MIN = 0.25  # Seconds between two tries, however near the end is.
LIFE_MAX = 10 * 365 * 86400.0  # Seconds. What lives longer, or less than nothing, has an end that nobody knows.
DROP_PAUSE = 1.0  # Seconds from one dropped token to the next, doubled each time,
DROP_PAUSE_MAX = 600.0  # up to this; begun anew when none was dropped for twice as long.
_DOUBLINGS_MAX = 30


class Renewal:
    """The times of one token. `jitter` draws from [0, 1)."""

    __slots__ = (
        "_backoff", "_backoff_max", "_dropped_at", "_drops", "_jitter", "_lead_max", "_lead_share", "expires_at",
        "failures", "next_at", "renew_at",
    )  # fmt: skip

    def __init__(
        self,
        jitter: Callable[[], float],
        *,
        lead_max: float = LEAD_MAX,
        lead_share: float = LEAD_SHARE,
        backoff: float = BACKOFF,
        backoff_max: float = BACKOFF_MAX,
    ) -> None:
        assert lead_max >= 0
        assert 0 <= lead_share * (1 + SPREAD) < 1
        self._jitter = jitter
        self._lead_max = lead_max
        self._lead_share = lead_share
        self._backoff = backoff
        self._backoff_max = backoff_max
        self.expires_at = -math.inf  # Of the token in hand; infinite when nobody knows.
        self.renew_at = math.inf  # When it is renewed ahead.
        self.next_at = -math.inf  # Before this nobody asks the token endpoint.
        self.failures = 0  # In a row.
        self._drops = 0
        self._dropped_at = -math.inf

    def succeeded(self, got_at: float, expires_at: float) -> None:
        """Note a new token; `got_at` is when its life began."""
        self.failures = 0
        self.next_at = -math.inf
        life = expires_at - got_at
        if not 0 < life <= LIFE_MAX:  # Also no number at all. Only the vendor's 401 will tell.
            self.expires_at = self.renew_at = math.inf
            return
        lead = min(self._lead_max, life * self._lead_share)
        self.expires_at = expires_at
        self.renew_at = expires_at - lead * (1 + SPREAD * self._jitter())

    def failed(self, now: float, *, is_final: bool = False, retry_after: float | None = None) -> None:
        """Note that no token came; `is_final`: it would end the same way until somebody changes something.

        What is in hand is kept. While it is good the waits get shorter towards its end, so that an endpoint which
        comes back before that has failed no call.
        """
        self.failures += 1
        wait = min(self._backoff_max, self._backoff * 2.0 ** min(self.failures - 1, _DOUBLINGS_MAX))
        if is_final:
            wait = self._backoff_max
        wait *= 0.5 + 0.5 * self._jitter()
        if retry_after is not None and retry_after > 0:
            wait = max(wait, min(retry_after, TOLD_MAX))
        elif now < self.expires_at < math.inf:
            wait = min(wait, max(WAIT_MIN, (self.expires_at - now) / 2))
        self.next_at = now + wait

    def encourage(self) -> None:
        """Forget the failures: what caused them has changed, such as a secret."""
        self.failures = 0
        self.next_at = -math.inf

    def drop(self, now: float) -> bool:
        """Say whether a token that the vendor refused is given up for another; note it if so.

        A vendor that refuses every token, or one path that refuses all, must not cost a token request per call: then
        the token stays, and the vendor's answer goes to the app.
        """
        pause = min(DROP_PAUSE_MAX, DROP_PAUSE * 2.0 ** min(self._drops - 1, _DOUBLINGS_MAX)) if self._drops else 0.0
        since = now - self._dropped_at
        if since < pause:
            return False
        self._drops = self._drops + 1 if since < 2 * DROP_PAUSE_MAX else 1
        self._dropped_at = now
        self.expires_at = -math.inf
        self.renew_at = math.inf
        return True

    def due_at(self) -> float:
        """Give when to renew in the background; infinite if not before the next call that needs it."""
        at = max(self.renew_at, self.next_at)
        return at if at < self.expires_at else math.inf
