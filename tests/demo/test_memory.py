"""What the demo's vendor remembers, by arithmetic."""

from sidecar.demo.memory import KEYS_MAX, Meter, Payouts, Turns


def test_turns_begin_again_at_their_end() -> None:
    """Whoever plays on by hand sees the same story."""
    turns = Turns(("fine", "500"))
    assert [turns.take() for _ in range(5)] == ["fine", "500", "fine", "500", "fine"]


def test_turns_may_end_in_something_that_lasts() -> None:
    """An outage that is over does not come back by itself."""
    turns = Turns(("500", "500"), afterwards="fine")
    assert [turns.take() for _ in range(5)] == ["500", "500", "fine", "fine", "fine"]


def test_a_meter_counts_anew_in_each_window_of_the_clock() -> None:
    """A fixed window, as most vendors have it: the reset is the end of the window, not of a minute from now."""
    meter = Meter(2, 10.0)
    assert [meter.count(wall) for wall in (1003.0, 1004.0, 1009.9, 1010.0)] == [True, True, False, True]
    assert meter.headers(1012.0) == {
        "X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "1020"
    }  # fmt: skip
    assert meter.headers(1020.0)["X-RateLimit-Remaining"] == "2"


def test_calls_over_the_limit_leave_nothing_below_zero() -> None:
    """No vendor announces that -1 calls are left."""
    meter = Meter(1, 10.0)
    for _ in range(3):
        meter.count(1003.0)
    assert meter.headers(1003.0)["X-RateLimit-Remaining"] == "0"


def test_the_oldest_key_is_forgotten_when_there_are_too_many() -> None:
    """The demo may stay up for days; its memory stays small, and a forgotten key is paid once more."""
    payouts = Payouts()
    for number in range(KEYS_MAX + 1):
        assert payouts.pay(f"key-{number}") is None
    assert payouts.pay("key-1") is not None
    assert payouts.pay("key-0") is None
    assert payouts.made == KEYS_MAX + 2
