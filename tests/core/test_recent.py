import pytest

from sidecar.core.recent import Recent


def filled(*lengths: float, size: int = 64) -> Recent:
    """Remember these lengths, in this order."""
    recent = Recent(size)
    for length in lengths:
        recent.add(length)
    return recent


def test_without_a_length_there_is_no_usual_one() -> None:
    """None, and not zero: nobody may take it for "at once"."""
    assert Recent().quantile(0.5) is None
    assert len(Recent()) == 0


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 6.0), (0.95, 10.0), (1.0, 10.0)])
def test_a_quantile_is_one_of_the_lengths_and_never_between_two(share: float, expected: float) -> None:
    """Whatever order they came in."""
    assert filled(4, 1, 9, 2, 10, 3, 8, 5, 7, 6).quantile(share) == expected


def test_one_length_answers_every_question() -> None:
    """The first attempt of a service is all that is known."""
    recent = filled(0.25)
    assert [recent.quantile(share) for share in (0.0, 0.5, 1.0)] == [0.25, 0.25, 0.25]


def test_when_all_places_are_taken_the_oldest_makes_room() -> None:
    """Memory stays flat, and what is long past does not count: two rounds over."""
    recent = filled(9, 9, 1, 2, 3, size=3)
    assert len(recent) == 3
    assert [recent.quantile(share) for share in (0.0, 0.5, 1.0)] == [1, 2, 3]
    for length in (4, 5, 6, 7):
        recent.add(length)
    assert [recent.quantile(share) for share in (0.0, 0.5, 1.0)] == [5, 6, 7]


def test_asking_changes_nothing() -> None:
    """The order in which lengths are forgotten is that of their coming, not of their size."""
    recent = filled(3, 1, 2, size=3)
    recent.quantile(0.5)
    recent.add(5)
    assert recent.quantile(1.0) == 5
    assert recent.quantile(0.0) == 1
    recent.add(6)
    assert recent.quantile(0.0) == 2
