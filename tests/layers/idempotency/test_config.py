"""What is wrong in `idempotency`, in sentences."""

from typing import Any

import pytest

from sidecar.core.units import Duration, Size
from sidecar.layers.idempotency.config import IdempotencyConfig


@pytest.mark.parametrize("place", [{"header": "PayPal-Request-Id"}, {"field": "nonce"}, {"query": "requestid"}])
def test_one_place_is_enough(place: dict[str, str]) -> None:
    """All else has a default."""
    assert IdempotencyConfig(**place).problems() == []  # type: ignore[arg-type]


def test_replay_needs_no_place() -> None:
    """The app's key goes on as it is, and none is made."""
    section = IdempotencyConfig(replay=Duration(60), wait=True)
    assert section.problems() == []
    assert not section.has_place


@pytest.mark.parametrize(
    ("section", "field", "sentence"),
    [
        ({}, "header", "exactly one"),
        ({"header": "X-Key", "query": "key"}, "header", "exactly one"),
        ({"header": "X Key"}, "header", "not a header's name"),
        ({"header": "Content-Length"}, "header", "meaning of its own"),
        ({"header": "Connection"}, "header", "meaning of its own"),
        ({"field": ""}, "field", "has a name"),
        ({"query": "a&b"}, "query", "plain parameter name"),
        ({"field": "nonce", "key_max": 15}, "key_max", "16 or more"),
        ({"field": "nonce", "body_max": Size(0)}, "body_max", "1MiB"),
        ({"field": "nonce", "methods": ("post",)}, "methods", "capitals"),
        ({"field": "nonce", "methods": ()}, "methods", "no method"),
        ({"header": "X-Key", "query": "key", "replay": Duration(60)}, "header", "exactly one"),
        ({"replay": Duration(0)}, "replay", "24h"),
        ({"field": "nonce", "wait": True}, "wait", "replay"),
        ({"field": "nonce", "answer_max": Size(1)}, "answer_max", "replay"),
        ({"replay": Duration(60), "answer_max": Size(2**30)}, "answer_max", "16MiB"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(section: dict[str, Any], field: str, sentence: str) -> None:
    """At load, and not when the first payment is made twice."""
    problems = IdempotencyConfig(**section).problems()
    assert [name for name, _ in problems] == [field]
    assert sentence in problems[0][1]
