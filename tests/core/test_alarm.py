from sidecar.core.alarm import Alarm
from tests.kit.clock import ManualClock


class Rings:
    """An alarm, and the instants at which it rang."""

    def __init__(self, clock: ManualClock) -> None:
        self.at: list[float] = []
        self.alarm = Alarm(clock, lambda: self.at.append(clock.now()))


def test_it_rings_once_at_its_instant(clock: ManualClock) -> None:
    """Not before, and not again."""
    rings = Rings(clock)
    rings.alarm.set(1005)
    clock.tick(4.9)
    assert rings.at == []
    clock.tick(0.1)
    clock.tick(100)
    assert rings.at == [1005]


def test_moving_it_on_arms_no_new_timer(clock: ManualClock) -> None:
    """The point of an alarm: a limit that moves on with every call costs one timer, not one per call."""
    rings = Rings(clock)
    for step in range(100):
        rings.alarm.set(1005 + step * 0.01)
        assert clock.pending == 1
        assert clock.next_at == 1005
    clock.tick(100)
    assert rings.at == [1005.99]


def test_moving_it_forward_rings_earlier(clock: ManualClock) -> None:
    """A shorter limit counts at once; the longer timer is taken down."""
    rings = Rings(clock)
    rings.alarm.set(1005)
    rings.alarm.set(1001)
    assert clock.pending == 1
    clock.tick(10)
    assert rings.at == [1001]


def test_a_cleared_alarm_does_not_ring_and_can_be_set_again(clock: ManualClock) -> None:
    """The timer that stands finds nothing to do, and serves the next setting."""
    rings = Rings(clock)
    rings.alarm.set(1005)
    rings.alarm.clear()
    assert clock.pending == 1
    clock.tick(6)
    assert rings.at == []
    rings.alarm.set(1007)
    clock.tick(1)
    assert rings.at == [1007]


def test_a_cleared_alarm_that_is_set_again_before_its_timer_rings_in_time(clock: ManualClock) -> None:
    """Setting after clearing looks at the standing timer, which may ring first and then arms for the rest."""
    rings = Rings(clock)
    rings.alarm.set(1005)
    rings.alarm.clear()
    rings.alarm.set(1009)
    clock.tick(100)
    assert rings.at == [1009]


def test_a_stopped_alarm_leaves_no_timer(clock: ManualClock) -> None:
    """Whose owner is gone must not be kept alive by a timer."""
    rings = Rings(clock)
    rings.alarm.set(1005)
    rings.alarm.stop()
    assert clock.pending == 0
    clock.tick(10)
    assert rings.at == []


def test_it_may_be_set_again_while_it_rings(clock: ManualClock) -> None:
    """A limit that renews itself, such as a keep-alive, sets its alarm in its own ringing."""
    at: list[float] = []

    def ring() -> None:
        at.append(clock.now())
        alarm.set(clock.now() + 1)

    alarm = Alarm(clock, ring)
    alarm.set(1001)
    clock.tick(3.5)
    assert at == [1001, 1002, 1003]
