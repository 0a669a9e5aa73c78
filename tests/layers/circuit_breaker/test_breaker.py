"""The circuit as a machine: arithmetic over instants, no loop."""

from typing import Any

import pytest

from sidecar.core.units import Duration
from sidecar.layers.circuit_breaker.breaker import PROBES_BUSY_S, REFUSED, UNJUDGED, Breaker
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig


class Circuit:
    """A breaker, what it told, and chance that a test sets."""

    def __init__(self, **settings: Any) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.chance = 0.0
        config = CircuitBreakerConfig(**settings)
        self.breaker = Breaker(config, 0.0, lambda: self.chance, lambda *change: self.told.append(change))

    def go(self, now: float, *, is_failure: bool = False, is_slow: bool = False) -> int:
        """One attempt from its start to its last byte; gives its ticket."""
        ticket = self.breaker.admit(now)
        if ticket != REFUSED:
            self.breaker.record(ticket, now, is_failure=is_failure, is_slow=is_slow)
            self.breaker.leave(ticket)
        return ticket

    def fail(self, times: int, now: float) -> None:
        """So many failures."""
        for _ in range(times):
            self.go(now, is_failure=True)

    @property
    def changes(self) -> list[str]:
        """The states it went to."""
        return [state for state, _ in self.told]


def opened(now: float = 0.0, **settings: Any) -> Circuit:
    """A circuit that tripped at `now`."""
    circuit = Circuit(**settings)
    circuit.fail(10, now)
    assert circuit.breaker.state == "open"
    return circuit


def test_it_opens_at_the_rate_once_there_are_enough_calls() -> None:
    """Two of ten are the 20 % of the default; nine calls are too few to judge by."""
    circuit = Circuit()
    circuit.fail(2, 1.0)
    for _ in range(7):
        circuit.go(1.0)
    assert circuit.breaker.state == "closed"
    circuit.go(1.0)
    assert circuit.breaker.state == "open"
    assert circuit.told == [
        ("open", {
            "why": "2 of 10 calls failed within 30 s", "open_for_s": 30.0, "trips": 1, "calls": 10, "failures": 2,
            "failure_rate": 0.2, "mode": "on",
        }),
    ]  # fmt: skip


def test_it_stays_closed_below_the_rate() -> None:
    """One of ten is a vendor as they are."""
    circuit = Circuit()
    for turn in range(200):
        circuit.go(turn * 0.1, is_failure=turn % 10 == 9)
    assert circuit.changes == []


def test_the_rate_is_met_exactly() -> None:
    """7 of 100 are 7 %, though 0.07 * 100 is more than 7 in binary."""
    circuit = Circuit(failure_rate=0.07, calls_min=100)
    for _ in range(93):
        circuit.go(1.0)
    circuit.fail(7, 1.0)
    assert circuit.changes == ["open"]


def test_what_is_older_than_the_window_does_not_count() -> None:
    """Nine failures yesterday and one today are not ten."""
    circuit = Circuit()
    circuit.fail(9, 0.0)
    circuit.fail(9, 31.0)
    assert circuit.breaker.state == "closed"
    assert circuit.breaker.snapshot(31.0)["failures"] == 9


def test_open_it_refuses_until_the_time_is_over() -> None:
    """And says how long that is."""
    circuit = opened()
    assert circuit.go(29.9) == REFUSED
    assert circuit.breaker.next_probe_in(20.0) == 10.0
    assert circuit.breaker.snapshot(20.0) == {
        "state": "open", "calls": 10, "failures": 10, "failure_rate": 1.0, "next_probe_in": 10.0, "trips": 1,
        "refused": 1, "mode": "on", "why": "10 of 10 calls failed within 30 s",
    }  # fmt: skip
    assert circuit.go(30.0) != REFUSED
    assert circuit.breaker.state == "half_open"


def test_chance_adds_up_to_a_fifth_to_the_open_time() -> None:
    """Fifty pods that tripped together do not probe together."""
    circuit = Circuit()
    circuit.chance = 0.5
    circuit.fail(10, 0.0)
    assert circuit.breaker.next_probe_in(0.0) == pytest.approx(33.0)


def test_half_open_admits_a_bounded_number_at_once() -> None:
    """The fourth waits for one of the three; who asks again comes in a moment."""
    circuit = opened()
    tickets = [circuit.breaker.admit(30.0) for _ in range(3)]
    assert REFUSED not in tickets
    assert circuit.breaker.admit(30.0) == REFUSED
    assert circuit.breaker.next_probe_in(30.0) == PROBES_BUSY_S
    circuit.breaker.leave(tickets[0])
    assert circuit.breaker.next_probe_in(30.0) == 0.0
    assert circuit.breaker.admit(30.0) != REFUSED


def test_three_successes_in_a_row_close_it() -> None:
    """With counts that begin anew: the failures before the trip must not trip it again."""
    circuit = opened()
    for _ in range(3):
        circuit.go(30.0)
    assert circuit.changes == ["open", "half_open", "closed"]
    assert circuit.breaker.snapshot(30.0) == {
        "state": "closed", "calls": 0, "failures": 0, "failure_rate": 0.0, "next_probe_in": None, "trips": 1,
        "refused": 0, "mode": "on",
    }  # fmt: skip


def test_one_failed_probe_opens_it_again_for_twice_as_long() -> None:
    """Up to `open_max`: a vendor that is down for a day is asked every five minutes."""
    circuit = opened()
    now, lengths = 0.0, []
    for _ in range(6):
        wait = circuit.breaker.next_probe_in(now)
        assert wait is not None
        lengths.append(wait)
        now += wait
        circuit.go(now)
        circuit.fail(1, now)
    assert lengths == [30, 60, 120, 240, 300, 300]
    assert circuit.told[2][1]["why"] == "a probe failed"
    assert circuit.breaker.trips == 7


def test_a_trip_soon_after_closing_counts_as_repeated() -> None:
    """A vendor that comes up for seconds and falls over is not asked every half minute."""
    circuit = opened()
    for _ in range(3):
        circuit.go(30.0)
    circuit.fail(10, 59.5)
    assert circuit.breaker.next_probe_in(59.5) == 60.0


def test_after_a_whole_window_closed_the_open_time_is_short_again() -> None:
    """What was last week has nothing to do with today."""
    circuit = opened()
    for _ in range(3):
        circuit.go(30.0)
    circuit.fail(10, 60.0)
    assert circuit.breaker.next_probe_in(60.0) == 30.0


def test_a_straggler_from_before_the_trip_does_not_close_the_circuit() -> None:
    """Nor does it pass for the probe's verdict: three that were sent while closed come back in half-open."""
    circuit = Circuit()
    stragglers = [circuit.breaker.admit(0.0) for _ in range(3)]
    circuit.fail(10, 0.0)
    probe = circuit.breaker.admit(30.0)
    for ticket in stragglers:
        circuit.breaker.record(ticket, 30.0, is_failure=False)
        circuit.breaker.leave(ticket)
    assert circuit.breaker.state == "half_open"
    circuit.breaker.record(stragglers[0], 30.0, is_failure=True)
    assert circuit.breaker.state == "half_open"
    circuit.breaker.record(probe, 30.0, is_failure=True)
    assert circuit.breaker.state == "open"


def test_a_probe_of_an_earlier_turn_does_not_count_in_a_later_one() -> None:
    """It hung for a minute, and its place was that turn's."""
    circuit = opened()
    hung = circuit.breaker.admit(30.0)
    circuit.go(30.0, is_failure=True)
    assert circuit.breaker.admit(90.0) not in {REFUSED, hung}
    circuit.breaker.record(hung, 91.0, is_failure=True)
    circuit.breaker.leave(hung)
    assert circuit.breaker.state == "half_open"
    assert [circuit.breaker.admit(91.0) == REFUSED for _ in range(3)] == [False, False, True]


def test_a_probe_without_a_verdict_gives_its_place_to_the_next_call() -> None:
    """The app hung up: the vendor has neither failed nor shown that it is back."""
    circuit = opened(probes_max=1, successes=1)
    circuit.breaker.leave(circuit.breaker.admit(30.0))
    assert circuit.breaker.state == "half_open"
    circuit.go(31.0)
    assert circuit.breaker.state == "closed"


def test_a_success_that_breaks_off_turns_into_a_failure() -> None:
    """Ten heads arrive, ten bodies do not: that vendor is down."""
    circuit = Circuit()
    tickets = [circuit.breaker.admit(0.0) for _ in range(10)]
    for ticket in tickets:
        circuit.breaker.record(ticket, 1.0, is_failure=False)
    circuit.breaker.amend(tickets[0], 1.0, 8.0)
    shown = circuit.breaker.snapshot(8.0)
    assert (shown["calls"], shown["failures"]) == (10, 1)
    circuit.breaker.amend(tickets[1], 1.0, 50.0)
    shown = circuit.breaker.snapshot(50.0)
    assert (shown["calls"], shown["failures"]) == (1, 1)


def test_a_probe_that_breaks_off_opens_the_circuit() -> None:
    """Its head was counted as a success; the turn is still the same."""
    circuit = opened()
    ticket = circuit.breaker.admit(30.0)
    circuit.breaker.record(ticket, 30.0, is_failure=False)
    circuit.breaker.amend(ticket, 30.0, 31.0)
    circuit.breaker.leave(ticket)
    assert circuit.breaker.state == "open"


def test_slow_answers_open_it_when_that_is_asked_for() -> None:
    """A vendor that answers after half a minute ties up everything as surely as one that fails."""
    circuit = Circuit(slow_after=Duration(2), slow_rate=0.5)
    for turn in range(10):
        circuit.go(1.0, is_slow=turn % 2 == 0)
    assert circuit.changes == ["open"]
    assert circuit.told[0][1]["why"] == "5 of 10 calls were slow within 30 s"
    assert circuit.breaker.snapshot(1.0)["slow"] == 5
    circuit.go(31.0, is_slow=True)
    assert circuit.told[-1][1]["why"] == "a probe was slow"


def test_an_operator_holds_it_open_until_auto() -> None:
    """However long; nobody knows when it ends, so no time is told."""
    circuit = Circuit()
    straggler = circuit.breaker.admit(0.0)
    circuit.breaker.force(1.0)
    circuit.breaker.force(2.0)
    assert circuit.go(1e6) == REFUSED
    assert circuit.breaker.next_probe_in(1e6) is None
    assert circuit.breaker.level == 2
    circuit.breaker.record(straggler, 3.0, is_failure=False)
    assert circuit.breaker.is_forced
    circuit.breaker.release(1e6)
    circuit.breaker.release(1e6)
    for _ in range(3):
        circuit.go(1e6)
    assert circuit.changes == ["forced", "half_open", "closed"]
    assert circuit.breaker.trips == 0


def test_auto_does_nothing_to_a_circuit_that_nobody_holds() -> None:
    """It stays open for its time."""
    circuit = opened()
    circuit.breaker.release(1.0)
    assert circuit.changes == ["open"]


def test_shadow_goes_through_the_same_changes_and_refuses_nothing() -> None:
    """What would have been refused goes through and is not judged, so that the rest is as it would have been."""
    circuit = opened(mode="shadow")
    assert circuit.go(1.0, is_failure=True) == UNJUDGED
    probes = [circuit.breaker.admit(30.0) for _ in range(5)]
    assert [probe == UNJUDGED for probe in probes] == [False, False, False, True, True]
    for probe in probes:
        circuit.breaker.record(probe, 30.0, is_failure=probe == UNJUDGED)
    assert circuit.changes == ["open", "half_open", "closed"]
    assert {facts["mode"] for _, facts in circuit.told} == {"shadow"}
    assert circuit.breaker.snapshot(30.0)["refused"] == 3


def test_an_operator_holds_a_shadow_open_too() -> None:
    """Who asks for it by hand does not mean a rehearsal."""
    circuit = Circuit(mode="shadow")
    circuit.breaker.force(0.0)
    assert circuit.go(1.0) == REFUSED
