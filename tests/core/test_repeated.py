"""What is told of requests for which nobody needs a key: arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.repeated import EVERY, FIRST, KINDS_MAX, OVER_AFTER, Repeated


def test_a_flood_is_a_few_lines_and_then_one_a_minute_that_counts() -> None:
    """Many a second, for an hour; nothing is left out of the count."""
    repeated = Repeated()
    said = [told for at in range(3600 * 64) if (told := repeated.came("wrong", at / 64)) is not None]
    assert len(said) == FIRST + 3600 / EVERY - 1
    assert said[:FIRST] == [{}] * FIRST
    assert {told["times"] for told in said[FIRST + 1 :]} == {64 * EVERY}


def test_reasons_do_not_hide_each_other() -> None:
    """One that begins within another's flood is told at once; numbers make no reason of its own."""
    repeated = Repeated()
    assert [repeated.came(f"signed {age} s ago", 0.0) for age in range(FIRST + 2)] == [{}] * FIRST + [None] * 2
    assert repeated.came("no signature", 0.0) == {}


def test_what_was_over_begins_anew() -> None:
    """With what was not told before."""
    repeated = Repeated()
    for _ in range(FIRST + 3):
        repeated.came("wrong", 0.0)
    assert [repeated.came("wrong", OVER_AFTER) for _ in range(2)] == [{"times": 4}, {}]


def test_no_more_kinds_are_kept_than_so_many() -> None:
    """The others are one kind together."""
    repeated = Repeated()
    told = [repeated.came("x" * number, 0.0) for number in range(1, 1000)]
    assert len([said for said in told if said is not None]) == KINDS_MAX + FIRST
    assert len(repeated._kinds) == KINDS_MAX + 1


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from("abc")), max_size=200))
def test_each_is_told_or_counted(steps: list[tuple[float, str]]) -> None:
    """At the end as many were told as came, but for those of the last interval."""
    repeated, now = Repeated(), 0.0
    told = dict.fromkeys("abc", 0)
    for pause, reason in steps:
        now += pause
        said = repeated.came(reason, now)
        told[reason] += 0 if said is None else said.get("times", 1)
    for reason, count in told.items():
        said = repeated.came(reason, now + OVER_AFTER)
        assert said is not None
        assert count + said.get("times", 1) == 1 + sum(each == reason for _, each in steps)
