"""When a token is renewed, and when it is tried again."""

import math

import pytest

from sidecar.auth.oauth.renewal import (
    BACKOFF,
    BACKOFF_MAX,
    DROP_PAUSE_MAX,
    LIFE_MAX,
    SPREAD,
    TOLD_MAX,
    WAIT_MIN,
    Renewal,
)

ALMOST_ONE = 1 - 2**-53
NOW = 1000.0


def renewal(chance: float = 0.0) -> Renewal:
    """Make one that draws always the same."""
    return Renewal(lambda: chance)


@pytest.mark.parametrize(
    ("life", "lead"),
    [(86400, 300), (3600, 300), (1500, 300), (1000, 200), (300, 60), (60, 12), (10, 2), (1, 0.2), (0.01, 0.002)],
)
def test_a_token_is_renewed_five_minutes_ahead_or_a_fifth_of_its_life(life: float, lead: float) -> None:
    """A margin longer than the life would renew on every call."""
    machine = renewal()
    machine.succeeded(NOW, NOW + life)
    assert machine.renew_at == pytest.approx(NOW + life - lead)
    assert machine.due_at() == machine.renew_at
    assert machine.expires_at == NOW + life


@pytest.mark.parametrize("life", [86400, 3600, 60, 1])
def test_chance_makes_it_earlier_and_never_later(life: float) -> None:
    """Pods that started together do not ask together; at most half of the lead earlier."""
    latest, earliest = renewal(0.0), renewal(ALMOST_ONE)
    for machine in (latest, earliest):
        machine.succeeded(NOW, NOW + life)
    lead = NOW + life - latest.renew_at
    assert NOW + life - earliest.renew_at == pytest.approx(lead * (1 + SPREAD))
    assert earliest.renew_at > NOW + life * 0.69


@pytest.mark.parametrize("life", [math.inf, math.nan, 0.0, -5.0, LIFE_MAX * 2, 1e300])
def test_a_life_that_nobody_knows_has_no_timer(life: float) -> None:
    """Missing, zero, negative, absurd: the token is used until the vendor refuses it."""
    machine = renewal()
    machine.succeeded(NOW, NOW + life)
    assert machine.expires_at == math.inf
    assert machine.due_at() == math.inf


def test_failures_wait_longer_and_longer_up_to_a_minute() -> None:
    """Each wait is at least half of what it may be, so that chance never makes it nothing."""
    waits = []
    for chance in (0.0, ALMOST_ONE):
        machine = renewal(chance)
        drawn = []
        for _ in range(40):
            machine.failed(NOW)
            drawn.append(machine.next_at - NOW)
        assert drawn == sorted(drawn)
        waits.append(drawn)
    assert waits[0][:4] == [BACKOFF / 2, BACKOFF, BACKOFF * 2, BACKOFF * 4]
    assert waits[0][-1] == BACKOFF_MAX / 2
    assert waits[1][-1] == pytest.approx(BACKOFF_MAX)


def test_what_no_repetition_mends_is_repeated_rarely() -> None:
    """A wrong client secret is asked about once a minute, not twenty times."""
    machine = renewal(ALMOST_ONE)
    machine.failed(NOW, is_final=True)
    assert machine.next_at == pytest.approx(NOW + BACKOFF_MAX)


def test_the_endpoint_may_say_when_but_not_tomorrow() -> None:
    """Its Retry-After makes the wait longer, never shorter, and is bounded."""
    for told, wait in ((7.0, 7.0), (0.001, BACKOFF / 2), (1e9, TOLD_MAX), (-3.0, BACKOFF / 2)):
        machine = renewal()
        machine.failed(NOW, retry_after=told)
        assert machine.next_at - NOW == wait


def test_a_success_forgets_the_failures() -> None:
    """The next outage begins with short waits again."""
    machine = renewal()
    for _ in range(10):
        machine.failed(NOW)
    machine.succeeded(NOW, NOW + 3600)
    assert (machine.failures, machine.next_at) == (0, -math.inf)
    machine.failed(NOW + 3600)
    assert machine.next_at - NOW - 3600 == BACKOFF / 2


def test_while_the_token_is_good_the_waits_never_step_over_its_end() -> None:
    """An endpoint that comes back shortly before the end is found; the token is kept all the time."""
    machine = renewal(ALMOST_ONE)
    machine.succeeded(NOW, NOW + 3600)
    now = machine.renew_at
    tries = 0
    while machine.due_at() < math.inf:
        now = max(now, machine.due_at())
        machine.failed(now)
        assert machine.expires_at == NOW + 3600
        tries += 1
    assert NOW + 3600 - now <= 2 * WAIT_MIN
    assert tries < 30


def test_a_changed_secret_ends_the_wait() -> None:
    """What it failed for may be mended."""
    machine = renewal()
    machine.failed(NOW, is_final=True)
    machine.encourage()
    assert (machine.failures, machine.next_at) == (0, -math.inf)


def test_dropping_gets_rarer_with_each_drop() -> None:
    """A path that refuses every token costs a handful of token requests an hour, not one per call."""
    machine = renewal()
    drops = []
    for tenth in range(36_000):  # An hour of ten calls a second, each of them refused.
        now = NOW + tenth / 10
        if machine.drop(now):
            drops.append(now - NOW)
            machine.succeeded(now, now + 3600)
    assert drops[:5] == pytest.approx([0, 1, 3, 7, 15])
    assert len(drops) < 16


def test_after_a_long_peace_dropping_begins_anew() -> None:
    """A revocation a day later has nothing to do with the last one."""
    machine = renewal()
    for second in range(1000):
        machine.drop(NOW + second)
    later = NOW + 1000 + 2 * DROP_PAUSE_MAX
    assert machine.drop(later)
    assert not machine.drop(later + 0.9)
    assert machine.drop(later + 1.1)


def test_a_dropped_token_is_not_renewed_ahead() -> None:
    """It is replaced at once, by who dropped it; and its end is now."""
    machine = renewal()
    machine.succeeded(NOW, NOW + 3600)
    assert machine.drop(NOW + 1)
    assert machine.expires_at == -math.inf
    assert machine.due_at() == math.inf
