from typing import Any

import pytest

from sidecar.core.body import Body
from sidecar.core.call import AttemptRecord, Call
from sidecar.core.outcome import Outcome
from sidecar.core.peer import Peer
from tests.kit.fields import fields_of


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


# Attempts.


def test_a_kept_attempt_ends_with_its_call(call: Call) -> None:
    """Retry links the attempt that it keeps, so the attempt's slot is held until the call's last byte."""
    attempt = call.attempt()
    given_back: list[Outcome] = []
    attempt.on_end(given_back.append)
    call.keep(attempt)
    assert given_back == []
    call.end(Outcome.FAILURE)
    assert given_back == ["failure"]
    assert attempt.outcome is Outcome.FAILURE


def test_a_discarded_attempt_ends_at_once_and_its_call_goes_on(call: Call) -> None:
    """What it held is free before the next attempt begins."""
    attempt = call.attempt()
    given_back: list[Outcome] = []
    attempt.on_end(given_back.append)
    call.discard(attempt, Outcome.FAILURE)
    assert given_back == ["failure"]
    assert call.outcome is None
    call.end(Outcome.SUCCESS)
    assert given_back == ["failure"]


def test_what_is_taken_after_the_end_is_given_back_at_once(call: Call) -> None:
    """A loser of a race may take a connection after its call is over; nobody would give it back."""
    call.end(Outcome.CANCELLED)
    given_back: list[Outcome] = []
    call.on_end(given_back.append)
    assert given_back == ["cancelled"]


def test_an_attempt_carries_all_that_a_layer_or_the_transport_asks_of_a_call(call: Call) -> None:
    """Every field that describes the call is the child's too; what is counted and what ends is its own."""
    own = {
        "_endings", "backoff_s", "batch", "credential", "credential_version", "error_code", "error_detail",
        "is_observed", "job", "not_retried", "outcome", "prefers_async", "queue_key", "response_bytes", "source",
        "status", "step", "upstream_s", "waited_rate_s", "waited_slot_s",
    }  # fmt: skip
    described = [name for name in fields_of(Call) if name not in own]
    fresh = Call("crm", "GET", b"/", [], Body.of(b""))
    for name in described:
        setattr(call, name, another(name, getattr(fresh, name)))
    attempt = call.attempt()
    assert [name for name in described if getattr(attempt, name) != getattr(call, name)] == []
    assert [name for name in described if getattr(call, name) == getattr(fresh, name)] == []
    assert [name for name in own if getattr(attempt, name) != getattr(fresh, name)] == []


def another(name: str, value: Any) -> Any:
    """Give a value of the field's kind that it does not have by itself."""
    if value is None:
        return {"attempts_max": 2, "timeout_asked": 1.5, "peer": Peer(1000, 1000, 7)}.get(name, b"other")
    if isinstance(value, Body):
        return Body.of(b"other")
    if isinstance(value, list):
        return [(b"Other", b"1")] if name != "attempts" else [AttemptRecord()]
    return {bool: True, float: 7.5, str: "other", bytes: b"other"}[type(value)]


def test_the_waits_of_all_attempts_add_up_and_the_last_step_is_the_calls(call: Call) -> None:
    """The line of the call tells the whole of it, and an exceeded deadline names where it was."""
    for number, outcome in ((1, Outcome.FAILURE), (2, None)):
        attempt = call.attempt()
        attempt.upstream_s = attempt.waited_rate_s = attempt.waited_slot_s = attempt.backoff_s = float(number)
        attempt.step = f"step {number}"
        if outcome is None:
            call.keep(attempt)
        else:
            call.discard(attempt, outcome)
    assert (call.upstream_s, call.waited_rate_s, call.waited_slot_s, call.backoff_s) == (3.0, 3.0, 3.0, 3.0)
    assert call.step == "step 2"


def test_the_records_of_all_attempts_stand_with_the_call(call: Call) -> None:
    """One list: the answer's `Sidecar-Attempts` and the log line count all of them."""
    for _ in range(2):
        attempt = call.attempt()
        attempt.attempts.append(AttemptRecord())
        call.discard(attempt, Outcome.FAILURE)
    assert len(call.attempts) == 2


def test_the_reason_against_another_attempt_is_kept_whoever_gave_it(call: Call) -> None:
    """The call's own word stays unless an attempt has one."""
    call.not_retried = "the budget is used up"
    call.discard(call.attempt(), Outcome.FAILURE)
    assert call.not_retried == "the budget is used up"
    attempt = call.attempt()
    attempt.not_retried = "a hedge lost"
    call.keep(attempt)
    assert call.not_retried == "a hedge lost"
