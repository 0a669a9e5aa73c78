from sidecar.auth.secrets.pace import FIRST_RETRY_S, RETRY_MAX_S, Pace


def test_a_store_is_asked_at_its_pace_and_a_little_sooner_by_chance() -> None:
    """Pods that start together do not ask in step, and never later than the ttl says."""
    pace = Pace(300.0, 3600.0)
    pace.begin()
    pace.done(1000.0, 0.0, is_well=True)
    assert pace.due_at == 1300.0
    pace.done(1000.0, 0.999, is_well=True)
    assert 1270.0 <= pace.due_at < 1271.0


def test_a_store_that_fails_is_asked_again_soon_and_then_less_often() -> None:
    """An outage of a second costs a second; one of an hour is not hammered."""
    pace = Pace(300.0, 3600.0)
    waits = []
    for _ in range(9):
        pace.begin()
        pace.done(0.0, 0.0, is_well=False)
        waits.append(pace.due_at)
    assert waits[:3] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    assert waits[-1] == RETRY_MAX_S
    pace.done(0.0, 0.0, is_well=True)
    assert pace.due_at == 300.0


def test_a_quick_pace_stays_quick_in_an_outage() -> None:
    """Files are looked at every second, whether they are there or not."""
    pace = Pace(1.0, float("inf"))
    for _ in range(9):
        pace.done(0.0, 0.0, is_well=False)
    assert pace.due_at == 1.0


def test_who_is_in_a_hurry_while_it_is_asked_is_served_by_the_next_time() -> None:
    """What was read may be what it was before he came."""
    pace = Pace(300.0, 3600.0)
    pace.begin()
    pace.hurry()
    pace.done(1000.0, 0.0, is_well=True)
    assert pace.due_at == 0.0
