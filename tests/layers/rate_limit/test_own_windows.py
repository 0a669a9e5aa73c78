"""The windows of the own contract: bucket, quota, and both in a limiter. Arithmetic over instants."""

import pytest

from sidecar.core.units import Duration, Rates
from sidecar.layers.rate_limit.bucket import Bucket
from sidecar.layers.rate_limit.config import RateLimitConfig
from sidecar.layers.rate_limit.quota import SLICES, Quota
from tests.layers.rate_limit.told import NOW, limiter


def test_the_burst_passes_at_once_and_the_next_when_its_permit_is_due() -> None:
    """At two per second the third of a burst of two waits half a second, and its waiter's successor one."""
    bucket = Bucket(2, 1.0, 2, NOW)
    assert [bucket.may_take(NOW, 1.0) for _ in range(3)] == [True, True, False]
    assert bucket.wait(NOW, 1.0, 0.0) == 0.5
    assert bucket.wait(NOW, 1.0, 1.0) == 1.0
    assert not bucket.may_take(NOW + 0.49, 1.0)
    assert bucket.may_take(NOW + 0.5, 1.0)


def test_a_cost_counts_as_so_many_permits() -> None:
    """Five at a cost of five leave nothing of a burst of five."""
    bucket = Bucket(10, 1.0, 5, NOW)
    assert bucket.may_take(NOW, 5.0)
    assert bucket.wait(NOW, 5.0, 0.0) == 0.5


def test_what_costs_more_than_the_burst_goes_into_debt_instead_of_never() -> None:
    """It waits for a full bucket, and what follows waits until the debt is paid."""
    bucket = Bucket(10, 1.0, 2, NOW)
    assert bucket.may_take(NOW, 5.0)
    assert bucket.level(NOW) == -3
    assert bucket.wait(NOW, 1.0, 0.0) == pytest.approx(0.4)
    assert bucket.wait(NOW, 5.0, 0.0) == pytest.approx(0.5)


def test_the_used_share_of_a_bucket_is_that_of_its_window() -> None:
    """A burst that is spent is not a contract that is: 9 of 90 in the second are a tenth."""
    bucket = Bucket(90, 1.0, 9, NOW)
    for _ in range(9):
        assert bucket.may_take(NOW, 1.0)
    assert bucket.used_ratio(NOW) == pytest.approx(0.1)
    assert bucket.used_ratio(NOW + 1.5) == pytest.approx(0.05)
    assert bucket.used_ratio(NOW + 2.0) == 0.0


def test_a_quota_gives_its_count_and_no_more_until_the_first_is_out_of_the_window() -> None:
    """A token bucket would have let nearly six go in that minute."""
    quota = Quota(3, 60.0, NOW)
    for at in (0, 10, 20):
        assert quota.may_take(NOW + at, 1.0)
    assert not quota.may_take(NOW + 59.9, 1.0)
    wait = quota.wait(NOW + 20, 1.0, 0.0)
    assert 40 <= wait <= 40 + 60 / SLICES + 0.001
    assert quota.wait(NOW + 20, 1.0, 1.0) == pytest.approx(wait + 10, abs=60 / SLICES)
    assert quota.may_take(NOW + 20 + wait, 1.0)


def test_behind_more_than_a_whole_count_it_takes_another_window() -> None:
    """The fourth of a count of three goes a window after the first."""
    quota = Quota(3, 60.0, NOW)
    for _ in range(3):
        assert quota.may_take(NOW, 1.0)
    assert quota.wait(NOW, 1.0, 3.0) == pytest.approx(quota.wait(NOW, 1.0, 0.0) + 60)


def test_a_permit_that_was_given_back_late_does_not_count_twice() -> None:
    """What is out of the window anyway is not taken off again."""
    quota = Quota(3, 10.0, NOW)
    quota.take(NOW, 1.0)
    quota.take(NOW + 11, 1.0)
    quota.give_back(NOW, 1.0)
    assert quota.taken(NOW + 11) == 1.0


# The limiter.


def test_several_windows_hold_at_once_and_the_tightest_decides() -> None:
    """Ten per second, and fifteen per minute: after fifteen the minute holds."""
    both = limiter(("10/s", 10, 1.0), ("15/min", 15, 60.0))
    now = NOW
    for _ in range(15):
        now += both.wait(now, 1.0, 0.0, "")
        assert both.may_take(now, 1.0, "")
    assert now - NOW == pytest.approx(1.4)
    assert both.wait(now, 1.0, 0.0, "") > 55
    assert "15/min" in both.why(now, 1.0, 0.0, "")


def test_a_refused_attempt_takes_nothing_from_any_window() -> None:
    """Not from the bucket either, when the quota is what refuses."""
    both = limiter(("10/s", 10, 1.0), ("1/min", 1, 60.0), burst=10)
    assert both.may_take(NOW, 1.0, "")
    assert not both.may_take(NOW, 1.0, "")
    assert both.bucket is not None
    assert both.bucket.level(NOW) == 9


def test_what_the_vendor_did_not_see_is_given_back_everywhere() -> None:
    """As after a connection that could not be made."""
    both = limiter(("10/s", 10, 1.0), ("5/min", 5, 60.0), burst=10)
    assert both.may_take(NOW, 1.0, "")
    number = both.announced.sequence
    both.announced.done(number, NOW, 1.0, "", NOW)
    both.give_back(number, NOW, 1.0, "", NOW)
    assert both.bucket is not None
    assert (both.bucket.level(NOW), both.quotas[0].taken(NOW), both.announced.in_flight) == (10, 0, 0)


def test_the_prediction_reckons_with_what_fills_up_meanwhile() -> None:
    """While the minute holds all back, the second's burst comes back, and then the second holds again."""
    both = limiter(("1/s", 1, 1.0), ("2/min", 2, 60.0))
    for at in (0, 1):
        assert both.may_take(NOW + at, 1.0, "")
    first = both.predict(NOW + 1, 1.0, 0.0, "")
    assert both.predict(NOW + 1, 1.0, 1.0, "") == pytest.approx(first + 1.0, abs=60 / SLICES)


@pytest.mark.parametrize(
    ("count", "burst", "replicas", "rate", "at_once"),
    [(90, None, 1, 90, 9), (90, None, 3, 30, 3), (90, 20, 4, 22.5, 5), (2, None, 4, 0.5, 1), (10, 2, 5, 2, 1)],
)
def test_replicas_divide_rate_and_burst(
    count: float, burst: float | None, replicas: int, rate: float, at_once: float
) -> None:
    """The burst is at least one, since nothing passes without; the rate is never above the share."""
    held = limiter(("own", count, 1.0), burst=burst, replicas=replicas).bucket
    assert held is not None
    assert (held.rate, held.burst) == (rate, at_once)


def test_a_share_below_one_is_one_in_a_longer_time() -> None:
    """Two a day over four pods is one in two days for each, not one a day."""
    quota = limiter(("1/s", 1, 1.0), ("2/day", 2, 86400.0), replicas=4).quotas[0]
    assert (quota.count, quota.seconds) == (1, 2 * 86400)


def test_everything_is_shown_under_the_name_it_was_written_with() -> None:
    """For the page, the metric and the one who looks at three."""
    both = limiter(("10/s", 10, 1.0), ("100/day", 100, 86400.0))
    assert both.may_take(NOW, 1.0, "")
    assert dict(both.ratios(NOW)) == pytest.approx({"10/s": 0.1, "100/day": 0.01})
    assert set(both.snapshot(NOW)) == {"10/s", "100/day"}


# The section.


@pytest.mark.parametrize(
    ("field", "section"),
    [
        ("burst", RateLimitConfig(rate=Rates.parse("90/s"), burst=0)),
        ("burst", RateLimitConfig(rate=Rates.parse("90/s"), burst=91)),
        ("wait_max", RateLimitConfig(rate=Rates.parse("90/s"), wait_max=Duration(-1))),
        ("waiting_max", RateLimitConfig(rate=Rates.parse("90/s"), waiting_max=-1)),
    ],
)
def test_a_section_that_could_let_nothing_pass_is_told(field: str, section: RateLimitConfig) -> None:
    """Each with its field, so that the report names the place."""
    assert [name for name, _ in section.problems()] == [field]


def test_a_plain_section_is_sound() -> None:
    """The shortest window comes first, however it was written."""
    section = RateLimitConfig(rate=Rates.parse(["10000/day", "90/s"]))
    assert section.problems() == []
    assert str(section.rate[0]) == "90/s"
