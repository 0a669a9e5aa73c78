import pytest

from sidecar.core.advice import Advice
from sidecar.core.body import NO_BODY
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.errors import (
    AnswerTooLarge,
    BadRequest,
    CircuitOpen,
    ConnectFailed,
    DeadlineExceeded,
    NotAllowed,
    RateLimited,
    SidecarError,
    UpstreamReset,
)
from sidecar.layers.retry.backoff import SETTLE
from sidecar.layers.retry.config import RetryConfig
from sidecar.queue.batch.again import PAUSE_MIN, SENDINGS_MAX, Again, again

RULES = RetryConfig()


def called(
    method: str = "GET", *, attempts: int = 1, key: bytes | None = None, attempts_max: int | None = None
) -> Call:
    """Make a call that reached the vendor so many times."""
    call = Call("crm", method, b"/x", [], NO_BODY)
    call.idempotency_key, call.attempts_max = key, attempts_max
    for _ in range(attempts):
        record = AttemptRecord()
        record.request_head = b"GET /x HTTP/1.1\r\n\r\n"
        call.attempts.append(record)
    return call


def answered(status: int, **advice: object) -> Reply:
    """Make an answer, and what was read out of it."""
    reply = Reply(status, b"", [], NO_BODY)
    if advice:
        reply.advice = Advice()
        for name, value in advice.items():
            setattr(reply.advice, name, value)
    return reply


def judged(
    call: Call, came: Reply | SidecarError, rules: RetryConfig | None = RULES, *, sendings: int = 1, chance: float = 0.5
) -> Again | None:
    """Judge what came of a sending."""
    reply, error = (came, None) if isinstance(came, Reply) else (None, came)
    return again(call, reply, error, rules, sendings=sendings, chance=chance)


@pytest.mark.parametrize(
    "error",
    [RateLimited("", retry_after=3.0), CircuitOpen("", retry_after=3.0)],
)
@pytest.mark.parametrize("rules", [RULES, None])
@pytest.mark.parametrize("sendings", [0, SENDINGS_MAX + 5])
def test_what_was_refused_before_it_was_sent_goes_again_when_told(
    error: SidecarError, rules: RetryConfig | None, sendings: int
) -> None:
    """Any method, any number of times, also where nothing is retried; and the batch waits with it."""
    turn = judged(called("POST", attempts=0), error, rules, sendings=sendings, chance=0.0)
    assert turn == Again(3.0 + SETTLE, keeps_place=True)


def test_a_refusal_for_a_moment_does_not_fill_the_log() -> None:
    """Each sending is a line."""
    turn = judged(called(attempts=0), RateLimited("", retry_after=0.0))
    assert turn is not None
    assert turn.wait >= PAUSE_MIN


def test_a_call_that_spent_its_time_in_a_line_goes_again() -> None:
    """The batch has more time than a call."""
    turn = judged(called("POST", attempts=0), DeadlineExceeded("", is_ours=True))
    assert turn == Again(PAUSE_MIN, keeps_place=True)


@pytest.mark.parametrize("error", [BadRequest(""), NotAllowed(""), CircuitOpen("held open by an operator")])
def test_what_would_be_refused_again_is_not_sent_again(error: SidecarError) -> None:
    """Nobody said when it would be otherwise."""
    assert judged(called(attempts=0), error) is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_gives_its_place_to_others(status: int) -> None:
    """It pauses longer each time, by the service's backoff."""
    turn = judged(called(), answered(status), chance=0.5)
    assert turn == Again(0.5, keeps_place=False)
    assert judged(called(), answered(status), sendings=2, chance=0.5) == Again(1.0, keeps_place=False)


def test_a_failure_goes_again_so_often_only() -> None:
    """The layers below have tried each sending several times."""
    assert judged(called(), answered(503), sendings=SENDINGS_MAX - 1) is not None
    assert judged(called(), answered(503), sendings=SENDINGS_MAX) is None


@pytest.mark.parametrize(
    ("call", "came", "may"),
    [
        (called("GET"), answered(200), False),
        (called("GET"), answered(404), False),
        (called("GET"), answered(404, should_retry=True), True),
        (called("GET"), answered(200, is_throttled=True), True),
        (called("GET"), answered(503, should_retry=False), False),
        (called("GET"), answered(503, is_final=True), False),
        (called("POST"), answered(503), False),
        (called("POST", key=b"k"), answered(503), True),
        (called("POST"), UpstreamReset(""), False),
        (called("PUT"), UpstreamReset(""), True),
        (called("POST", key=b"k"), UpstreamReset(""), True),
        (called("POST", attempts=0), ConnectFailed(""), True),
        (called("GET"), AnswerTooLarge(""), False),
        (called("GET"), CircuitOpen("", retry_after=1.0), True),
        (called("POST"), CircuitOpen("", retry_after=1.0), False),
        (called("GET", attempts=2, attempts_max=2), answered(503), False),
        (called("GET", attempts=1, attempts_max=2), answered(503), True),
    ],
)
def test_what_the_vendor_saw_is_repeated_only_where_that_is_safe(
    call: Call, came: Reply | SidecarError, may: bool
) -> None:
    """By the rules of `retry`; not beyond what the item itself allows."""
    assert (judged(call, came) is not None) is may


def test_a_service_without_retries_has_none_in_a_batch() -> None:
    """The operator's word holds here, too."""
    assert judged(called(), answered(503), None) is None
    assert judged(called(), UpstreamReset(""), None) is None


def test_statuses_are_those_of_the_route() -> None:
    """And what the vendor says it did not process, any method may repeat."""
    rules = RetryConfig(statuses=type(RULES.statuses)({409}), unprocessed=type(RULES.statuses)({409}))
    assert judged(called("POST"), answered(409), rules) is not None
    assert judged(called("GET"), answered(503), rules) is None


def test_the_time_that_the_vendor_tells_is_kept() -> None:
    """Never earlier."""
    turn = judged(called(), answered(429, retry_after=7.0), chance=0.0)
    assert turn == Again(7.0 + SETTLE, keeps_place=False)
