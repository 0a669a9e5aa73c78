"""The circuit under random sequences: never two sets of probes, no verdict from another turn, exact counts."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.units import Duration
from sidecar.layers.circuit_breaker.breaker import REFUSED, UNJUDGED, Breaker
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig

WINDOW = 10.0  # In ten slices of a second, and time moves by fractions that binary holds exactly.

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 3, 4, 8, 40, 50, 80, 400])),  # Quarters of a second.
        st.tuples(st.just("admit"), st.just(0)),
        st.tuples(st.just("admit"), st.just(0)),
        st.tuples(st.just("admit"), st.just(0)),
        st.tuples(st.sampled_from(["pass", "pass", "fail", "slow", "amend", "leave"]), st.integers(0, 30)),
        st.tuples(st.sampled_from(["force", "release"]), st.just(0)),
    ),
    min_size=20,
    max_size=120,
)


class Attempt:
    """One that was let through, and when its verdict was given."""

    def __init__(self, ticket: int, state: str, turn: int) -> None:
        self.ticket = ticket
        self.state = state
        self.turn = turn
        self.recorded_at: float | None = None
        self.is_success = False


def fits(word: str, attempt: Attempt) -> bool:
    """Whether this can happen to it: one verdict each, and only a success is amended."""
    if word == "amend":
        return attempt.is_success
    return word == "leave" or attempt.recorded_at is None


class Run:
    """A breaker beside a naive model: a list of verdicts with their instants."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.config = config
        self.now = 100.0
        self.started_at = self.now
        self.turn = 0  # Changes of state so far.
        self.attempts: list[Attempt] = []
        self.verdicts: list[tuple[float, bool, bool]] = []
        self.breaker = Breaker(config, self.now, lambda: 0.25, self.changed)

    def changed(self, state: str, facts: dict[str, Any]) -> None:
        """Follow the changes; what is counted begins anew when it closes."""
        assert facts["mode"] == self.config.mode
        self.turn += 1
        if state == "closed":
            self.verdicts.clear()

    def counted(self) -> tuple[int, int, int]:
        """Count by the list: calls, failures, slow."""
        oldest = int(self.now - self.started_at) - 10
        kept = [verdict for verdict in self.verdicts if int(verdict[0] - self.started_at) > oldest]
        return len(kept), sum(failed for _, failed, _ in kept), sum(slow for _, _, slow in kept)

    def is_due(self) -> bool:
        """Whether what is counted is enough for a trip."""
        calls, failures, slow = self.counted()
        rate, slow_rate = self.config.failure_rate, self.config.slow_rate
        if calls < self.config.calls_min:
            return False
        return failures / calls >= rate or bool(slow_rate and slow / calls >= slow_rate)

    def step(self, word: str, number: int) -> None:
        """Play one step."""
        if word == "wait":
            self.now += number / 4
        elif word == "admit":
            self.admit()
        elif word in {"force", "release"}:
            was_forced = self.breaker.is_forced
            (self.breaker.force if word == "force" else self.breaker.release)(self.now)
            assert self.breaker.state == ("forced" if word == "force" else "half_open") or not was_forced
        else:
            fitting = [attempt for attempt in self.attempts if fits(word, attempt)]
            if fitting:
                self.go_on(word, fitting[number % len(fitting)])

    def go_on(self, word: str, attempt: Attempt) -> None:
        """Let something happen to an attempt that is under way."""
        if word == "amend":
            self.amend(attempt)
        elif word == "leave":
            self.attempts.remove(attempt)
            self.breaker.leave(attempt.ticket)
        else:
            self.record(attempt, is_failure=word == "fail", is_slow=word == "slow")

    def admit(self) -> None:
        """Ask to be let through."""
        was = self.breaker.state
        wait = self.breaker.next_probe_in(self.now)
        ticket = self.breaker.admit(self.now)
        if ticket == REFUSED:
            assert self.config.mode == "on" or was == "forced"
            assert was == "forced" or (wait is not None and wait > 0)
        elif ticket == UNJUDGED:
            assert self.config.mode == "shadow"
        else:
            assert self.breaker.state in {"closed", "half_open"}
            assert wait is None or wait == 0
            self.attempts.append(Attempt(ticket, self.breaker.state, self.turn))

    def record(self, attempt: Attempt, *, is_failure: bool, is_slow: bool) -> None:
        """Give a verdict; one of another turn changes nothing."""
        attempt.recorded_at = self.now
        attempt.is_success = not is_failure
        turn = self.turn
        is_current = attempt.turn == turn
        if is_current and attempt.state == "closed":
            self.verdicts.append((self.now, is_failure, is_slow))
        is_due = self.is_due()
        self.breaker.record(attempt.ticket, self.now, is_failure=is_failure, is_slow=is_slow)
        if not is_current:
            assert self.turn == turn, "a straggler changed the state"
        elif attempt.state == "closed":
            assert (self.breaker.state == "open") == is_due

    def amend(self, attempt: Attempt) -> None:
        """Let the body of a success break off."""
        assert attempt.recorded_at is not None
        attempt.is_success = False
        turn = self.turn
        slow = False
        if attempt.turn == turn and attempt.state == "closed":
            slow = (attempt.recorded_at, False, True) in self.verdicts
            self.verdicts.remove((attempt.recorded_at, False, slow))
            self.verdicts.append((self.now, True, slow))
        self.breaker.amend(attempt.ticket, attempt.recorded_at, self.now, is_slow=slow)
        assert turn in {attempt.turn, self.turn}, "a straggler changed the state"

    def check(self) -> None:
        """What holds at all times."""
        probes = [attempt for attempt in self.attempts if attempt.turn == self.turn and attempt.state == "half_open"]
        assert len(probes) <= self.config.probes_max, "two sets of probes"
        if self.breaker.state == "half_open":
            free = self.breaker.next_probe_in(self.now) == 0
            assert free == (len(probes) < self.config.probes_max), "a probe's place is lost"
        shown = self.breaker.snapshot(self.now)
        assert (shown["calls"], shown["failures"]) == self.counted()[:2]
        if self.config.slow_rate:
            assert shown["slow"] == self.counted()[2]


@settings(max_examples=400)
@given(
    steps=STEPS,
    probes_max=st.integers(1, 3),
    successes=st.integers(1, 4),
    calls_min=st.integers(1, 6),
    mode=st.sampled_from(["on", "on", "shadow"]),
    slow_rate=st.sampled_from([None, 0.5]),
)
def test_probes_are_one_set_and_stragglers_change_nothing(
    steps: list[tuple[str, int]], probes_max: int, successes: int, calls_min: int, mode: Any, slow_rate: float | None
) -> None:
    """Any order of calls, verdicts, broken bodies, hang-ups, operators and time."""
    config = CircuitBreakerConfig(
        failure_rate=0.4, calls_min=calls_min, window=Duration(WINDOW), open_for=Duration(8), open_max=Duration(20),
        successes=successes, probes_max=probes_max, mode=mode, slow_rate=slow_rate,
        slow_after=None if slow_rate is None else Duration(1),
    )  # fmt: skip
    run = Run(config)
    for word, number in steps:
        run.step(word, number)
        run.check()
    for attempt in run.attempts:
        run.breaker.leave(attempt.ticket)
    run.attempts.clear()
    run.check()
