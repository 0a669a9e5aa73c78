"""A line when a limit is nearly used up: once."""

from sidecar.layers.rate_limit.near import Near


def test_a_crossing_is_told_once_until_it_was_well_below_again() -> None:
    """Between 70 and 80 percent it is still the same crossing; and at most one line a minute."""
    near = Near(0.8)
    told = [
        (second, bool(near.look([("10000/day", ratio)], 1000.0 + second)))
        for second, ratio in [
            (0, 0.79),
            (1, 0.8),
            (2, 0.95),
            (3, 0.71),
            (4, 0.85),
            (5, 0.69),
            (6, 0.9),
            (70, 0.6),
            (71, 0.9),
        ]
    ]
    assert [second for second, is_told in told if is_told] == [1, 71]


def test_windows_are_told_apart_and_forgotten_when_they_are_gone() -> None:
    """A vendor that invents names leaves nothing behind."""
    near = Near(0.8)
    assert near.look([("a", 0.9), ("b", 0.1)], 1000.0) == [("a", 0.9)]
    assert near.look([("b", 0.9)], 1001.0) == [("b", 0.9)]
    assert near._near == {"b"}
    assert set(near._told_at) == {"b"}


def test_it_asks_to_be_looked_at_once_a_second() -> None:
    """The hot path compares one number."""
    near = Near(0.8)
    near.look([], 1000.0)
    assert near.look_at == 1001.0
