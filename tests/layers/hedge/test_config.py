"""What is wrong in `hedge`, in sentences."""

from typing import Any

import pytest

from sidecar.core.recent import Recent
from sidecar.layers.hedge.config import SAMPLES_MAX, HedgeConfig


def test_everything_has_a_default() -> None:
    """`hedge = {}` turns it on."""
    assert HedgeConfig().problems() == []


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"quantile": 0.4}, "quantile"),
        ({"quantile": 1.0}, "quantile"),
        ({"samples_min": 0}, "samples_min"),
        ({"samples_min": SAMPLES_MAX + 1}, "samples_min"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(section: dict[str, Any], field: str) -> None:
    """One sentence each."""
    assert [name for name, _ in HedgeConfig(**section).problems()] == [field]


def test_so_many_samples_are_really_remembered() -> None:
    """Otherwise a `samples_min` would be taken that is never reached."""
    recent = Recent()
    for _ in range(2 * SAMPLES_MAX):
        recent.add(1.0)
    assert len(recent) == SAMPLES_MAX
