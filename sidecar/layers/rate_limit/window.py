"""Window: an allowance that is whole again at an instant which the vendor tells (GitHub, Okta, Datadog, ...).

What is left is counted from two sides. The vendor tells what was used when it answered; we know what we sent. The
excess of the first over the second is what others used (other pods, other programs), and the largest excess told in a
window is the nearest to the truth, since what is still under way makes it too small. So alone with the vendor the
count is exact with any number of calls under way, and among others it comes nearer with each answer.
"""

from math import ceil, floor
from typing import Any, Final

from sidecar.core.advice import Told
from sidecar.layers.rate_limit.allowance import NEVER, Allowance
from sidecar.layers.rate_limit.share import Share

UNTOLD_SHARE: Final = 0.1  # Of the limit may be under way in a new window, until an answer says that it is new.
CREDIT: Final = 0.25  # Of what was left when pacing began may go at once: calls seldom come evenly.
PROBE_S: Final = 1.0  # Nothing is left, and nobody told until when: one call that often.
EARLY_S: Final = 0.05  # Added to the told instants when it turned out that they are early; doubled each time ...
EARLY_MAX_S: Final = 1.0  # ... up to this: whole seconds that were rounded down.
SLID_FADES: Final = 0.25  # Of `slid`, with each reset that did.
EARLY_KEPT: Final = 0.995  # Of it, with each reset that was on time.
TELLING_SHARE: Final = 0.3  # Of the limit was used: what a reset does to it can be told from noise.
SHORT_S: Final = 2.0  # A window, or its begin, in which answers come too late to tell what others use.
STALE_SHARE: Final = 0.05  # Of the window's length: an older answer does not tell what is left now.
KNOWN_SHARE: Final = 0.1  # Of the window's length: others' pace is not guessed from a shorter time.
STALE_S: Final = 5.0  # What others may have used since the last answer is guessed; after that a call asks.
ASK_EVERY_S: Final = 0.02  # How often to look whether an answer told of the new window.


class Window(Allowance):
    """So many calls until `reset_at`; then as many again. Below `pace_below` of the limit they go evenly."""

    __slots__ = (
        "_began_at", "_early_before_s", "_early_s", "_is_judged", "_is_told", "_low", "_low_at", "_others",
        "_others_before", "_pace_below", "_sent", "_settle", "_share", "_told_before", "_unread", "_unread_at",
        "_unread_before", "_used_before", "_used_max", "_used_max_at", "length", "reset_at", "slid",
    )  # fmt: skip

    def __init__(
        self, told: Told, in_flight: float, number: float, now: float, *, cost: float, pace_below: float, settle: float
    ) -> None:
        """Begin with the answer to an attempt of `cost`, while others are under way."""
        super().__init__(told, in_flight, number, now)
        self.length = 0.0  # Seconds from reset to reset; 0: not known. The longest told rest is the best guess.
        self.reset_at = NEVER
        self.slid = 0.0  # How often the reset did not bring back what it should: the window slides.
        self._pace_below = pace_below
        self._settle = settle
        self._began_at = now
        self._is_told = False  # An answer has told of this very window.
        self._sent = in_flight + cost  # By us; what was under way when it began may belong to it.
        self._others = self._others_before = 0.0
        self._share = Share(cost, now)
        self._used_max = 0.0  # As told of this window, ...
        self._used_max_at = now  # ... and when.
        self._unread = self._unread_before = 0.0  # Permits of attempts whose answer told nothing, since ...
        self._unread_at = now  # ... then, and before.
        self._used_before = NEVER  # In the window before; there was none.
        self._told_before = 0.0  # As told of the window before.
        self._is_judged = True  # Nothing is to be learned from how this window began.
        self._low = 0.0  # What was left when pacing began, at `_low_at`.
        self._low_at = NEVER
        self._early_s = self._early_before_s = 0.0

    def left(self) -> float:
        """Give what is left of the window."""
        left = self.limit - self._others - self._sent
        if self._is_told:
            # Some vendors do not count every call (GitHub: not what answers 304). All but these was told of.
            left = max(left, self.limit - self._used_max - self.in_flight - self._unread - self._unread_before)
        return left

    def wait(self, now: float, cost: float, ahead: float) -> float:
        """Hold until the reset when nothing is left, pace when little is left."""
        if not self.limit:
            return 0.0
        cost = min(cost, self.limit)
        if now >= self.reset_at + self._settle:
            return max(0.0, ceil((ahead + cost) / self.limit) - 1.0) * self.length
        left = self.left() - ahead - cost
        if left < 0:
            return self._until_reset(now, -left)
        if left < self._unheard(now) and (self.in_flight or now - self.told_at < STALE_S):
            return min(self._until_reset(now, 0.0), max(ASK_EVERY_S, self.told_at + STALE_S - now))
        if self._share.has_others():
            wait = self._wait_for_others(now, cost, ahead, left)
            if wait > 0:
                return wait
        if not self._is_told and self.in_flight >= max(1.0, self.limit * UNTOLD_SHARE):
            return ASK_EVERY_S  # The answers that are under way will tell.
        return self._pace(now, left, ahead)

    def _wait_for_others(self, now: float, cost: float, ahead: float, left: float) -> float:
        """Leave others their share while it is not known what they use: at the begin, when all come at once."""
        if self.length > SHORT_S and now - self._began_at > SHORT_S:
            return ASK_EVERY_S if left < self.in_flight * self._share.ratio else 0.0
        if self._sent + ahead + cost <= self._share.fair(self.limit):
            return 0.0
        if self.in_flight:
            return ASK_EVERY_S  # Over our share only if it was just told that others leave us some.
        if not self._is_told or self.length * STALE_SHARE < now - self.told_at < STALE_S:
            return min(self._until_reset(now, 0.0), max(0.0, self.told_at + STALE_S - now))
        return 0.0

    def _unheard(self, now: float) -> float:
        """Guess what others used since they were heard of."""
        if not self.length:
            return 0.0
        # In this window as far as it is known, or as in the one before, whichever is more.
        known_s = max(self.told_at - self._began_at, self.length * KNOWN_SHARE)
        rate = max(self._others / known_s if self._is_told else 0.0, self._others_before / self.length)
        return rate * (now - max(self.told_at, self._began_at))

    def _until_reset(self, now: float, missing: float) -> float:
        if self.reset_at == NEVER:
            return max(0.0, self.told_at + PROBE_S - now) if not self.in_flight else PROBE_S
        windows = floor(max(0.0, missing - 1.0) / self.limit)
        return self.reset_at + self._settle - now + windows * self.length

    def _pace(self, now: float, left: float, ahead: float) -> float:
        """Let what is left fall in a straight line, to nothing at the reset."""
        if self.reset_at == NEVER or left >= self.limit * self._pace_below:
            return 0.0
        low_at, low = self._low_at, self._low
        if low_at == NEVER:
            low_at, low = now, self.left() - max(0.0, ahead)
        span = self.reset_at - low_at
        if low <= 0 or span <= 0:
            return 0.0
        due_at = self.reset_at - (left + max(1.0, low * CREDIT)) * span / low
        return max(0.0, due_at - now)

    def take(self, now: float, cost: float) -> None:
        """Count an attempt in this window, or in the new one if it is time."""
        self._roll(now)
        self._sent += cost
        self._share.sent(now, cost, self.length)
        self.in_flight += cost
        self._note_low(now)

    def done(self, number: float, cost: float, now: float) -> None:
        """Note that an attempt was answered; until `hear`, that its answer tells nothing."""
        super().done(number, cost, now)
        self._unread += cost

    def give_back(self, cost: float) -> None:
        """Do not count it."""
        self._sent = max(0.0, self._sent - cost)

    def hear(self, told: Told, sent_at: float, cost: float, now: float, *, since: float, is_throttled: bool) -> None:  # noqa: ARG002
        """Take the answer into the window that it tells of."""
        self._roll(now)
        self._unread = max(0.0, self._unread - cost)
        if sent_at >= self._unread_at:
            # What had ended before this attempt was sent is counted in what its answer tells.
            self._unread_before, self._unread, self._unread_at = self._unread, 0.0, now
        if told.remaining is None:
            return
        if told.limit is not None:
            self.limit = told.limit
        else:
            self.limit = max(self.limit, told.remaining + self._sent)
        used = max(0.0, self.limit - told.remaining)
        candidate_at = now + told.reset_in + self._early_s if told.reset_in is not None else NEVER
        if sent_at < self._began_at and abs(used - self._used_before) < abs(used - self._sent):
            # It was sent before this window began, and tells of the one before, so it does not count in this one.
            self._sent = max(0.0, self._sent - cost)
            return
        if self._is_told and used < self._used_max and sent_at >= self._used_max_at and candidate_at > self.reset_at:
            # It was sent when we knew of more used than it tells, so in between a window began, before our clock did;
            # or a part of what we used came back, with no reset at all.
            is_ours = self._share.is_mostly_ours(self._used_max, now)
            self._begin(now)
            self._sent += cost
            if is_ours and used - self._sent >= self.limit / 2:
                self.slid += 1.0
        if is_throttled:
            self._sent = max(0.0, self._sent - cost)  # The vendor does not count what it refuses.
            self._share.refused(sent_at, cost)
        self._learn(told, used, candidate_at, now)
        self._judge_reset(used, is_throttled=is_throttled)
        self._is_told = True
        self._note_low(now)

    def _learn(self, told: Told, used: float, candidate_at: float, now: float) -> None:
        self.told_at = now
        if used > self._used_max:
            self._used_max = used
            self._used_max_at = now
        self._others = max(self._others, used - self._sent)
        # Whole seconds are rounded up, as a rule, so the earliest instant told is the nearest to the truth.
        self.reset_at = min(self.reset_at, candidate_at) if self._is_told else candidate_at
        if told.window is not None:
            self.length = told.window
        elif told.reset_in is not None:
            self.length = max(self.length, told.reset_in)

    def _judge_reset(self, used: float, *, is_throttled: bool) -> None:
        """See whether the reset that we waited for brought back what was told."""
        if self._is_judged:
            return
        before = self._told_before
        if used - self._sent < before / 2:
            self._is_judged = True
            self.slid = max(0.0, self.slid - SLID_FADES)
            self._early_s *= EARLY_KEPT
        elif is_throttled or (used >= before and before < self.limit):
            # The count goes on as if nothing had been: it was told, or understood, too early.
            if self._early_s == self._early_before_s:
                self._early_s = min(EARLY_MAX_S, max(EARLY_S, self._early_s * 2))
        else:
            # What was spent came back in part only.
            self._is_judged = True
            self.slid += 1.0
            self._early_s = self._early_before_s

    def _note_low(self, now: float) -> None:
        left = self.left()
        if self._low_at == NEVER and left < self.limit * self._pace_below:
            self._low_at = now
            self._low = left

    def _roll(self, now: float) -> None:
        if now >= self.reset_at + self._settle:
            self._begin(now)

    def _begin(self, now: float) -> None:
        """Begin a window. What is under way may count in it, so it does until its answer says otherwise."""
        self._used_before = max(self._used_max, self._others + self._sent)
        self._told_before = self._used_max
        # Only what was spent shows whether it comes back, and only where most of it was spent by us.
        is_telling = self._told_before >= self.limit * TELLING_SHARE
        self._is_judged = not is_telling or not self._share.is_mostly_ours(self._used_before, now)
        self._early_before_s = self._early_s
        if self._is_told:
            self._share.learn(self._used_before, self._sent, self.limit, now)
        self._others_before = self._others
        self._began_at = now
        self._sent = self.in_flight
        self._others = 0.0
        self._unread = self._unread_before = 0.0
        self._used_max = 0.0
        self._is_told = False
        self._low_at = NEVER
        if self.length and self.reset_at != NEVER:
            self.reset_at += self.length * max(1.0, ceil((now - self.reset_at) / self.length))
        else:
            self.reset_at = NEVER

    def used_ratio(self, now: float) -> float:
        """Give the share of the limit that is used, 0 to 1; a window that is over is not used."""
        if not self.limit or now >= self.reset_at:
            return 0.0
        return min(1.0, max(0.0, 1.0 - self.left() / self.limit))

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        shown: dict[str, Any] = {"limit": self.limit, "left": max(0.0, self.left()), "others": self._others}
        if self.reset_at != NEVER:
            shown["reset_in"] = round(max(0.0, self.reset_at - now), 3)
        return shown
