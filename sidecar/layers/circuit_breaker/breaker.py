"""Breaker: the machine. Closed it counts, open it refuses, half-open it lets a few probes through and judges by them.

Each change begins a new turn, and a ticket is its turn's number: a verdict from before the change is known by it, and
ignored. So a straggler neither closes the circuit nor passes for the probe's verdict.
"""

from collections.abc import Callable
from typing import Any, Final

from sidecar.core.rolling import RollingCounts
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig

CLOSED: Final = 0
HALF_OPEN: Final = 1
OPEN: Final = 2
FORCED: Final = 3  # Open until the operator lets go.
STATES: Final = ("closed", "half_open", "open", "forced")

# Tickets that are none; the turns count from 1.
UNJUDGED: Final = 0  # In shadow: goes through where it would have been refused, so its verdict counts for nothing.
REFUSED: Final = -1

SPREAD: Final = 0.2  # Share of the open time that chance adds, so that fifty pods do not probe in step.
PROBES_BUSY_S: Final = 1.0  # When to come again while all probes are under way: nobody knows how long they take.

_CALLS: Final = 0
_FAILURES: Final = 1
_SLOW: Final = 2

OnChange = Callable[[str, dict[str, Any]], None]


class Breaker:
    """One circuit. `jitter` draws from [0, 1); `on_change(state, facts)` is told each change, after it."""

    __slots__ = (
        "_calls_min", "_closed_at", "_counts", "_failure_rate", "_is_shadow", "_jitter", "_on_change", "_open_for",
        "_open_max", "_open_s", "_probe_at", "_probes", "_probes_max", "_slow_rate", "_state", "_successes",
        "_successes_needed", "_turn", "_window", "refused", "trips", "why",
    )  # fmt: skip

    def __init__(
        self, config: CircuitBreakerConfig, now: float, jitter: Callable[[], float], on_change: OnChange
    ) -> None:
        self._failure_rate = config.failure_rate
        self._calls_min = config.calls_min
        self._window = float(config.window)
        self._open_for = float(config.open_for)
        self._open_max = float(config.open_max)
        self._successes_needed = config.successes
        self._probes_max = config.probes_max
        self._slow_rate = config.slow_rate or 0.0  # 0: slowness is not judged.
        self._is_shadow = config.mode == "shadow"
        self._jitter = jitter
        self._on_change = on_change
        self._counts = RollingCounts(self._window, 3, now)
        self._state = CLOSED
        self._turn = 1
        self._closed_at = float("-inf")  # It never tripped, so no trip is a repeated one.
        self._open_s = 0.0  # How long it was open the last time, without chance; 0: the next time is the first.
        self._probe_at = 0.0  # While open: when the next call is a probe.
        self._probes = 0  # Under way in this turn.
        self._successes = 0  # In a row: the first failure ends the turn.
        self.trips = 0  # Since the start.
        self.refused = 0  # The same; in shadow: would have been.
        self.why = ""  # It opened the last time, as a sentence.

    # For each attempt.

    def admit(self, now: float) -> int:
        """Give a ticket for an attempt, or REFUSED. Whoever has a ticket calls `leave` once, whatever happened."""
        if self._state == CLOSED:
            return self._turn
        return self._admit_probe(now)

    def record(self, ticket: int, now: float, *, is_failure: bool, is_slow: bool = False) -> None:
        """Judge an attempt; a verdict of an earlier turn counts for nothing."""
        if ticket != self._turn:
            return
        if self._state == CLOSED:
            counts = self._counts
            counts.add(_CALLS, now)
            if is_failure:
                counts.add(_FAILURES, now)
            if is_slow:
                counts.add(_SLOW, now)
            # Also on a success: it may be the one that makes the calls enough to judge by.
            if counts.total(_FAILURES, now) or counts.total(_SLOW, now):
                self._trip_if_due(now)
        elif is_failure:
            self._open(now, "a probe failed")
        elif is_slow and self._slow_rate:
            self._open(now, "a probe was slow")
        else:
            self._successes += 1
            if self._successes >= self._successes_needed:
                self._close(now)

    def amend(self, ticket: int, recorded_at: float, now: float, *, is_slow: bool = False) -> None:
        """Turn the success that was recorded at `recorded_at` into a failure: the rest of its answer did not come."""
        if ticket != self._turn:
            return
        if self._state == CLOSED:
            self._counts.take_back(_CALLS, recorded_at, now)
            if is_slow:
                self._counts.take_back(_SLOW, recorded_at, now)
        self.record(ticket, now, is_failure=True, is_slow=is_slow)

    def leave(self, ticket: int) -> None:
        """Give the probe's place back, at the last byte. If there was no verdict before, the next call probes."""
        if ticket == self._turn and self._state == HALF_OPEN:
            assert self._probes > 0, "a probe leaves once"
            self._probes -= 1

    # For the operator.

    def force(self, now: float) -> None:
        """Open until `release`. It holds in shadow, too: somebody asked for it by hand."""
        if self._state == FORCED:
            return
        self.why = "an operator opened it"
        self._begin(FORCED)
        self._tell(now, {})

    def release(self, now: float) -> None:
        """End `force`, if it holds: the next calls are probes, since nobody knows how the vendor is."""
        if self._state == FORCED:
            self._open_s = 0.0
            self._half_open(now)

    # For people, and for the one that is refused.

    @property
    def state(self) -> str:
        """One of `STATES`; an open circuit turns half-open with the call that comes next when its time is over."""
        return STATES[self._state]

    @property
    def level(self) -> int:
        """0 closed, 1 half-open, 2 open or forced: for the gauge."""
        return min(self._state, OPEN)

    @property
    def is_forced(self) -> bool:
        """Whether an operator holds it open."""
        return self._state == FORCED

    def next_probe_in(self, now: float) -> float | None:
        """Give the seconds until a call may be a probe; None when closed, or when only the operator knows."""
        if self._state == OPEN:
            return max(0.0, self._probe_at - now)
        if self._state == HALF_OPEN:
            return PROBES_BUSY_S if self._probes >= self._probes_max else 0.0
        return None

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show the circuit, and the counts of the window."""
        wait = self.next_probe_in(now)
        shown: dict[str, Any] = {
            "state": self.state,
            **self._measured(now),
            "next_probe_in": None if wait is None else round(wait, 1),
            "trips": self.trips,
            "refused": self.refused,
            "mode": "shadow" if self._is_shadow else "on",
        }
        if self._state != CLOSED:
            shown["why"] = self.why
        return shown

    # Within.

    def _admit_probe(self, now: float) -> int:
        if self._state == OPEN and now >= self._probe_at:
            self._half_open(now)
        if self._state == HALF_OPEN and self._probes < self._probes_max:
            self._probes += 1
            return self._turn
        self.refused += 1
        return UNJUDGED if self._is_shadow and self._state != FORCED else REFUSED

    def _trip_if_due(self, now: float) -> None:
        counts = self._counts
        calls = counts.total(_CALLS, now)
        if calls < self._calls_min:
            return
        failures, slow = counts.total(_FAILURES, now), counts.total(_SLOW, now)
        # Divided, not multiplied: 7 of 100 is 0.07, but 0.07 * 100 is more than 7.
        if failures / calls >= self._failure_rate:
            self._open(now, f"{failures} of {calls} calls failed within {self._window:g} s")
        elif self._slow_rate and slow / calls >= self._slow_rate:
            self._open(now, f"{slow} of {calls} calls were slow within {self._window:g} s")

    def _open(self, now: float, why: str) -> None:
        is_repeated = self._state == HALF_OPEN or now - self._closed_at < self._window
        self._open_s = min(self._open_max, self._open_s * 2) if is_repeated and self._open_s else self._open_for
        self._probe_at = now + self._open_s * (1 + SPREAD * self._jitter())
        self.trips += 1
        self.why = why
        self._begin(OPEN)
        self._tell(now, {"why": why, "open_for_s": round(self._probe_at - now, 1), "trips": self.trips})

    def _half_open(self, now: float) -> None:
        self._begin(HALF_OPEN)
        self._tell(now, {})

    def _close(self, now: float) -> None:
        self._closed_at = now
        self._counts.clear()  # What was before the trip says nothing about the vendor that is back.
        self._begin(CLOSED)
        self._tell(now, {})

    def _begin(self, state: int) -> None:
        self._state = state
        self._turn += 1
        self._probes = 0
        self._successes = 0

    def _tell(self, now: float, facts: dict[str, Any]) -> None:
        measured = self._measured(now) if self._state in (OPEN, FORCED) else {}
        self._on_change(self.state, {**facts, **measured, "mode": "shadow" if self._is_shadow else "on"})

    def _measured(self, now: float) -> dict[str, Any]:
        counts = self._counts
        calls, failures = counts.peek(_CALLS, now), counts.peek(_FAILURES, now)
        measured: dict[str, Any] = {
            "calls": calls, "failures": failures, "failure_rate": round(failures / calls, 3) if calls else 0.0
        }  # fmt: skip
        if self._slow_rate:
            measured["slow"] = counts.peek(_SLOW, now)
        return measured
