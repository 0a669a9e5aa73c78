from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.alarm import Alarm
from tests.kit.clock import ManualClock

# Eighths of a second are exact as floats.
EIGHTHS = st.integers(0, 80).map(lambda eighths: eighths / 8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), EIGHTHS),
        st.tuples(st.just("move"), EIGHTHS),
        st.tuples(st.sampled_from(["clear", "stop"]), st.just(0.0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_rings_once_for_each_setting_and_exactly_at_its_instant(steps: list[tuple[str, float]]) -> None:
    """Against a model that knows only the last setting; and it never has more than one timer."""
    clock = ManualClock()
    rang: list[float] = []
    expected: list[float] = []
    due_at: float | None = None
    alarm = Alarm(clock, lambda: rang.append(clock.now()))
    for step, seconds in steps:
        if step == "set":
            due_at = clock.now() + seconds
            alarm.set(due_at)
        elif step == "clear":
            due_at = None
            alarm.clear()
        elif step == "stop":
            due_at = None
            alarm.stop()
            assert clock.pending == 0
        else:
            clock.tick(seconds)
            if due_at is not None and due_at <= clock.now():
                expected.append(due_at)
                due_at = None
        assert rang == expected
        assert clock.pending <= 1
    clock.tick(1000)
    assert rang == expected + ([due_at] if due_at is not None else [])
    assert clock.pending == 0
