"""The adaptive number against vendors that are lines of arithmetic."""

from collections.abc import Callable

from sidecar.layers.bulkhead.gradient import Gradient


def run(gradient: Gradient, seconds: int, took: Callable[[int], float], used: int | None, now: float = 0.0) -> float:
    """Answer 20 times a second as `took` says of the number inside: `used`, or as many as there are slots."""
    for tick in range(seconds * 20):
        inside = gradient.slots if used is None else min(used, gradient.slots)
        gradient.add(took(inside), inside, now + tick / 20)
    return now + seconds


def bears(capacity: int, usual_s: float = 0.1) -> Callable[[int], float]:
    """A vendor that works on `capacity` at once and lets the others wait."""
    return lambda inside: usual_s * max(1.0, inside / capacity)


def test_it_begins_with_the_fewest_and_grows_while_latency_stays() -> None:
    """Up to the most, within a minute: the vendor bears it."""
    gradient = Gradient(10, 100, 0.0)
    assert gradient.slots == 10
    run(gradient, 60, bears(1000), None)
    assert gradient.slots == 100


def test_it_settles_where_the_vendor_begins_to_queue() -> None:
    """A vendor that works on 30 at once gets a little more, and not a hundred, also after hours."""
    gradient = Gradient(10, 100, 0.0)
    now = run(gradient, 60, bears(30), None)
    assert 30 <= gradient.slots <= 60
    run(gradient, 4 * 3600, bears(30), None, now)
    assert 30 <= gradient.slots <= 60


def test_it_falls_within_seconds_when_latency_rises() -> None:
    """A vendor that stumbles is not pressed on."""
    gradient = Gradient(10, 100, 0.0)
    now = run(gradient, 60, bears(1000), None)
    run(gradient, 6, lambda inside: 3.0, None, now)
    assert gradient.slots <= 20


def test_a_vendor_that_is_slower_for_good_gets_its_slots_back() -> None:
    """At the fewest slots we cannot be the cause, so what it takes there is the new usual."""
    gradient = Gradient(10, 100, 0.0)
    now = run(gradient, 60, bears(1000), None)
    run(gradient, 180, bears(1000, usual_s=0.4), None, now)
    assert gradient.slots == 100


def test_it_does_not_grow_while_the_slots_are_not_needed() -> None:
    """Quick answers to three at a time do not show what the vendor bears."""
    gradient = Gradient(10, 100, 0.0)
    run(gradient, 600, bears(1000), 3)
    assert gradient.slots == 10


def test_it_never_leaves_its_bounds() -> None:
    """Whatever the vendor does, even with answers in no time."""
    gradient = Gradient(5, 20, 0.0)
    now = run(gradient, 60, lambda inside: 0.0, None)
    assert gradient.slots == 20
    run(gradient, 600, lambda inside: 60.0, None, now)
    assert 5 <= gradient.slots <= 20
    fixed = Gradient(7, 7, 0.0)
    run(fixed, 60, bears(3), None)
    assert fixed.slots == 7


def test_a_few_answers_do_not_move_it() -> None:
    """Ten at least, over a second at least."""
    gradient = Gradient(10, 100, 0.0)
    assert not any(gradient.add(0.1, 10, 0.01 * tick) for tick in range(99))
    assert gradient.add(0.1, 10, 1.0)
    assert gradient.slots == 13
    assert not any(gradient.add(0.1, 13, 2.0 + tick) for tick in range(9))
    assert gradient.add(0.1, 13, 99.0)
