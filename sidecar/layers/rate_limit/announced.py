"""Announced: all that one vendor told about its limits, shared by the routes of a service."""

from typing import Any, Final

from sidecar.core.advice import Advice, Told
from sidecar.layers.rate_limit.adaptive import Adaptive
from sidecar.layers.rate_limit.allowance import Allowance
from sidecar.layers.rate_limit.gauge import Gauge
from sidecar.layers.rate_limit.mirror import Mirror
from sidecar.layers.rate_limit.resources import Resources
from sidecar.layers.rate_limit.sliding import DOUBT_MAX, Sliding
from sidecar.layers.rate_limit.window import Window

ALLOWANCES_MAX: Final = 16  # Full: the one that was told longest ago is forgotten.
SLID_MIN: Final = 2.0  # So often the reset did not bring back what it should: the window slides.
ASK_EVERY_S: Final = 0.02  # How often to look whether such a call was answered.
_RECENT_S: Final = 1.0


class Announced:
    """What may go by the vendor's word. Machine: `now` goes in, seconds to wait come out.

    `hint_max` seconds is the longest that one word holds anything back; then a single call asks anew. Below
    `pace_below` of a limit the rest is spread evenly.
    """

    __slots__ = (
        "_adaptive", "_allowances", "_by_resource", "_closed", "_common", "_gauge_number", "_has_gauge", "_hint_max",
        "_mark", "_mark_at", "_mark_before", "_mark_before_at", "_pace_below", "_settle", "gauge", "in_flight",
        "is_silent", "resources", "sequence",
    )  # fmt: skip

    def __init__(
        self, now: float, *, hint_max: float, pace_below: float, settle: float, resource_segments: int
    ) -> None:
        self.is_silent = True  # Nothing was told that holds: the hot path looks at nothing else.
        self.in_flight = 0.0  # Permits of attempts that were sent and have no answer yet.
        self.sequence = 0.0  # Permits of all attempts ever sent.
        self.gauge: Gauge | None = None
        self.resources = Resources(resource_segments)
        self._hint_max = hint_max
        self._pace_below = pace_below
        self._settle = settle
        self._allowances: dict[tuple[str, str], Allowance] = {}
        self._common: list[Allowance] = []  # Those that hold for all calls.
        self._by_resource: dict[str, list[Allowance]] = {}  # Those, and the resource's own.
        self._closed: dict[str, float] = {}  # Until when, by resource; "" is all of them.
        self._adaptive: Adaptive | None = None
        self._has_gauge = False  # The vendor tells a load, so what it refuses may be too much at once.
        self._gauge_number = 0.0  # Attempts with a higher number hold a place of the gauge.
        self._mark = self._mark_before = 0.0  # `sequence` at the last two marks, a second apart.
        self._mark_at = self._mark_before_at = now

    # For each attempt.

    def wait(self, now: float, cost: float, ahead: float, resource: str) -> float:
        """Give the seconds until an attempt may go, behind `ahead` permits; 0 is now."""
        if self.is_silent:
            return 0.0
        wait = max(0.0, self._closed.get("", 0.0) - now)
        if resource:
            wait = max(wait, self._closed.get(resource, 0.0) - now)
        for allowance in self._by_resource.get(resource, self._common):
            longest = allowance.told_at + self._hint_max - now
            if longest > 0:
                wait = max(wait, min(longest, allowance.wait(now, cost, ahead)))
            elif allowance.in_flight and allowance.wait(now, cost, ahead):
                wait = max(wait, ASK_EVERY_S)  # One call asks whether that still holds.
        if self._adaptive is not None:
            wait = max(wait, self._adaptive.wait(now, ahead))
        if self.gauge is not None:
            wait = max(wait, self.gauge.wait(ahead))
        return wait

    def take(self, now: float, cost: float, resource: str) -> float:
        """Count an attempt that is sent now; gives its number, for `hear`."""
        self.in_flight += cost
        self.sequence += cost
        if now - self._mark_at >= _RECENT_S:
            self._set_mark(now)
        if not self.is_silent:
            for allowance in self._by_resource.get(resource, self._common):
                allowance.take(now, cost)
            if self._adaptive is not None:
                self._adaptive.take(now, cost)
            if self.gauge is not None:
                self.gauge.enter()
        return self.sequence

    def done(self, number: float, sent_at: float, cost: float, resource: str, now: float) -> None:
        """Note that an attempt was answered, or will not be; once for each `take`."""
        self.in_flight = max(0.0, self.in_flight - cost)
        if self.is_silent:
            return
        for allowance in self._by_resource.get(resource, self._common):
            allowance.done(number, cost, now)
        if self.gauge is not None and number <= self._gauge_number:
            self.gauge.leave(sent_at, now)  # It was under way before anybody held places.
        self._tidy(now)

    def give_back(self, number: float, cost: float, resource: str, now: float) -> None:
        """Note, after `done`, that the vendor did not see an attempt."""
        if self.is_silent:
            return
        for allowance in self._by_resource.get(resource, self._common):
            if number > allowance.number:
                allowance.give_back(cost)
        if self._adaptive is not None:
            self._adaptive.give_back(now, cost)

    def holds_place(self, number: float) -> bool:
        """Whether an attempt took a place of the gauge, which it keeps until its last byte."""
        return self.gauge is not None and number > self._gauge_number

    # For each answer that told something.

    def hear(
        self, advice: Advice, *, sent_at: float, number: float, cost: float, route: str, target: bytes, now: float
    ) -> float:
        """Learn from an answer, after its `done`; gives for how many seconds it closed what was open, 0 for not."""
        since = max(0.0, self.sequence - number)
        resource = self._learn_resource(advice, route, target)
        for told in advice.told:
            self._hear_told(told, advice, sent_at, since, cost, now)
        if advice.is_throttled:
            closed_s = self._refused(advice, resource, sent_at, now)
        else:
            closed_s = 0.0
            self._passed(advice, sent_at, now)
        self._tidy(now)
        return closed_s

    def _learn_resource(self, advice: Advice, route: str, target: bytes) -> str:
        """Give the one resource that the answer is about; "" when it tells of none, or of several."""
        told = {told.resource for told in advice.told}
        if len(told) != 1:
            return ""
        resource = told.pop()
        if resource:
            self.resources.learn(route, target, resource)
        return resource

    def _hear_told(self, told: Told, advice: Advice, sent_at: float, since: float, cost: float, now: float) -> None:
        if told.kind == "gauge":
            self._has_gauge = True
            if self.gauge is not None and not advice.is_throttled:
                self.gauge.passed(told.load, now)
            return
        if told.remaining is None or (told.limit is not None and told.limit < 1):
            return
        key = (told.name, told.resource)
        allowance = self._allowances.get(key)
        if isinstance(allowance, Sliding) and allowance.doubt > DOUBT_MAX and told.reset_in is not None:
            allowance = None
        if allowance is None or isinstance(allowance, Mirror) != (told.kind == "bucket"):
            allowance = self._add(told, cost, now)
        allowance.hear(told, sent_at, cost, now, since=since, is_throttled=advice.is_throttled)
        if isinstance(allowance, Window) and allowance.slid >= SLID_MIN and allowance.length > 0:
            told.limit = allowance.limit
            self._put(key, Sliding(told, allowance.length, allowance.in_flight, allowance.number, now, self._settle))

    def _add(self, told: Told, cost: float, now: float) -> Allowance:
        # What is under way counts in what holds for all calls; which of it belongs to a resource is not known.
        in_flight, number = (0.0, self.sequence) if told.resource else (self.in_flight, -1.0)
        allowance: Allowance
        if told.kind == "bucket":
            allowance = Mirror(told, in_flight, number, now)
        elif told.window and told.limit and told.reset_in is None:
            allowance = Sliding(told, told.window, in_flight, number, now, self._settle)
        else:
            allowance = Window(
                told, in_flight, number, now, cost=cost, pace_below=self._pace_below, settle=self._settle
            )
        self._put((told.name, told.resource), allowance)
        return allowance

    def _put(self, key: tuple[str, str], allowance: Allowance) -> None:
        allowances = self._allowances
        if key not in allowances and len(allowances) >= ALLOWANCES_MAX:
            del allowances[min(allowances, key=lambda known: allowances[known].told_at)]
        allowances[key] = allowance
        self._common = [known for known in allowances.values() if not known.resource]
        self._by_resource = {
            resource: [known for known in allowances.values() if known.resource in ("", resource)]
            for resource in {known.resource for known in allowances.values() if known.resource}
        }

    def _refused(self, advice: Advice, resource: str, sent_at: float, now: float) -> float:
        """Do what a refusal asks for; gives for how many seconds that closed what was open."""
        wait = advice.retry_after
        if wait is None:
            used_up = [told for told in advice.told if told.kind == "window" and told.remaining == 0]
            wait = max((told.reset_in for told in used_up if told.reset_in is not None), default=None)
        if wait is not None:
            wait = self._refined(advice, wait, now)
            return self._close(resource, now + min(wait, self._hint_max) + self._settle, now)
        if advice.is_final or any(told.kind == "bucket" for told in advice.told):
            return 0.0  # No wait would help; or the mirror knows how long.
        if self._has_gauge:
            self._lower_gauge(advice, sent_at, now)
        elif self._adaptive is None:
            self._adaptive = Adaptive(self._recent(now), now, is_refused=True)
        else:
            self._adaptive.refused(sent_at, self._recent(now), now)
        return 0.0

    def _refined(self, advice: Advice, wait: float, now: float) -> float:
        """Give the wait by all that was told of the same end: one answer alone knows it in whole seconds only.

        A wait that the vendor asked for by name is kept as it is.
        """
        if not advice.is_worked_out:
            return wait
        for told in advice.told:
            if told.remaining == 0 and told.reset_in == wait:
                allowance = self._allowances.get((told.name, told.resource))
                if isinstance(allowance, Window) and allowance.reset_at > now:
                    return min(wait, allowance.reset_at - now)
        return wait

    def _close(self, resource: str, until: float, now: float) -> float:
        closed = self._closed
        before = closed.get(resource, 0.0)
        if resource not in closed and len(closed) > ALLOWANCES_MAX:
            resource = ""  # More resources than we keep: rather slow than over.
        closed[resource] = max(closed.get(resource, 0.0), until)
        return until - now if before <= now else 0.0

    def close(self, resource: str, until: float, now: float) -> bool:
        """Close by the word of another pod; gives whether that is news."""
        until = min(until, now + self._hint_max)
        is_news = until > max(now, self._closed.get(resource, 0.0))
        if is_news:
            self._close(resource, until, now)
            self.is_silent = False
        return is_news

    def _lower_gauge(self, advice: Advice, sent_at: float, now: float) -> None:
        load = next((told.load for told in advice.told if told.kind == "gauge"), None)
        if self.gauge is None:
            self._gauge_number = self.sequence
            self.gauge = Gauge(self.in_flight, now)
        self.gauge.refused(sent_at, load, now)

    def _passed(self, advice: Advice, sent_at: float, now: float) -> None:
        if self._adaptive is not None:
            self._adaptive.passed(sent_at)
        if not advice.is_near:
            return
        if self._adaptive is None:
            self._adaptive = Adaptive(self._recent(now), now, is_refused=False)
        else:
            self._adaptive.eased(sent_at, self._recent(now), now)

    # Bookkeeping.

    def _tidy(self, now: float) -> None:
        """Let go what holds nothing back any more."""
        for resource in [resource for resource, until in self._closed.items() if until <= now]:
            del self._closed[resource]
        if self._adaptive is not None and self._adaptive.is_over(now):
            self._adaptive = None
        self.is_silent = not self._allowances and not self._closed and self._adaptive is None and self.gauge is None

    def _set_mark(self, now: float) -> None:
        if now - self._mark_at < 2 * _RECENT_S:
            self._mark_before, self._mark_before_at = self._mark, self._mark_at
        else:  # It was quiet for a while: the burst that begins now is not thinned by that.
            self._mark_before, self._mark_before_at = self.sequence, now
        self._mark, self._mark_at = self.sequence, now

    def _recent(self, now: float) -> float:
        """Give how many permits a second went lately."""
        return (self.sequence - self._mark_before) / max(_RECENT_S, now - self._mark_before_at)

    # For people.

    def is_told(self, now: float, cost: float, ahead: float, resource: str) -> bool:
        """Whether what holds an attempt back was told by the vendor, and not found out from what it refuses."""
        found = self._adaptive.wait(now, ahead) if self._adaptive is not None else 0.0
        return not found or self.wait(now, cost, ahead, resource) > found

    def ratios(self, now: float) -> list[tuple[str, float]]:
        """Give (window, used share) of all that was told."""
        shares = [(known.shown_name, known.used_ratio(now)) for known in tuple(self._allowances.values())]
        if self.gauge is not None:
            shares.append(("announced:at-once", self.gauge.used_ratio()))
        return shares

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        shown: dict[str, Any] = {
            "allowances": {known.shown_name: known.snapshot(now) for known in self._allowances.values()},
            "closed_for": {name or "all": round(until - now, 3) for name, until in self._closed.items() if until > now},
        }
        if self._adaptive is not None:
            shown["adaptive"] = self._adaptive.snapshot(now)
        if self.gauge is not None:
            shown["gauge"] = self.gauge.snapshot()
        return shown
