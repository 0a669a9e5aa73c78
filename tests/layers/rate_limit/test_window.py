"""A window that the vendor announces: what is left, until when, and what others use of it."""

import pytest

from tests.layers.rate_limit.told import NOW, Vendor, advice, opened, window


def test_at_nothing_left_it_holds_until_the_reset_and_a_little() -> None:
    """20 ms more, since the vendor's clock and ours do not tick together; never a moment less."""
    held = opened(100, 0, 30)
    assert held.wait(NOW, 1.0, 0.0) == pytest.approx(30.02)
    assert held.wait(NOW + 30.019, 1.0, 0.0) > 0
    assert held.wait(NOW + 30.02, 1.0, 0.0) == 0


def test_what_was_sent_since_counts_though_no_answer_told_of_it() -> None:
    """Three left, three under way: the fourth is held."""
    held = opened(100, 3, 30)
    held._pace_below = 0.0
    for _ in range(3):
        assert held.wait(NOW, 1.0, 0.0) == 0
        held.take(NOW, 1.0)
    assert held.wait(NOW, 1.0, 0.0) > 29


def test_answers_that_overtake_each_other_do_not_make_it_less_exact() -> None:
    """Ten sent, answered in the opposite order: a late answer tells of an earlier count, which is no news."""
    vendor = Vendor()
    sent = [vendor.send(NOW) for _ in range(10)]
    for used in range(10, 0, -1):
        vendor.answer(sent.pop(), advice(window(100, 100 - used, 30)), NOW + 0.1 - used / 1000)
    (held,) = vendor.announced._common
    assert held.snapshot(NOW + 0.1)["left"] == 90
    assert held.snapshot(NOW + 0.1)["others"] == 0


def test_what_others_use_is_seen_as_soon_as_an_answer_tells_it() -> None:
    """One of ours, and fifty used: forty-nine are others'."""
    held = opened(100, 50, 30)
    assert (held.left(), held.snapshot(NOW)["others"]) == (50, 49)


def test_where_others_use_most_of_it_our_share_may_go_and_the_rest_when_answers_leave_some() -> None:
    """Two that share a window do not both take what is left of it in the same moment."""
    held = opened(100, 99, 1)
    for used in (20, 60, 100):
        held.take(NOW + used / 200, 1.0)
        held.done(1.0, 1.0, NOW)
        held.hear(window(100, 100 - used, 1), NOW + used / 200, 1.0, NOW + used / 200, since=0.0, is_throttled=False)
    now = NOW + 1.2
    went = 0
    while held.wait(now, 1.0, 0.0) == 0:
        held.take(now, 1.0)
        went += 1
    assert 1 <= went <= 10


def test_little_left_is_spread_over_the_rest_of_the_window() -> None:
    """Instead of stopping dead: the last of twenty comes near the reset, not at once; some may go at once."""
    held = opened(100, 20, 60)
    sent_at = []
    now = NOW
    for _ in range(19):
        now += held.wait(now, 1.0, 0.0)
        held.take(now, 1.0)
        held.done(1.0, 1.0, NOW)
        sent_at.append(now - NOW)
    assert sent_at == sorted(sent_at)
    assert sum(at < 1 for at in sent_at) <= 7
    assert 30 < sent_at[-1] < 60


def test_plenty_left_is_not_paced() -> None:
    """Above the share nothing is held."""
    held = opened(100, 80, 60)
    for _ in range(59):
        assert held.wait(NOW, 1.0, 0.0) == 0
        held.take(NOW, 1.0)


def test_after_the_reset_the_whole_is_there_again_but_not_all_at_once() -> None:
    """Until an answer confirms it, a tenth may be under way: the reset may have been told too early."""
    held = opened(100, 99, 10)
    for _ in range(99):
        held.take(NOW, 1.0)
        held.done(1.0, 1.0, NOW)
    assert held.wait(NOW, 1.0, 0.0) > 10
    now = NOW + 10.02
    went = 0
    while held.wait(now, 1.0, 0.0) == 0:
        held.take(now, 1.0)
        went += 1
    assert went == 10
    held.done(1.0, 1.0, NOW)
    held.hear(window(100, 90, 10), now, 1.0, now + 0.05, since=0.0, is_throttled=False)
    assert held.wait(now + 0.05, 1.0, 0.0) == 0
    assert held.left() == 90


def test_whole_seconds_that_were_rounded_up_are_known_better_with_each_answer() -> None:
    """Each answer tells an instant that is too late by another part of a second; the earliest is the nearest."""
    held = opened(100, 99, 1)
    held.hear(window(100, 0, 1), NOW - 0.001, 1.0, NOW + 0.6, since=0.0, is_throttled=False)
    assert held.wait(NOW + 0.6, 1.0, 0.0) == pytest.approx(0.42)


def test_a_straggler_from_the_window_before_does_not_close_the_new_one() -> None:
    """It was sent before the reset, and tells of nothing left: of then."""
    held = opened(100, 1, 10)
    held.take(NOW + 9.99, 1.0)
    assert held.wait(NOW + 10.02, 1.0, 0.0) == 0
    held.take(NOW + 10.02, 1.0)
    held.done(1.0, 1.0, NOW)
    held.hear(window(100, 0, 0.01), NOW + 9.99, 1.0, NOW + 10.03, since=0.0, is_throttled=False)
    assert held.left() == 99


def test_a_window_that_began_before_our_clock_said_so_is_seen() -> None:
    """Sent when 60 were known to be used, and 1 is told: in between it was reset."""
    held = opened(100, 40, 10)
    held.take(NOW + 1, 1.0)
    held.done(1.0, 1.0, NOW)
    held.hear(window(100, 99, 10), NOW + 1, 1.0, NOW + 1.05, since=0.0, is_throttled=False)
    assert held.left() == 99
    assert held.reset_at == pytest.approx(NOW + 11.05)


@pytest.mark.parametrize("every", [1, 7])
def test_calls_that_the_vendor_does_not_count_use_nothing_up(every: int) -> None:
    """GitHub does not count what answers 304. Also when only some of the answers are read."""
    vendor = Vendor()
    vendor.tell(advice(window(100, 90, 3600)), NOW)
    for i in range(500):
        now = NOW + i / 10
        assert vendor.wait(now) == 0
        sent = vendor.send(now)
        if i % every == 0:
            vendor.answer(sent, advice(window(100, 90, 3600 - i / 10)), now + 0.05)
        else:
            vendor.announced.done(*sent[:2], 1.0, "", now + 0.05)


def test_answers_that_tell_nothing_count_as_used_until_one_tells() -> None:
    """Errors often come without the headers; they use up the limit all the same."""
    vendor = Vendor()
    vendor.tell(advice(window(100, 90, 3600)), NOW)
    for _ in range(90):
        sent = vendor.send(NOW + 1)
        vendor.announced.done(*sent[:2], 1.0, "", NOW + 1)
    assert vendor.wait(NOW + 1) == 899  # hint_max


def test_without_a_limit_it_is_learned_from_what_remains() -> None:
    """Xero tells what remains, and nothing else."""
    held = opened(None, 50, None)
    assert held.limit == 51
    held.take(NOW, 1.0)
    assert held.left() == 49


def test_nothing_left_and_nobody_told_until_when_is_asked_now_and_then() -> None:
    """Once a second, one at a time."""
    held = opened(60, 0, None)
    assert held.wait(NOW, 1.0, 0.0) == 1.0
    assert held.wait(NOW + 1.0, 1.0, 0.0) == 0.0 or held.wait(NOW + 1.0, 1.0, 0.0) <= 1.0


def test_a_reset_that_was_told_too_early_is_waited_for_longer_the_next_time() -> None:
    """Seconds that are rounded down end before the window does: what is refused then teaches it."""
    vendor = Vendor()
    vendor.tell(advice(window(2, 1, 0.0)), NOW)
    vendor.tell(advice(window(2, 0, 0.0)), NOW)
    first = vendor.wait(NOW)
    vendor.tell(advice(window(2, 0, 0.0), is_throttled=True), NOW + first)
    vendor.tell(advice(window(2, 0, 0.0), is_throttled=True), NOW + 2 * first)
    assert vendor.wait(NOW + 2 * first) > first


def test_a_hundred_percent_is_shown_as_one() -> None:
    """And a window that is over as zero."""
    held = opened(100, 0, 10)
    assert held.used_ratio(NOW) == 1.0
    assert held.used_ratio(NOW + 10) == 0.0
