import pytest

from sidecar.auth.secrets.vault.lease import NEVER, PAUSE_MAX, REST_MIN, Lease, Pause

HOUR = 3600.0


def lease(seconds: float = HOUR, *, is_renewable: bool = True, chance: float = 0.5) -> Lease:
    """A lease that began at 1000."""
    return Lease(seconds, is_renewable=is_renewable, now=1000.0, chance=chance)


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.6), (0.5, 0.7), (0.999999, 0.8)])
def test_it_is_renewed_at_a_share_of_its_life_with_jitter(chance: float, share: float) -> None:
    """Never at its very end, and not by all pods of a rollout in one second."""
    made = lease(chance=chance)
    assert made.due_at == pytest.approx(1000 + share * HOUR, abs=0.01)
    assert made.next_step == "renew"
    assert made.expires_at == 1000 + HOUR


def test_it_is_over_at_its_end() -> None:
    """The server forgets it then, and so do we."""
    made = lease()
    assert not made.is_over(1000 + HOUR - 0.001)
    assert made.is_over(1000 + HOUR)


def test_a_lease_of_nothing_never_ends() -> None:
    """Vault says 0 of root tokens."""
    made = lease(0)
    assert made.due_at == NEVER
    assert not made.is_over(1e12)


def test_what_is_not_renewable_is_made_anew_ahead() -> None:
    """Batch tokens live once; the new login is there before the old one ends."""
    made = lease(is_renewable=False)
    assert made.next_step == "replace"
    assert made.due_at < made.expires_at


def test_a_renewal_begins_the_life_anew() -> None:
    """From the moment at which it was asked for."""
    made = lease()
    made.renewed(HOUR, is_renewable=True, now=3000.0, chance=0.0)
    assert made.due_at == 3000 + 0.6 * HOUR
    assert made.expires_at == 3000 + HOUR
    assert made.next_step == "renew"


@pytest.mark.parametrize(("granted", "step"), [(0.95 * HOUR, "renew"), (0.8 * HOUR, "replace"), (60.0, "replace")])
def test_a_capped_renewal_leads_to_a_new_login(granted: float, step: str) -> None:
    """At its maximum a token gets less and less; whoever renews on comes to its end in ever smaller steps."""
    made = lease()
    made.renewed(granted, is_renewable=True, now=2000.0, chance=0.0)
    assert made.next_step == step
    assert 2000 < made.due_at < made.expires_at == 2000 + granted


def test_a_rest_that_is_short_is_not_used_up() -> None:
    """Who holds what it made hears of a new one a second or two later, and gives the old one up a little ahead."""
    made = lease()
    made.renewed(REST_MIN - 1, is_renewable=True, now=2000.0, chance=0.0)
    assert (made.next_step, made.due_at, made.expires_at) == ("replace", 2000.0, 2000 + REST_MIN - 1)
    short = lease(10)
    short.renewed(10, is_renewable=True, now=1007.0, chance=0.0)
    assert (short.next_step, short.due_at) == ("renew", 1013.0)


def test_a_renewal_that_gives_nothing_is_a_refusal() -> None:
    """0 means for ever only where it was so from the start."""
    made = lease()
    made.renewed(0, is_renewable=True, now=2000.0, chance=0.0)
    assert made.next_step == "replace"
    assert made.due_at == 2000
    assert made.expires_at == 1000 + HOUR


def test_one_that_another_renewed_begins_anew_and_stays_what_it_is() -> None:
    """An agent keeps its token; what was made under it goes on."""
    made = lease(60)
    made.failed(1050.0, chance=0.5)
    made.restart(HOUR, is_renewable=True, now=1100.0, chance=0.0)
    assert (made.seconds, made.next_step, made.due_at, made.expires_at) == (
        HOUR,
        "renew",
        1100 + 0.6 * HOUR,
        1100 + HOUR,
    )


def test_a_refused_renewal_leads_to_a_login_at_once() -> None:
    """What is held may be good until its end, or not; nobody waits to see."""
    made = lease()
    made.refused(2000.0)
    assert (made.next_step, made.due_at) == ("replace", 2000.0)


def test_failures_put_the_step_off_and_leave_the_end_where_it_is() -> None:
    """A valid login is never thrown away because the server is away."""
    made = lease()
    waits = []
    now = made.due_at
    for _ in range(9):
        made.failed(now, chance=0.999999)
        waits.append(made.due_at - now)
        now = made.due_at
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60], abs=0.01)
    assert made.expires_at == 1000 + HOUR
    made.renewed(HOUR, is_renewable=True, now=now, chance=0.0)
    made.failed(now, chance=0.999999)
    assert made.due_at - now == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999999])
def test_a_pause_keeps_half_of_itself_from_chance(chance: float) -> None:
    """So that pods come apart, and none asks at once again."""
    pause = Pause()
    for expected in (1.0, 2.0, 4.0):
        pause.begin(100.0, chance)
        assert expected / 2 <= pause.ends_at - 100 <= expected
    pause.end()
    assert pause.ends_at < 0
    pause.begin(100.0, chance)
    assert pause.ends_at <= 101


def test_a_pause_has_an_end_after_any_number_of_failures() -> None:
    """A server that was away for a day is asked a minute after it is back."""
    pause = Pause()
    for _ in range(100_000):
        pause.begin(0.0, 0.999999)
    assert pause.ends_at <= PAUSE_MAX
