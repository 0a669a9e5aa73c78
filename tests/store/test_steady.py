"""The machine: time that neither jumps nor goes back."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.store.steady import Steady
from tests.kit.clock import ManualClock

SECONDS = st.floats(0, 1e9)


@given(SECONDS, st.floats(-1e9, 1e9), SECONDS)
def test_it_moves_as_the_monotonic_clock_does(wall: float, jump: float, passed: float) -> None:
    """Whatever the wall clock is set to meanwhile."""
    clock = ManualClock(wall_at=wall)
    steady = Steady(clock)
    begun = steady.now()
    clock._wall_ahead += jump
    clock.tick(passed)
    assert abs(steady.now() - begun - passed) < 1e-3


@given(SECONDS, SECONDS)
def test_it_begins_at_the_later_of_the_clock_and_what_was_seen(wall: float, seen_at: float) -> None:
    """So over any number of runs it never goes back."""
    assert abs(Steady(ManualClock(wall_at=wall), seen_at).now() - max(wall, seen_at)) < 1e-3
