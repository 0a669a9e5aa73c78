"""What is wrong in the section is said in words."""

from typing import Any

import pytest

from sidecar.core.units import Duration
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig


def test_the_defaults_are_the_contracts() -> None:
    """A fifth of at least ten calls in half a minute, for server errors."""
    config = CircuitBreakerConfig()
    assert config.problems() == []
    assert (config.failure_rate, config.calls_min, config.window) == (0.2, 10, Duration(30))
    assert 500 in config.statuses
    assert 599 in config.statuses
    assert 429 not in config.statuses


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"failure_rate": 0.0}, "failure_rate", "above 0"),
        ({"failure_rate": 1.1}, "failure_rate", "not a share"),
        ({"failure_rate": float("nan")}, "failure_rate", "not a share"),
        ({"slow_rate": 2.0, "slow_after": Duration(1)}, "slow_rate", "not a share"),
        ({"slow_rate": 0.5}, "slow_rate", "without slow_after"),
        ({"slow_after": Duration(2)}, "slow_after", "without slow_rate"),
        ({"open_max": Duration(10)}, "open_max", "shorter than open_for = 30s"),
    ],
)
def test_each_problem_names_its_field(settings: dict[str, Any], field: str, words: str) -> None:
    """And what to write."""
    ((found, sentence),) = CircuitBreakerConfig(**settings).problems()
    assert found == field
    assert words in sentence
