import pytest

from sidecar.layers.retry.backoff import SETTLE, backoff, told

ALMOST_ONE = 1 - 2**-53  # The largest that chance draws.


@pytest.mark.parametrize(
    ("number", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 10.0), (7, 10.0), (10**9, 10.0)]
)
def test_the_longest_wait_doubles_up_to_the_cap(number: int, longest: float) -> None:
    """Full jitter: from nothing to the longest, evenly; no number of attempts overflows it."""
    assert backoff(number, 0.5, 10.0, 0.0) == 0.0
    assert backoff(number, 0.5, 10.0, 0.5) == longest / 2
    assert longest * 0.999 < backoff(number, 0.5, 10.0, ALMOST_ONE) <= longest


def test_a_base_of_nothing_never_waits() -> None:
    """Where the operator says so."""
    assert backoff(5, 0.0, 10.0, ALMOST_ONE) == 0.0


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.5, 1.0, 30.0, 3600.0])
def test_a_told_time_is_never_cut_short(seconds: float) -> None:
    """Another's client came up to 11 ms early, and was refused again: so 20 ms are added, whatever chance says."""
    assert told(seconds, 0.5, 0.0) == pytest.approx(seconds + SETTLE)
    assert told(seconds, 0.5, ALMOST_ONE) >= seconds + SETTLE
    assert SETTLE >= 0.02


@pytest.mark.parametrize(("seconds", "spread"), [(1.0, 0.1), (4.0, 0.4), (30.0, 0.5), (3600.0, 0.5)])
def test_those_who_were_told_the_same_instant_are_spread(seconds: float, spread: float) -> None:
    """By a tenth of the time, at most by the backoff's base: fifty pods do not come back in one moment."""
    assert told(seconds, 0.5, ALMOST_ONE) - told(seconds, 0.5, 0.0) == pytest.approx(spread)
