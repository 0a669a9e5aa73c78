import pytest

from sidecar.auth.secrets.vault.lease import NEVER, Lease
from sidecar.auth.secrets.vault.leased import Leased, Place

HOUR = 3600.0
ID = "database/creds/readonly/made-up-lease-id"


def lease(seconds: float = HOUR, *, is_renewable: bool = True) -> Lease:
    """A lease that began at 1000."""
    return Lease(seconds, is_renewable=is_renewable, now=1000.0, chance=0.5)


def leased(own: Lease | None = None, login: Lease | None = None) -> Leased:
    """A credential."""
    return Leased(b'{"password":"made-up"}', ID, own or lease(), login or lease(0))


def place(credential: Leased | None = None) -> Place:
    """A place with a credential."""
    made = Place("creds/readonly", 1000.0)
    made.made(credential or leased())
    return made


def test_its_version_names_the_lease_and_tells_nothing() -> None:
    """It stands in log lines; the same lease has the same one in every process."""
    version = leased().secret.version
    assert version == leased().secret.version
    assert version != Leased(b"{}", ID + "x", lease(), lease(0)).secret.version
    assert version not in ID
    assert "made-up" not in version


@pytest.mark.parametrize(("seconds", "ahead"), [(HOUR, 3.0), (60, 3.0), (10, 1.0), (2, 0.2)])
def test_it_is_given_up_a_little_before_its_end(seconds: float, ahead: float) -> None:
    """No call begins with what ends under it; a short lease is not eaten up by that."""
    made = leased(lease(seconds))
    assert not made.is_over(1000 + seconds - ahead - 0.01)
    assert made.is_over(1000 + seconds - ahead + 0.01)


def test_it_ends_with_the_login_under_which_it_was_made() -> None:
    """Whatever its own lease says; a renewed login carries it on."""
    login = lease(60)
    made = leased(login=login)
    assert made.is_over(1058)
    login.renewed(60, is_renewable=True, now=1040.0, chance=0.5)
    assert not made.is_over(1058)
    assert made.is_over(1098)


def test_it_is_renewed_while_that_lasts_and_then_replaced() -> None:
    """A capped renewal says that the next one would give nothing."""
    kept = place()
    assert (kept.next_step(2000), kept.due_at) == ("renew", 1000 + 0.7 * HOUR)
    assert kept.leased is not None
    kept.leased.lease.renewed(600, is_renewable=True, now=3520.0, chance=0.5)
    assert (kept.next_step(3600), kept.due_at) == ("replace", 3520 + 0.7 * 600)
    assert kept.current(3600) is kept.leased.secret


def test_what_is_over_is_replaced_and_not_renewed() -> None:
    """The server has forgotten it, or does so while it is asked."""
    kept = place()
    assert kept.next_step(1000 + HOUR) == "replace"
    assert kept.current(1000 + HOUR) is None


def test_a_new_login_has_it_replaced_at_once() -> None:
    """It is good until the old login ends, which is ahead."""
    login = lease()
    kept = place(leased(login=login))
    assert not kept.follow(login, 2000.0)
    assert kept.due_at > 2000
    assert kept.follow(lease(), 2000.0)
    assert (kept.next_step(2000), kept.due_at) == ("replace", 2000.0)
    assert kept.current(2000) is not None
    assert not Place("creds/other", 1000.0).follow(login, 2000.0)


def test_failures_put_the_step_off_with_and_without_a_credential() -> None:
    """A server that is away is not asked in a circle, and the end stays where it is."""
    for kept in (place(), Place("creds/readonly", 1000.0)):
        pauses = []
        now = 2000.0
        for _ in range(8):
            kept.failed("away", now, chance=0.999999)
            pauses.append(kept.due_at - now)
            now = kept.due_at
        assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], abs=0.01)
        assert kept.problem == "away"
        kept.made(leased(lease(0)))
        assert (kept.problem, kept.due_at) == ("", NEVER)
