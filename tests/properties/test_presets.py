"""Presets under random tables: what the service says wins, and what is in force can be written down and read again."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.presets import laid

KEYS = st.sampled_from(["kind", "auth", "idempotency", "header", "field", "set", "X-A", "x-a", "a"])
VALUES = st.recursive(
    st.sampled_from(["x", "y", 1, False, True]) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)


def plain(table: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Give every value that is no table, by its path."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in table.items():
        found |= plain(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}
    return found


@given(TABLES, TABLES)
def test_every_value_of_the_service_is_in_force_and_no_other_comes_from_nowhere(
    below: dict[str, Any], own: dict[str, Any]
) -> None:
    """Whatever lies under it."""
    said, known, both = plain(own), plain(below), plain(laid(below, own))
    assert said.items() <= both.items()
    assert all(path in said or known[path] == value for path, value in both.items())


@given(TABLES, TABLES)
def test_what_is_in_force_stays_the_same_when_it_is_laid_over_the_preset_again(
    below: dict[str, Any], own: dict[str, Any]
) -> None:
    """`show config` writes it down together with the provider's name."""
    both = laid(below, own)
    assert laid(below, both) == both


@given(TABLES)
def test_nothing_over_a_preset_is_the_preset_and_nothing_under_a_service_the_service(table: dict[str, Any]) -> None:
    """The ends of the scale."""
    assert laid(table, {}) == table
    assert laid({}, table) == table
