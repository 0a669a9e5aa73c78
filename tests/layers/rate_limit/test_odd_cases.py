"""The rate limit in odd cases: after quiet hours, with bodies that never end, for those who waited in vain."""

import pytest

from sidecar.core.body import Body
from sidecar.core.errors import RateLimited
from tests.kit.clock import settle
from tests.layers.rate_limit.test_layer import Story
from tests.layers.rate_limit.told import NOW, Vendor, advice, limiter


def test_a_busy_second_after_a_quiet_hour_counts_as_busy() -> None:
    """The pace that was too much is that of the last second, not that of the hour before."""
    vendor = Vendor()
    vendor.tell(advice(), NOW)
    now = NOW + 3600
    for number in range(50):
        vendor.tell(advice(), now + number * 0.01)
    vendor.tell(advice(is_throttled=True), now + 0.5)
    vendor.tell(advice(is_throttled=True), now + 0.7)
    assert vendor.announced.snapshot(now + 0.7)["adaptive"]["per_second"] >= 10


def test_three_refusals_of_one_call_do_not_close_a_quiet_service_for_a_minute() -> None:
    """One call with its retries is no storm: who comes a second later waits for less than wait_max."""
    vendor = Vendor()
    now = NOW + 300
    for at in (0.0, 0.1, 0.3):
        vendor.tell(advice(is_throttled=True), now + at)
    assert vendor.wait(now + 1.3) <= 1.0


async def test_a_limit_that_is_used_up_within_a_second_has_its_line() -> None:
    """Nobody is answered after that second, so those who are refused have to look."""
    story = Story(limiter(("10/h", 10, 3600.0), burst=10), wait_max=0.0)
    await story.begin(10)
    await story.clock.advance(1.0)
    for _ in range(3):
        with pytest.raises(RateLimited):
            await story.call()[1]
    assert [msg for msg, _ in story.told] == ["rate_limit_near"]


async def test_a_pace_that_was_found_is_not_called_announced() -> None:
    """The vendor told no limit; who reads that it did looks for it in vain."""
    story = Story(wait_max=0.0)
    story.vendor.says(429)
    await story.call()[1]
    with pytest.raises(RateLimited) as refused:
        await story.call()[1]
    assert "announced" not in refused.value.detail


async def test_a_body_that_never_ends_holds_an_answer_back_for_a_second_at_most() -> None:
    """A stream of JSON with a status that a signal reads would otherwise be late by idle_timeout, which is 30 s."""
    story = Story()
    body = Body()
    body.feed(b'{"a": ')
    story.vendor.says(400, (b"Content-Type", b"application/json"), body=body)
    call, task = story.call()
    await settle()
    await story.clock.advance(1.0)
    assert task.done()
    assert call.upstream_s == pytest.approx(1.0), "the line adds up"


async def test_who_is_refused_after_a_while_in_line_has_waited() -> None:
    """The vendor closes while they stand there; a line with 0 ms of waiting would not add up to its total."""
    story = Story(wait_max=1.0)
    story.vendor.says(429, (b"Retry-After", b"0.9"))
    await story.call()[1]
    waiting, task = story.call()
    await settle()
    await story.clock.advance(0.5)
    closing = advice(retry_after=60.0, is_throttled=True)
    now = story.clock.now()
    story.limiter.announced.hear(closing, sent_at=now, number=0.0, cost=1.0, route="", target=b"/x", now=now)
    story.line.review(now)
    with pytest.raises(RateLimited):
        await task
    assert waiting.waited_rate_s == pytest.approx(0.5)
