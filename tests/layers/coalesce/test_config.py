"""What is wrong in `coalesce`, in sentences."""

from typing import Any

import pytest

from sidecar.core.units import Size
from sidecar.layers.coalesce.config import CoalesceConfig


def test_everything_has_a_default() -> None:
    """`coalesce = {}` turns it on."""
    assert CoalesceConfig().problems() == []
    assert CoalesceConfig(headers=("Accept-Language",)).problems() == []


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"headers": ("Accept Language",)}, "headers"),
        ({"headers": ("",)}, "headers"),
        ({"body_max": Size(0)}, "body_max"),
        ({"waiting_max": 0}, "waiting_max"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(section: dict[str, Any], field: str) -> None:
    """One sentence each."""
    assert [name for name, _ in CoalesceConfig(**section).problems()] == [field]
