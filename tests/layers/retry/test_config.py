import pytest

from sidecar.core.units import Duration
from sidecar.layers.retry.config import RetryConfig
from tests.layers.retry.trying import statuses


def test_the_defaults_are_those_of_the_contract() -> None:
    """Three attempts, 500 ms doubled up to 10 s, a fifth of extra attempts and three a second, 1 MiB kept."""
    config = RetryConfig()
    assert config.attempts_max == 3
    assert (config.backoff, config.backoff_max) == (Duration(0.5), Duration(10))
    assert config.statuses == statuses(408, 425, 429, 500, 502, 503, 504)
    assert (config.budget, config.budget_min, config.replay_max) == (0.2, 3, 2**20)
    assert config.unprocessed == statuses()
    assert config.problems() == []


@pytest.mark.parametrize("budget", [-0.1, 1.1, 20.0])
def test_a_budget_is_a_share(budget: float) -> None:
    """Whoever writes 20 means 0.2."""
    [(field, sentence)] = RetryConfig(budget=budget).problems()
    assert field == "budget"
    assert f"{budget:g} is not a share" in sentence


@pytest.mark.parametrize("budget", [0.0, 1.0])
def test_none_and_one_each_are_shares(budget: float) -> None:
    """Both ends of the range are meant by somebody."""
    assert RetryConfig(budget=budget).problems() == []


def test_a_first_wait_over_the_cap_is_a_slip() -> None:
    """One of the two numbers would mean nothing."""
    [(field, sentence)] = RetryConfig(backoff=Duration(20)).problems()
    assert field == "backoff"
    assert "20s is longer than backoff_max (10s)" in sentence
