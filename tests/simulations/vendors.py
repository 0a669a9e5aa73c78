"""Vendors that enforce a limit of their own, and announce it only in the headers of their answers."""

from collections import deque
from email.utils import formatdate
from math import ceil, floor

from sidecar.core.body import Headers

Answer = tuple[int, Headers]


class Vendor:
    """Enforces `limit` per `window` seconds; counts what arrives, by its own clock of Unix seconds."""

    name = ""

    def __init__(self, limit: int = 100, window: float = 1.0, skew: float = 0.0) -> None:
        self.limit = limit
        self.window = window
        self.skew = skew  # Its clock is ahead by that much.
        self.accepted = 0
        self.refused = 0
        self.ends_counting_at = float("inf")  # Later arrivals are answered, and not counted.

    def arrive(self, wall: float) -> Answer:
        """Count one call, and answer it."""
        now = wall + self.skew
        is_counted = wall < self.ends_counting_at
        if self.admit(now):
            self.accepted += is_counted
            status = 200
        else:
            self.refused += is_counted
            status = 429
        date = formatdate(floor(now), usegmt=True).encode()
        return status, [(b"Date", date), *self.announce(now, status)]

    def admit(self, now: float) -> bool:
        """Whether the call is within the limit."""
        raise NotImplementedError

    def announce(self, now: float, status: int) -> Headers:
        """Give the headers that tell of the limit."""
        raise NotImplementedError


class FixedWindow(Vendor):
    """Whole again at each full `window` of its clock."""

    def __init__(self, limit: int = 100, window: float = 1.0, skew: float = 0.0) -> None:
        super().__init__(limit, window, skew)
        self.used = 0
        self.turn = 0

    def admit(self, now: float) -> bool:
        """Count in the window of now."""
        turn = floor(now / self.window)
        if turn != self.turn:
            self.turn, self.used = turn, 0
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def reset_at(self) -> float:
        """When the window ends."""
        return (self.turn + 1) * self.window

    def trio(self, reset: float) -> Headers:
        """The three well-known headers."""
        return [
            (b"X-RateLimit-Limit", b"%d" % self.limit),
            (b"X-RateLimit-Remaining", b"%d" % (self.limit - self.used)),
            (b"X-RateLimit-Reset", f"{reset:.15g}".encode()),
        ]


class EpochSeconds(FixedWindow):
    """Tells the instant (GitHub, Okta)."""

    name = "fixed window, epoch seconds"

    def announce(self, now: float, status: int) -> Headers:  # noqa: ARG002
        """Tell the end of the window."""
        return self.trio(self.reset_at())


class RoundedUp(FixedWindow):
    """Tells whole seconds to go, rounded up (Klaviyo, PagerDuty)."""

    name = "fixed window, whole seconds to go, rounded up"

    def announce(self, now: float, status: int) -> Headers:  # noqa: ARG002
        """Tell the rest of the window."""
        return self.trio(max(1, ceil(self.reset_at() - now)))


class RoundedDown(FixedWindow):
    """Tells whole seconds to go, rounded down, so that its word is early."""

    name = "fixed window, whole seconds to go, rounded down"

    def announce(self, now: float, status: int) -> Headers:  # noqa: ARG002
        """Tell the rest of the window."""
        return self.trio(floor(self.reset_at() - now))


class FirstCall(FixedWindow):
    """A window begins with the first call in it (a counter that expires), told in whole seconds, rounded up."""

    name = "window from the first call, whole seconds to go"

    def __init__(self, limit: int = 100, window: float = 1.0, skew: float = 0.0) -> None:
        super().__init__(limit, window, skew)
        self.ends_at = 0.0

    def admit(self, now: float) -> bool:
        """Count in the window that goes on, or begin one."""
        if now >= self.ends_at:
            self.ends_at, self.used = now + self.window, 0
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def announce(self, now: float, status: int) -> Headers:  # noqa: ARG002
        """Tell the rest of the window."""
        return self.trio(max(1, ceil(self.ends_at - now)))


class Draft(FixedWindow):
    """The current IETF draft: `RateLimit` and `RateLimit-Policy`."""

    name = "IETF draft, RateLimit and RateLimit-Policy"

    def announce(self, now: float, status: int) -> Headers:  # noqa: ARG002
        """Tell the rest, and the policy."""
        left, seconds = self.limit - self.used, max(1, ceil(self.reset_at() - now))
        return [
            (b"RateLimit-Policy", b'"default";q=%d;w=%d' % (self.limit, max(1, int(self.window)))),
            (b"RateLimit", b'"default";r=%d;t=%d' % (left, seconds)),
        ]


class TokenBucket(Vendor):
    """Refills all the time; tells how long until it is full, as a duration (OpenAI)."""

    name = "token bucket, time until full"

    def __init__(self, limit: int = 100, window: float = 1.0, skew: float = 0.0) -> None:
        super().__init__(limit, window, skew)
        self.level = float(limit)
        self.at = 0.0

    def admit(self, now: float) -> bool:
        """Take from the level of now."""
        self.level = min(self.limit, self.level + (now - self.at) * self.limit / self.window)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True

    def announce(self, now: float, status: int) -> Headers:  # noqa: ARG002
        """Tell the level."""
        full_in = (self.limit - self.level) / (self.limit / self.window)
        return [
            (b"x-ratelimit-limit-requests", b"%d" % self.limit),
            (b"x-ratelimit-remaining-requests", b"%d" % int(self.level)),
            (b"x-ratelimit-reset-requests", b"%dms" % ceil(full_in * 1000)),
        ]


class SlidingLog(Vendor):
    """Counts the last `window` seconds, call by call; tells when the oldest of them leaves."""

    name = "sliding log, seconds until the oldest leaves"

    def __init__(self, limit: int = 100, window: float = 1.0, skew: float = 0.0) -> None:
        super().__init__(limit, window, skew)
        self.log: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Count in the log."""
        while self.log and self.log[0] <= now - self.window:
            self.log.popleft()
        if len(self.log) >= self.limit:
            return False
        self.log.append(now)
        return True

    def announce(self, now: float, status: int) -> Headers:  # noqa: ARG002
        """Tell the count, and when it goes down by one."""
        return [
            (b"X-RateLimit-Limit", b"%d" % self.limit),
            (b"X-RateLimit-Remaining", b"%d" % (self.limit - len(self.log))),
            (b"X-RateLimit-Reset", f"{self.log[0] + self.window - now:.3f}".encode()),
        ]


class SlidingWhole(SlidingLog):
    """The same, in whole seconds."""

    name = "sliding log, whole seconds, rounded up"

    def announce(self, now: float, status: int) -> Headers:
        """Tell the count, and roughly when it goes down."""
        limit, remaining, _ = super().announce(now, status)
        return [limit, remaining, (b"X-RateLimit-Reset", b"%d" % max(1, ceil(self.log[0] + self.window - now)))]


# Those that tell enough for the goal, and those that cannot be kept to it, whoever tries:
# - A window that begins with its first call is only known once that was answered: of each second goes what the settling
#   takes, and one way and the return of the fastest answer, together some 50 ms.
# - Seconds that are rounded down tell nothing of a window of one second: it is always over "in 0 s".
# - Whole seconds tell nothing of a log that gives a call back every 10 ms, but a refusal that names one costs it.
GOAL: list[type[Vendor]] = [EpochSeconds, RoundedUp, Draft, TokenBucket, SlidingLog]
BEYOND: list[type[Vendor]] = [FirstCall, RoundedDown, SlidingWhole]
