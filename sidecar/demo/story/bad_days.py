"""Bad days: single calls go wrong, and are tried again where that is safe."""

from sidecar.demo.checks import has_retry_after, json_of, was_in_time
from sidecar.demo.client import Answer, Ask
from sidecar.demo.stage import Stage
from sidecar.demo.step import Chapter, Step
from sidecar.demo.vendor import RETRY_AFTER

KEY = "payout-0001"  # The app's own; a name for one wish of its user.
FLAKY = Ask(service="flaky", path="/v1/flaky")


def waited_as_told(_: Stage, answer: Answer) -> str:
    """Check that the second attempt came when the vendor's Retry-After said, not before."""
    return "" if answer.seconds >= RETRY_AFTER else f"it tried again after {answer.seconds:.2f} s"


def was_paid_once(stage: Stage, _: Answer) -> str:
    """Check that the wish was not carried out twice."""
    made = stage.vendor.payouts.made
    return "" if made == 1 else f"the vendor paid {made} times"


def was_paid_once_more(stage: Stage, answer: Answer) -> str:
    """Check that the vendor saw the same key on both attempts, and paid for the first one only."""
    if stage.vendor.payouts.made != 2:
        return f"the vendor paid {stage.vendor.payouts.made} times"
    return _was_repeated(answer, KEY)


def was_given_a_key(_: Stage, answer: Answer) -> str:
    """Check that the key which the app is told is the one that the vendor saw, twice."""
    key = answer.header("Idempotency-Key")
    return _was_repeated(answer, key) if key else "the answer does not name the key"


def _was_repeated(answer: Answer, key: str) -> str:
    payout = json_of(answer)
    if payout.get("idempotency_key") != key:
        return f"the vendor saw the key {payout.get('idempotency_key')!r}"
    return "" if payout.get("requests") == 2 else f"the vendor saw the key {payout.get('requests')} times"


BAD_DAYS = Chapter(
    title="On bad days",
    steps=(
        Step(
            title="read, the vendor is fine",
            ask=FLAKY,
            status=200,
            attempts=1,
            did="passed it on",
        ),
        Step(
            title="read, the vendor fails once",
            ask=FLAKY,
            status=200,
            attempts=2,
            did="tried again after its 500",
        ),
        Step(
            title="read, the vendor wants a pause",
            ask=FLAKY,
            status=200,
            attempts=2,
            did="waited as long as its Retry-After said, and tried again",
            check=waited_as_told,
        ),
        Step(
            title="read, the connection is lost",
            ask=FLAKY,
            status=200,
            attempts=2,
            did="tried again on another",
        ),
        Step(
            title="read, the vendor does not recover",
            ask=Ask(service="flaky", path="/v1/faults/500"),
            status=500,
            attempts=3,
            did="gave up after three attempts, passed its 500 on",
        ),
        Step(
            title="pay out, the answer is lost",
            ask=Ask(service="flaky", method="POST", path="/v1/payouts"),
            status=502,
            code="upstream_reset",
            attempts=1,
            did="did not repeat a POST without a key: it had been done",
            check=was_paid_once,
        ),
        Step(
            title="pay out with a key",
            ask=Ask(service="flaky", method="POST", path="/v1/payouts", headers={"Idempotency-Key": KEY}),
            status=201,
            attempts=2,
            did="repeated it with the same key; the vendor paid once",
            check=was_paid_once_more,
        ),
        Step(
            title="refund, where the sidecar makes the key",
            ask=Ask(service="flaky", method="POST", path="/v1/refunds"),
            status=201,
            attempts=2,
            did="made a key, repeated it, told the key",
            check=was_given_a_key,
        ),
        Step(
            title="ask for one attempt, get garbage",
            ask=Ask(service="flaky", path="/v1/faults/garbage", headers={"Sidecar-Attempts-Max": "1"}),
            status=502,
            code="upstream_protocol",
            attempts=1,
            did="let nothing of it through",
        ),
        Step(
            title="ask for one attempt, be told to wait",
            ask=Ask(service="flaky", path="/v1/faults/429", headers={"Sidecar-Attempts-Max": "1"}),
            status=429,
            attempts=1,
            did="passed the vendor's 429 and Retry-After on",
            check=has_retry_after,
        ),
        Step(
            title="wait for 500 ms, not longer",
            ask=Ask(path="/v1/faults/slow", headers={"Sidecar-Timeout": "500ms"}),
            status=504,
            code="deadline_exceeded",
            attempts=1,
            did="kept the deadline",
            check=was_in_time,
        ),
    ),
)
