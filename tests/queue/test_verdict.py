"""What a turn of a job means, and when the next one is due: arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import (
    BadRequest,
    BodyTooLarge,
    BulkheadFull,
    CircuitOpen,
    ConnectFailed,
    CredentialUnavailable,
    DeadlineExceeded,
    IdempotencyInFlight,
    IdempotencyMismatch,
    IdempotencyNotKept,
    NotAllowed,
    PathEscapes,
    RateLimited,
    SidecarError,
    UpstreamReset,
)
from sidecar.queue.job import CANCELLED, DEAD, ENDED, FAILED, NEXT, STATES, SUCCEEDED, states_before
from sidecar.queue.verdict import UNTOLD, of_answer, of_error
from sidecar.store.backlog import RUNNING, WAITING
from sidecar.working.verdict import delay_of

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
SCHEDULE = (1.0, 5.0, 30.0)
DAY = 86400.0


def test_the_states_are_those_of_the_contract() -> None:
    """Every event leads to a state there is, and what has ended is left only by people."""
    assert set(STATES) == {"waiting", "running", "succeeded", "failed", "dead", "cancelled"}
    assert {to for events in NEXT.values() for to in events.values()} <= set(STATES)
    assert set(ENDED) == {SUCCEEDED, FAILED, DEAD, CANCELLED}
    assert states_before("retried") == (FAILED, DEAD, CANCELLED)
    assert states_before("cancelled") == (WAITING,)
    assert states_before("answered") == (RUNNING,)


@pytest.mark.parametrize("status", [200, 201, 204, 302, 304])
def test_an_answer_below_400_is_done(status: int) -> None:
    """Whatever it says, the vendor took it."""
    assert of_answer(status, RETRIED, None, 0.0, DAY, 1.0).event == "answered"


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 501])
def test_a_no_that_stays_one_is_not_tried_again(status: int) -> None:
    """Another attempt would end the same way."""
    verdict = of_answer(status, RETRIED, 30.0, 0.0, DAY, 1.0)
    assert (verdict.event, verdict.error) == ("refused", f"status {status}")


@pytest.mark.parametrize("status", sorted(RETRIED))
def test_a_status_that_may_pass_is_tried_again_by_the_schedule(status: int) -> None:
    """Or when the vendor said, if that is later."""
    assert of_answer(status, RETRIED, None, 0.0, DAY, 4.0)[:2] == ("put_off", 4.0)
    assert of_answer(status, RETRIED, 2.0, 0.0, DAY, 4.0)[:2] == ("put_off", 4.0)
    assert of_answer(status, RETRIED, 90.0, 0.0, DAY, 4.0)[:2] == ("put_off", 90.0)


@pytest.mark.parametrize(
    "error", [BadRequest("x"), NotAllowed("x"), PathEscapes("x"), BodyTooLarge("x"), IdempotencyMismatch("x")]
)
def test_what_is_wrong_with_the_job_itself_ends_it(error: SidecarError) -> None:
    """Only a change of the config helps, and then people retry it."""
    verdict = of_error(error, 0.0, DAY, 1.0, was_sent=False)
    assert (verdict.event, verdict.error) == ("refused", f"{error.code}: x")


def test_a_job_that_was_done_before_is_done() -> None:
    """Its process was killed after the vendor answered: only the answer is not here."""
    assert of_error(IdempotencyNotKept("x"), 0.0, DAY, 1.0, was_sent=False).event == "answered"


@pytest.mark.parametrize(
    "error", [ConnectFailed("x"), UpstreamReset("x"), DeadlineExceeded("x"), CredentialUnavailable("x")]
)
def test_an_attempt_that_failed_is_tried_again_by_the_schedule(error: SidecarError) -> None:
    """The vendor or the way to it."""
    assert of_error(error, 0.0, DAY, 30.0, was_sent=True)[:2] == ("put_off", 30.0)


@pytest.mark.parametrize(
    "error",
    [
        CircuitOpen("x", retry_after=20.0), RateLimited("x", retry_after=20.0), BulkheadFull("x", retry_after=20.0),
        IdempotencyInFlight("x", retry_after=20.0),
    ],
)  # fmt: skip
def test_where_nothing_was_sent_the_whole_line_waits_as_told(error: SidecarError) -> None:
    """The job is not to blame, so it does not wait longer than was said, however often it was tried."""
    verdict = of_error(error, 0.0, DAY, 3600.0, was_sent=False)
    assert (verdict.event, verdict.delay, verdict.pause) == ("put_off", 20.0, 20.0)


@pytest.mark.parametrize("error", [CircuitOpen("an operator opened it"), CredentialUnavailable("x")])
def test_where_nobody_can_say_for_how_long_the_line_looks_now_and_then(error: SidecarError) -> None:
    """A circuit that is held open by hand: thousands that wait are not each tried, with a line of log for each."""
    assert of_error(error, 0.0, DAY, 1.0, was_sent=False)[:2] == ("put_off", UNTOLD)
    assert of_error(error, 0.0, DAY, 1.0, was_sent=False).pause == UNTOLD
    assert of_error(error, 0.0, DAY, 1.0, was_sent=True).pause == 0.0


def test_a_job_that_would_be_too_old_at_its_next_turn_is_a_dead_letter() -> None:
    """Whichever way it failed."""
    assert of_answer(503, RETRIED, None, DAY - 5, DAY, 4.9).event == "put_off"
    assert of_answer(503, RETRIED, None, DAY - 5, DAY, 5.1).event == "given_up"
    assert of_answer(503, RETRIED, 10.0, DAY - 5, DAY, 1.0).event == "given_up"
    assert of_error(ConnectFailed("x"), DAY - 5, DAY, 5.1, was_sent=True).event == "given_up"
    assert of_answer(200, RETRIED, None, 2 * DAY, DAY, 1.0).event == "answered"


@given(attempts=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_delays_follow_the_schedule_and_lose_up_to_half_by_chance(attempts: int, chance: float) -> None:
    """The last length repeats; no two jobs that failed together come back in the same instant."""
    longest = SCHEDULE[min(attempts, 3) - 1]
    assert longest / 2 <= delay_of(SCHEDULE, attempts, chance) <= longest
    assert delay_of(SCHEDULE, attempts, 0.0) == longest
