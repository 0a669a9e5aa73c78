"""What no policy may be set to: settings with which it would never end, never forget, or never let anybody pass."""

from pathlib import Path

import pytest

from sidecar.config.load import load
from sidecar.config.problem import ConfigError
from sidecar.layers.service import ServiceConfig


def loaded(tmp_path: Path, setting: str) -> ServiceConfig:
    """Load a config with one service that has this setting."""
    file = tmp_path / "sidecar.toml"
    file.write_text(f'[services.crm]\nbase_url = "https://api.crm.example"\n{setting}\n')
    return load(file).services["crm"].config


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ("retry = { attempts_max = -1 }", "retry.attempts_max"),  # Dapr: for ever, and by default.
        ("retry = { attempts_max = 0 }", "retry.attempts_max"),
        ("retry = { budget = 20 }", "retry.budget"),
        ("retry = { budget_min = -1 }", "retry.budget_min"),
        ('retry = { backoff = "20s" }', "retry.backoff"),
        ('circuit_breaker = { window = "0s" }', "circuit_breaker.window"),  # Dapr: never forgets.
        ("circuit_breaker = { calls_min = 0 }", "circuit_breaker.calls_min"),
        ('circuit_breaker = { open_for = "0s" }', "circuit_breaker.open_for"),
        ("circuit_breaker = { probes_max = 0 }", "circuit_breaker.probes_max"),
        ("circuit_breaker = { successes = 0 }", "circuit_breaker.successes"),
        ("circuit_breaker = { failure_rate = 20 }", "circuit_breaker.failure_rate"),
        ("bulkhead = { slots = 0 }", "bulkhead.slots"),
        ("bulkhead = { waiting_max = -1 }", "bulkhead.waiting_max"),
        ('rate_limit = { rate = "0/s" }', "rate_limit.rate"),
        ('rate_limit = { rate = "1/s", burst = 0 }', "rate_limit.burst"),
        ('rate_limit = { rate = "1/s", waiting_max = -1 }', "rate_limit.waiting_max"),
        ("cost = 0", "cost"),
        ('hints = { hint_max = "0s" }', "hints.hint_max"),
    ],
)
def test_a_policy_cannot_be_set_so_that_it_never_ends_or_lets_nobody_pass(
    setting: str, where: str, tmp_path: Path
) -> None:
    """Refused when the config is read, with the place and what would be right."""
    with pytest.raises(ConfigError, match=f"services.crm.{where}: "):
        loaded(tmp_path, setting)


def test_by_default_everything_has_an_end(tmp_path: Path) -> None:
    """Three attempts, a budget, a window that forgets, a bounded line, hints that hold for fifteen minutes at most."""
    config = loaded(tmp_path, "")
    assert config.retry
    assert (config.retry.attempts_max, config.retry.budget) == (3, 0.2)
    assert config.circuit_breaker
    assert float(config.circuit_breaker.window) == 30
    assert float(config.circuit_breaker.open_max) < 3600
    assert config.bulkhead
    assert (config.bulkhead.slots, config.bulkhead.waiting_max) == (100, 100)
    assert config.hints
    assert float(config.hints.hint_max) == 900
