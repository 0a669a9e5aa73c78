import math

import pytest

from sidecar.upstream.hints.numbers import as_number, read_number


@pytest.mark.parametrize(
    ("value", "number"), [(b"0", 0), (b"5000", 5000), (b" 12 ", 12), (b"1.5", 1.5), (b"9" * 15, 10**15 - 1)]
)
def test_a_count_is_a_plain_number(value: bytes, number: float) -> None:
    """Whole or decimal, from 0 on."""
    assert read_number(value) == number


@pytest.mark.parametrize(
    "value",
    [b"", b" ", b"-1", b"+1", b"1e5", b"nan", b"inf", b"1_0", b"0x1", b"1.", b".1", b"1 2", b"9" * 16, b"9" * 10**5,
     b"1,000", b"\xb2", "٣".encode(), b"1.5.5"],
)  # fmt: skip
def test_everything_else_is_none(value: bytes) -> None:
    """However Python would read it."""
    assert read_number(value) is None


@pytest.mark.parametrize(
    ("found", "number"),
    [(5, 5.0), (0.5, 0.5), ("12", 12.0), (True, None), (-1, None), (math.nan, None), (math.inf, None), (10**20, None),
     (10**400, None), ([1], None), ({}, None), (None, None), ("x", None), ("\ud800", None)],
)  # fmt: skip
def test_a_count_in_json_is_held_to_the_same(found: object, number: float | None) -> None:
    """JSON has no bounds for numbers either."""
    assert as_number(found) == number
