from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.secret import SecretRef
from sidecar.core.units import Duration, Rate, Rates, Size

UNITS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
NUMBERS = st.decimals(0, 10**6, places=3).map(lambda number: format(number, "f"))


@given(NUMBERS, st.sampled_from(sorted(UNITS)))
def test_a_duration_means_what_is_written_and_is_shown_so_that_it_reads_the_same(number: str, unit: str) -> None:
    """To the microsecond, which is finer than any timer."""
    duration = Duration.parse(number + unit)
    assert duration == pytest.approx(float(Decimal(number) * UNITS[unit]), abs=1e-6, rel=1e-12)
    assert Duration.parse(str(duration)) == pytest.approx(duration, abs=1e-6, rel=1e-12)


@given(st.integers(0, 2**53))
def test_a_size_is_shown_so_that_it_reads_the_same(count: int) -> None:
    """Exactly."""
    assert Size.parse(str(Size(count))) == count


@given(st.one_of(st.text(), st.none(), st.integers(), st.floats(), st.booleans(), st.lists(st.text())))
def test_anything_else_is_refused_with_a_sentence(given_value: object) -> None:
    """ValueError and no other: it becomes one line of `sidecar check`."""
    for kind in (Duration, Rate, Rates, Size, SecretRef):
        try:
            kind.parse(given_value)
        except ValueError as refused:
            assert "; write a " in str(refused)  # noqa: PT017
