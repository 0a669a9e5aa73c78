"""All that a vendor tells: buckets, sliding windows, gauges, refusals without a time, resources. No loop."""

import pytest

from sidecar.core.advice import Told
from sidecar.layers.rate_limit.announced import ALLOWANCES_MAX
from sidecar.layers.rate_limit.resources import REMEMBERED_MAX, Resources
from tests.layers.rate_limit.told import NOW, Vendor, advice, window


def bucket(limit: float, remaining: float, reset_in: float | None = None, window: float | None = None) -> Told:
    """A bucket that refills all the time."""
    return Told("requests", "bucket", limit=limit, remaining=remaining, reset_in=reset_in, window=window)


def gauge(load: float | None = None) -> Told:
    """So many at once."""
    return Told("at-once", "gauge", load=load)


# Closing.


def test_a_refusal_closes_until_the_told_time_and_a_little() -> None:
    """20 ms more, never less; and once for all that was under way."""
    vendor = Vendor()
    first, second = vendor.send(NOW), vendor.send(NOW)
    assert vendor.answer(first, advice(is_throttled=True, retry_after=3.0), NOW + 0.1) == pytest.approx(3.02)
    assert vendor.answer(second, advice(is_throttled=True, retry_after=3.0), NOW + 0.2) == 0, "it is closed already"
    assert vendor.wait(NOW + 0.2) == pytest.approx(3.02)
    assert vendor.wait(NOW + 3.21) > 0
    assert vendor.wait(NOW + 3.22) == 0


def test_without_a_time_of_its_own_a_refusal_closes_until_what_is_used_up_comes_back() -> None:
    """Of several windows, until the last of those that are used up."""
    vendor = Vendor()
    minute = Told("minute", limit=60, remaining=0, reset_in=20)
    day = Told("day", limit=1000, remaining=500, reset_in=9000)
    assert vendor.tell(advice(minute, day, is_throttled=True), NOW) == pytest.approx(20.02)


def test_a_hostile_time_is_cut() -> None:
    """A year is fifteen minutes; then one call asks whether it still holds, and only one."""
    vendor = Vendor()
    vendor.tell(advice(window(100, 0, 3e7), is_throttled=True, retry_after=3e7), NOW)
    assert vendor.wait(NOW) == pytest.approx(900.02)
    later = NOW + 901
    assert vendor.wait(later) == 0
    vendor.send(later)
    assert vendor.wait(later) > 0


def test_a_final_refusal_closes_nothing() -> None:
    """`insufficient_quota` is no matter of time."""
    vendor = Vendor()
    assert vendor.tell(advice(is_throttled=True, is_final=True), NOW) == 0
    assert vendor.announced.is_silent


def test_what_is_over_leaves_the_hot_path_alone_again() -> None:
    """A closing that has passed is forgotten with the next answer."""
    vendor = Vendor()
    vendor.tell(advice(is_throttled=True, retry_after=1.0), NOW)
    assert not vendor.announced.is_silent
    vendor.tell(advice(), NOW + 2)
    assert vendor.announced.is_silent


# Resources.


def test_a_limit_of_a_resource_holds_its_own_calls_only() -> None:
    """GitHub's search is used up; everything else goes on. Which calls are search was told by their answers."""
    vendor = Vendor()
    vendor.tell(advice(window(30, 0, 40, resource="search"), is_throttled=True), NOW, b"/search/code?q=1")
    find = vendor.announced.resources.find
    assert find("", b"/search/issues?q=2") == "search"
    assert find("", b"/repos/x") == ""
    assert vendor.wait(NOW, resource="search") == pytest.approx(40.02)
    assert vendor.wait(NOW) == 0


def test_a_limit_without_a_resource_holds_all_calls() -> None:
    """Also those of a known resource."""
    vendor = Vendor()
    vendor.tell(advice(window(30, 0, 40)), NOW)
    assert vendor.wait(NOW, resource="search") > 0


def test_the_memory_of_resources_is_bounded() -> None:
    """What was told longest ago goes."""
    resources = Resources(1)
    for i in range(REMEMBERED_MAX + 1):
        resources.learn("", b"/%d/x" % i, "r")
    assert len(resources) == REMEMBERED_MAX
    assert resources.find("", b"/0/x") == ""
    assert resources.find("", b"/1/x") == "r"


def test_a_vendor_that_invents_names_fills_no_memory() -> None:
    """Sixteen allowances; the one told longest ago goes."""
    vendor = Vendor()
    for i in range(ALLOWANCES_MAX + 5):
        told = Told(f"policy-{i}", limit=10, remaining=5, reset_in=60)
        vendor.tell(advice(told), NOW + i)
    names = [name for name, _ in vendor.announced.ratios(NOW)]
    assert len(names) == ALLOWANCES_MAX
    assert "announced:policy-4" not in names
    assert "announced:policy-20" in names


# Buckets.


def test_a_bucket_is_never_waited_for_until_it_is_full() -> None:
    """OpenAI says "full in 6 m"; the next permit is there long before."""
    vendor = Vendor()
    vendor.tell(advice(bucket(60, 0, 60)), NOW)
    assert 0 < vendor.wait(NOW) <= 2.0


def test_a_bucket_that_tells_only_how_full_it_is_refills_by_its_window() -> None:
    """Shopify: 40 in 20 s."""
    vendor = Vendor()
    vendor.tell(advice(bucket(40, 0, window=20)), NOW)
    wait = vendor.wait(NOW)
    assert 0.4 <= wait <= 0.6
    assert vendor.wait(NOW, ahead=2) == pytest.approx(wait + 1.0)


def test_a_bucket_with_plenty_in_it_holds_nothing() -> None:
    """It is not paced either: it fills up by itself."""
    vendor = Vendor()
    vendor.tell(advice(bucket(40, 39, window=20)), NOW)
    for _ in range(30):
        assert vendor.wait(NOW) == 0
        vendor.send(NOW)


def test_a_refusal_by_a_bucket_empties_the_picture_of_it() -> None:
    """Whatever we thought was in it."""
    vendor = Vendor()
    sent = vendor.send(NOW)
    vendor.tell(advice(bucket(40, 20, window=20)), NOW)
    vendor.answer(sent, advice(bucket(40, 20, window=20), is_throttled=True), NOW)
    assert vendor.wait(NOW) > 0


# Sliding windows.


def test_a_window_that_is_told_without_a_reset_slides() -> None:
    """HubSpot tells the length: what was sent comes back one by one."""
    vendor = Vendor()
    told = Told("ten", limit=10, remaining=9, window=10)
    vendor.tell(advice(told), NOW)
    now = NOW
    for used in range(2, 11):
        now = NOW + (used - 1) * 0.95
        assert vendor.wait(now) == 0
        vendor.tell(advice(Told("ten", limit=10, remaining=10 - used, window=10)), now)
    assert NOW + 10 < now + vendor.wait(now) < NOW + 10.2


def test_a_reset_that_does_not_bring_back_what_was_spent_shows_that_the_window_slides() -> None:
    """Twice the reset passed and nearly all was still used: from then on each call is counted by itself."""
    vendor = Vendor()
    now = NOW
    for used in range(1, 11):
        vendor.tell(advice(window(10, 10 - used, 1.0)), now)
        now += 0.05
    for _ in range(2):
        now += vendor.wait(now)
        vendor.tell(advice(window(10, 0, 0.05)), now)
    (shown,) = vendor.announced.snapshot(now)["allowances"].values()
    assert shown["slides"] == pytest.approx(1.0)


def test_a_window_that_was_taken_for_a_sliding_one_and_is_refused_again_and_again_is_thought_of_anew() -> None:
    """Our count says that it is free, and the vendor says no, nine times running."""
    vendor = Vendor()
    vendor.tell(advice(Told("requests", limit=100, remaining=99, window=10)), NOW)
    for i in range(10):
        vendor.tell(advice(window(100, 0, 5), is_throttled=True), NOW + i / 10)
    (shown,) = vendor.announced.snapshot(NOW + 1)["allowances"].values()
    assert "slides" not in shown


# Gauges.


def test_a_gauge_is_a_ceiling_on_calls_under_way() -> None:
    """Ten under way and the eleventh refused: nine, and one more each second that the vendor does not mind."""
    vendor = Vendor()
    under_way = [vendor.send(NOW) for _ in range(11)]
    vendor.answer(under_way.pop(), advice(gauge(11), is_throttled=True), NOW + 0.1)
    held = vendor.announced.gauge
    assert held is not None
    assert (held.ceiling, held.in_use) == (9.0, 10.0)
    assert vendor.wait(NOW + 0.1) > 0
    for sent in under_way[:2]:
        vendor.answer(sent, advice(gauge(8)), NOW + 0.2)
    assert vendor.wait(NOW + 0.2) == 0
    vendor.send(NOW + 0.2)
    assert vendor.wait(NOW + 0.2) > 0
    vendor.answer(under_way[2], advice(gauge(8)), NOW + 1.2)
    assert held.ceiling == 10.0


def test_the_refusals_of_one_moment_lower_the_ceiling_once() -> None:
    """All of them were sent before anybody knew."""
    vendor = Vendor()
    under_way = [vendor.send(NOW) for _ in range(10)]
    for sent in under_way[:5]:
        vendor.answer(sent, advice(gauge(10), is_throttled=True), NOW + 0.1)
    assert vendor.announced.gauge is not None
    assert vendor.announced.gauge.ceiling == pytest.approx(8.1)


def test_a_gauge_without_a_refusal_holds_nothing() -> None:
    """A load is no limit."""
    vendor = Vendor()
    vendor.tell(advice(gauge(500)), NOW)
    assert vendor.announced.gauge is None
    assert vendor.wait(NOW) == 0


# Without a time.


def test_a_refusal_that_says_nothing_slows_down_to_a_share_of_what_went_lately() -> None:
    """Stripe, PayPal: a hundred a second were too many, so it is seventy, and more with time."""
    vendor = Vendor()
    for i in range(300):
        sent = vendor.send(NOW + i / 100)
        vendor.announced.done(*sent[:2], 1.0, "", NOW + i / 100)
    now = NOW + 3.0
    vendor.tell(advice(is_throttled=True), now)
    start = now + vendor.wait(now)
    assert start > now
    went, at = 0, start
    while (at := at + vendor.wait(at)) < start + 1.0:
        vendor.send(at)
        went += 1
    assert 65 <= went <= 75
    assert vendor.wait(now + 120) == 0


def test_refusals_in_a_row_wait_longer_and_longer_up_to_a_bound() -> None:
    """Each is sent after the wait for the one before it."""
    vendor = Vendor()
    now = NOW
    waits = []
    for _ in range(12):
        vendor.tell(advice(is_throttled=True), now)
        waits.append(vendor.wait(now))
        now += waits[-1] + 1e-6
    assert waits[3] > waits[0]
    assert max(waits) <= 11


def test_near_the_limit_it_slows_down_a_little() -> None:
    """Bitbucket says that it is near, not how near."""
    vendor = Vendor()
    for i in range(200):
        sent = vendor.send(NOW + i / 100)
        vendor.announced.done(*sent[:2], 1.0, "", NOW + i / 100)
    near = advice()
    near.is_near = True
    vendor.tell(near, NOW + 2)
    vendor.send(NOW + 2)
    assert 0 < vendor.wait(NOW + 2) < 0.05


def test_everything_is_shown_for_people() -> None:
    """Numbers and words, and nothing of the vendor's that is longer than a name."""
    vendor = Vendor()
    vendor.tell(advice(window(100, 40, 30), Told("x" * 500, limit=10, remaining=5, reset_in=60)), NOW)
    vendor.tell(advice(is_throttled=True, retry_after=2.0), NOW)
    vendor.tell(advice(gauge(3), is_throttled=True), NOW)
    shown = vendor.announced.snapshot(NOW)
    assert set(shown) == {"allowances", "closed_for", "gauge"}
    assert shown["closed_for"] == {"all": pytest.approx(2.02)}
    assert shown["allowances"]["announced:requests"]["limit"] == 100
    assert max(map(len, shown["allowances"])) <= 80


def test_one_refusal_among_few_calls_does_not_stop_them() -> None:
    """At one call a second, a single 429 without a time says little about the pace; a second one says more."""
    vendor = Vendor()
    vendor.tell(advice(is_throttled=True), NOW)
    assert 0 < vendor.wait(NOW) <= 0.5
    for number in range(1, 12):
        vendor.tell(advice(is_throttled=True), NOW + number * 10)
    assert vendor.wait(NOW + 110) > 1


def test_a_wait_that_the_vendor_asked_for_is_not_shortened_by_what_a_window_knows() -> None:
    """One that was worked out from the window's end, in whole seconds, is."""
    for is_worked_out, closed_for in ((True, 4.5), (False, 5.0)):
        vendor = Vendor()
        vendor.tell(advice(window(10, 3, 5.0)), NOW)
        said = advice(window(10, 0, 5.0), retry_after=5.0, is_throttled=True)
        said.is_worked_out = is_worked_out
        assert vendor.tell(said, NOW + 0.5) == pytest.approx(closed_for, abs=0.05)
