"""What is told of deliveries that fail: arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.webhooks.failing import BEGIN_EVERY, GO_ON_EVERY, Failing


def test_an_hour_in_which_one_try_fails_each_second_is_seven_lines() -> None:
    """The first tells that it begins; the others how many failed since the one before."""
    failing = Failing()
    told = [(now, said) for now in range(3601) if (said := failing.failed(float(now))) is not None]
    assert [now for now, _ in told] == [0, 600, 1200, 1800, 2400, 3000, 3600]
    assert [said["failures"] for _, said in told] == [1, 600, 600, 600, 600, 600, 600]
    assert told[-1][1]["failing_for"] == 3600
    assert failing.succeeded(3605.0) == {"failures": 3601, "failed_for": 3605}
    assert failing.succeeded(3606.0) is None


def test_it_begins_anew_when_it_had_ended() -> None:
    """At once, where the last line is old."""
    failing = Failing()
    failing.failed(0.0)
    failing.succeeded(1.0)
    assert failing.failed(61.0) == {"failures": 1, "failing_for": 0}
    assert failing.failed(62.0) is None


def test_one_poisoned_event_among_many_that_succeed_is_a_pair_of_lines_a_minute() -> None:
    """And nothing that failed meanwhile is left out of the count."""
    failing = Failing()
    lines = [said for now in range(600) for said in (failing.failed(float(now)), failing.succeeded(now + 0.5)) if said]
    assert len(lines) == 2 * 600 / BEGIN_EVERY
    assert sum(said["failures"] for said in lines if "failing_for" in said) == 541


def test_what_never_failed_is_not_told_to_succeed() -> None:
    """Nothing is said of what is as it should be."""
    assert Failing().succeeded(0.0) is None


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=100))
def test_lines_are_rare_whatever_happens(steps: list[tuple[float, bool]]) -> None:
    """No two that tell of failures are nearer than a minute, and each end was told to begin."""
    failing, now, last, is_told = Failing(), 0.0, -GO_ON_EVERY, False
    for pause, is_failure in steps:
        now += pause
        said = failing.failed(now) if is_failure else failing.succeeded(now)
        if said is None:
            continue
        if is_failure:
            assert now - last >= (GO_ON_EVERY if is_told else BEGIN_EVERY) - 1e-6
            last, is_told = now, True
        else:
            assert is_told
            is_told = False
