"""Counts over a window: exact to the slice, and nothing is left of what is too old."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.rolling import RollingCounts

KINDS = 2
SLICES = 5
WINDOW = 10.0  # So a slice is 2 seconds, which binary fractions hold exactly.

STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 1.75, 2.0, 3.0, 9.75, 10.0, 12.0, 1e6]),
        st.integers(0, KINDS - 1),
        st.integers(1, 3),
        st.booleans(),
    ),
    max_size=60,
)


class Naive:
    """The same by a list of instants."""

    def __init__(self, at: float) -> None:
        self.started_at = at
        self.added: list[tuple[float, int]] = []

    def turn(self, at: float) -> int:
        """The number of the slice in which `at` lies."""
        return int((at - self.started_at) // (WINDOW / SLICES))

    def total(self, kind: int, now: float) -> int:
        """Count what lies in the running slice and those before it."""
        oldest = self.turn(now) - SLICES
        return sum(1 for at, which in self.added if which == kind and self.turn(at) > oldest)


@given(steps=STEPS, started_at=st.sampled_from([0.0, 1000.0, 1000.75]))
def test_the_counts_are_those_of_a_list_of_instants(
    steps: list[tuple[float, int, int, bool]], started_at: float
) -> None:
    """Whatever is added, taken back and waited for; and looking from another thread tells the same."""
    now = started_at
    counts, naive = RollingCounts(WINDOW, KINDS, now, SLICES), Naive(now)
    for passed, kind, count, is_taken_back in steps:
        now += passed
        assert [counts.peek(each, now) for each in range(KINDS)] == [naive.total(each, now) for each in range(KINDS)]
        if is_taken_back and naive.added:
            at, which = naive.added.pop(len(naive.added) // 2)
            counts.take_back(which, at, now)
        else:
            counts.add(kind, now, count)
            naive.added += [(now, kind)] * count
        assert [counts.total(each, now) for each in range(KINDS)] == [naive.total(each, now) for each in range(KINDS)]


def test_the_count_falls_slice_by_slice() -> None:
    """What came in the first slice goes when the window has passed, and not with the next."""
    counts = RollingCounts(10, 1, 1000.0, slices=10)
    counts.add(0, 1000.5)
    counts.add(0, 1001.5)
    assert counts.total(0, 1009.99) == 2
    assert counts.total(0, 1010.0) == 1
    assert counts.total(0, 1010.99) == 1
    assert counts.total(0, 1011.0) == 0


def test_a_long_silence_clears_the_window() -> None:
    """A window that never clears kept circuits open for ever elsewhere; a clock that jumps by days is no work."""
    counts = RollingCounts(30, 2, 0.0)
    counts.add(1, 0.0, 1000)
    assert counts.total(1, 1e9) == 0
    counts.add(1, 1e9)
    assert counts.total(1, 1e9) == 1


def test_each_kind_is_counted_by_itself() -> None:
    """They lie side by side in one ring."""
    counts = RollingCounts(30, 3, 0.0)
    for kind in range(3):
        counts.add(kind, 4.0, kind + 1)
    assert [counts.total(kind, 5.0) for kind in range(3)] == [1, 2, 3]


def test_clearing_forgets_everything() -> None:
    """A circuit that closed begins anew."""
    counts = RollingCounts(30, 1, 0.0)
    counts.add(0, 4.0, 7)
    counts.clear()
    assert counts.total(0, 4.0) == 0
    assert counts.peek(0, 40.0) == 0


def test_edges_of_slices_that_no_float_holds_exactly_do_not_confuse_it() -> None:
    """A third of a second added up three thousand times falls to either side of its edge, by one and no more."""
    counts = RollingCounts(1, 1, 0.1, slices=3)
    now = 0.1
    for turn in range(1, 3001):
        counts.add(0, now)
        assert min(turn, 2) <= counts.total(0, now) <= 4
        now += 1 / 3
