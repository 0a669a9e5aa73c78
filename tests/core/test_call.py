import pytest

from sidecar.core.body import Body
from sidecar.core.call import Call
from sidecar.core.outcome import Outcome


@pytest.fixture
def call() -> Call:
    """A call that took nothing yet."""
    return Call("crm", "GET", b"/contacts", [], Body.of(b""))


def test_endings_run_in_reverse_and_hear_the_outcome(call: Call) -> None:
    """What was taken last is given back first."""
    given_back: list[tuple[str, str]] = []
    call.on_end(lambda outcome: given_back.append(("slot", outcome)))
    call.on_end(lambda outcome: given_back.append(("probe", outcome)))
    call.on_end(lambda outcome: given_back.append(("connection", outcome)))
    assert given_back == []
    call.end(Outcome.CANCELLED)
    assert given_back == [("connection", "cancelled"), ("probe", "cancelled"), ("slot", "cancelled")]
    assert call.outcome is Outcome.CANCELLED


def test_a_second_end_is_a_fault_and_gives_nothing_back_twice(call: Call) -> None:
    """A slot given back twice would let one call too many in."""
    given_back: list[Outcome] = []
    call.on_end(given_back.append)
    call.end(Outcome.SUCCESS)
    with pytest.raises(AssertionError, match="ends once"):
        call.end(Outcome.FAILURE)
    assert given_back == ["success"]
    assert call.outcome is Outcome.SUCCESS


def test_an_ending_that_raises_does_not_keep_the_others_from_running(call: Call) -> None:
    """One fault must not leak all that the call had taken; and it is not swallowed either."""
    given_back: list[str] = []

    def broken(outcome: Outcome) -> None:
        raise RuntimeError("the giving back is broken")

    call.on_end(lambda _: given_back.append("first"))
    call.on_end(broken)
    call.on_end(lambda _: given_back.append("last"))
    with pytest.raises(RuntimeError, match="the giving back is broken"):
        call.end(Outcome.SUCCESS)
    assert given_back == ["last", "first"]


def test_an_ending_that_is_registered_by_an_ending_runs(call: Call) -> None:
    """Nothing that is taken on the way out stays taken."""
    given_back: list[str] = []
    call.on_end(lambda _: call.on_end(lambda _: given_back.append("late")))
    call.end(Outcome.SUCCESS)
    assert given_back == ["late"]


def test_a_kept_attempt_ends_with_its_call(call: Call) -> None:
    """Retry links the attempt that it keeps, so the attempt's slot is held until the call's last byte."""
    attempt = Call("crm", "GET", b"/contacts", [], Body.of(b""))
    given_back: list[Outcome] = []
    attempt.on_end(given_back.append)
    call.on_end(attempt.end)
    call.end(Outcome.FAILURE)
    assert given_back == ["failure"]
    assert attempt.outcome is Outcome.FAILURE
