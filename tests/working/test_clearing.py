"""What waits, against its bounds."""

import pytest

from sidecar.store.backlog import Tally
from sidecar.working.clearing import used_ratio


@pytest.mark.parametrize(
    ("states", "size", "ratio"),
    [
        ({}, 0, 0.0),
        ({"waiting": 50, "running": 30, "dead": 900}, 10, 0.8),  # What has ended is not counted by the bounds.
        ({"waiting": 1}, 950, 0.95),
        ({"waiting": 120}, 10, 1.2),  # A reload made the bound smaller.
    ],
)
def test_the_nearer_bound_counts(states: dict[str, int], size: int, ratio: float) -> None:
    """By number or by bytes: whichever is reached first refuses."""
    assert used_ratio(Tally(states, size, None), length_max=100, bytes_max=1000) == ratio
