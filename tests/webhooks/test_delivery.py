"""What the app's answer means for an event: arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.secret import SecretRef
from sidecar.core.units import Duration
from sidecar.store.backlog import RUNNING, Entry
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.delivery import UNREACHED_WAIT, ended_of, judged, result_of
from sidecar.webhooks.event import Head, attempts_of, head_of
from sidecar.webhooks.event import given as given_to_the_app
from sidecar.webhooks.taker import Said

CONFIG = WebhookConfig(secret=SecretRef("files:x"), age_max=Duration(3600))
DAY = WebhookConfig(secret=SecretRef("files:x"), age_max=Duration(86400))


def test_a_2xx_is_done_and_nothing_else_is() -> None:
    """A redirect is no taking."""
    assert judged(Said(204), 1, 0, CONFIG, 0).event == "answered"
    assert {judged(Said(status), 1, 0, CONFIG, 0).event for status in (301, 400, 404, 429, 500)} == {"put_off"}


def test_attempts_follow_the_schedule_and_the_last_wait_repeats() -> None:
    """5 s, 30 s, 2 min, 10 min, 1 h, 6 h, 6 h; by chance up to half less."""
    waits = [judged(Said(500), attempt, 0, DAY, 0).delay for attempt in range(1, 9)]
    assert waits == [5, 30, 120, 600, 3600, 21600, 21600, 21600]
    assert judged(Said(500), 1, 0, DAY, 0.999).delay > 2.5


def test_retry_after_is_obeyed_as_far_as_the_event_lives() -> None:
    """Not earlier than the app says, and not past the event's end, where it would be lost without a try."""
    assert judged(Said(503, retry_after=90), 1, 0, CONFIG, 0).delay == 90
    assert judged(Said(503, retry_after=1), 1, 0, CONFIG, 0).delay == 5
    assert judged(Said(503, retry_after=86400), 1, 3000, CONFIG, 0).delay == 600


def test_what_is_too_old_for_another_attempt_is_given_up() -> None:
    """A dead letter, with the reason."""
    verdict = judged(Said(500, error="the app answered 500"), 1, 3596, CONFIG, 0)
    assert (verdict.event, verdict.error) == ("given_up", "the app answered 500")


def test_an_app_that_is_not_there_is_asked_soon_again_and_by_one_alone() -> None:
    """So that all go on at once when it is back, however long it was away."""
    verdict = judged(Said(0, error="not reached", was_sent=False), 9, 0, DAY, 0)
    assert verdict.event == "put_off"
    assert verdict.delay <= UNREACHED_WAIT
    assert verdict.pause > 0
    assert judged(Said(0, error="broke off"), 1, 0, DAY, 0).pause == 0


def test_tries_that_found_nobody_there_do_not_count() -> None:
    """After an hour without the app, its first 503 is tried again after 5 s, and not after 6 h."""
    head = Head([], "", None, "r-1", b"")
    entry = Entry("crm.a", "", RUNNING, b"", b"{}", b"", 0, 0.0, None, None)
    for attempt in range(1, 3601):
        entry = entry._replace(attempts=attempt)
        ended = ended_of(DAY, entry, head, Said(0, error="not reached", was_sent=False), attempt, 0.0)
        assert ended.settlement.delay <= UNREACHED_WAIT
        entry = entry._replace(head=ended.settlement.head or b"")
        head = head_of(entry)
    assert attempts_of(entry, head) == 0
    entry = entry._replace(attempts=3601)
    assert attempts_of(entry, head) == given_to_the_app(entry)["attempt"] == 1
    assert ended_of(DAY, entry, head, Said(503, error="busy"), 3601, 0.0).settlement.delay == 5


@given(
    st.integers(100, 599) | st.just(0), st.integers(1, 50), st.floats(0, 10**6), st.floats(0, 0.999),
    st.none() | st.floats(0, 10**7), st.booleans(),
)  # fmt: skip
def test_no_event_waits_past_its_end_and_each_is_done_put_off_or_given_up(
    status: int, attempts: int, age: float, chance: float, retry_after: float | None, was_sent: bool
) -> None:
    """Whatever the app says."""
    said = Said(status, retry_after=retry_after, was_sent=was_sent or bool(status))
    verdict = judged(said, attempts, age, CONFIG, chance)
    assert (verdict.event == "answered") == (200 <= status < 300)
    if verdict.event == "put_off":
        assert verdict.delay >= 0
        assert age + verdict.delay <= 3600 + 1e-6
    if verdict.event == "given_up":
        assert age + 5 * 0.5**0 + 21600 > 3600
    assert result_of(said) in {"delivered", "1xx", "3xx", "4xx", "5xx", "no_answer", "not_reached"}
