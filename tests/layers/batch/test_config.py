"""What is wrong in `batch`, in sentences."""

from typing import Any

import pytest

from sidecar.layers.batch.config import BatchConfig

RIGHT: dict[str, Any] = {"request_items": "records", "answer_items": "results", "failed": "status >= `400`"}


def test_where_the_items_are_and_what_failed_is_enough() -> None:
    """The rest has defaults."""
    assert BatchConfig(**RIGHT).problems() == []
    assert BatchConfig(**RIGHT, id="id", answer_id="ref.id", retryable="status == `429`").problems() == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"request_items": "records[]"}, "request_items"),
        ({"answer_items": ""}, "answer_items"),
        ({"failed": "status >="}, "failed"),
        ({"failed": "x" * 2000}, "failed"),
        ({"retryable": "]"}, "retryable"),
        ({"id": "a b"}, "id"),
        ({"id": "id", "answer_id": "("}, "answer_id"),
        ({"answer_id": "id"}, "answer_id"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(wrong: dict[str, Any], field: str) -> None:
    """One sentence each."""
    assert [name for name, _ in BatchConfig(**RIGHT | wrong).problems()] == [field]
