"""Which attempt is followed by another, when, and what is said if none is."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core.body import Body
from sidecar.core.call import Call, Reply
from sidecar.core.errors import (
    AddressDenied,
    BulkheadFull,
    CircuitOpen,
    ConnectFailed,
    CredentialUnavailable,
    DeadlineExceeded,
    DnsFailed,
    RateLimited,
    SidecarError,
    TlsFailed,
    UpstreamProtocol,
    UpstreamReset,
)
from sidecar.core.outcome import Outcome
from sidecar.core.units import Duration, Size
from tests.kit.clock import ManualClock, settle
from tests.layers.retry.trying import Trying, Turn, ask, reply_of, statuses

ALMOST_ONE = 1 - 2**-53


async def outcome_of(trying: Trying, call: Call, seconds: float = 60.0) -> Reply | BaseException:
    """Send a call, and let all the time pass that it may take."""
    sent = asyncio.create_task(trying.send(call))
    await trying.clock.advance(seconds)  # type: ignore[attr-defined]
    assert sent.done()
    return await sent


# Which answers are followed by another attempt.


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_status_that_may_pass_is_tried_again(clock: ManualClock, status: int) -> None:
    """The app sees the answer of the attempt that went well, and nothing of the first."""
    trying = Trying(clock, status, 200)
    call = ask()
    reply = await outcome_of(trying, call)
    assert isinstance(reply, Reply)
    assert reply.status == 200
    assert trying.attempts.ended == [(1, "failure"), (2, "success")]
    assert trying.counted == ["started"]
    assert call.not_retried == ""


@pytest.mark.parametrize("status", [200, 201, 204, 301, 304, 400, 401, 403, 404, 409, 410, 422, 501, 505, 599])
async def test_any_other_status_is_the_answer(clock: ManualClock, status: int) -> None:
    """Another attempt would end the same way; and no reason is given where nothing was wished for."""
    trying = Trying(clock, status, 200)
    call = ask()
    reply = await outcome_of(trying, call)
    assert isinstance(reply, Reply)
    assert (reply.status, len(trying.attempts.calls), call.not_retried, trying.counted) == (status, 1, "", [])


async def test_the_set_of_statuses_is_a_setting(clock: ManualClock) -> None:
    """It takes the default's place."""
    for status, count in ((409, 3), (503, 1)):
        trying = Trying(clock, status, statuses=statuses(409))
        await outcome_of(trying, ask())
        assert len(trying.attempts.calls) == count


@pytest.mark.parametrize(
    "error",
    [
        ConnectFailed("refused"),
        DnsFailed("no such name"),
        TlsFailed("no handshake"),
        UpstreamReset("broke off"),
        UpstreamProtocol("not HTTP"),
        DeadlineExceeded("attempt_timeout passed"),
    ],
    ids=lambda error: error.code,
)
async def test_an_error_of_the_way_to_the_vendor_is_tried_again(clock: ManualClock, error: SidecarError) -> None:
    """Whatever it was, the next attempt may find the way."""
    trying = Trying(clock, error, 200)
    reply = await outcome_of(trying, ask())
    assert isinstance(reply, Reply)
    assert trying.attempts.ended == [(1, "failure"), (2, "success")]


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("own limit", retry_after=3.0),
        CircuitOpen("open", retry_after=3.0),
        BulkheadFull("full", retry_after=3.0),
        CredentialUnavailable("no secret"),
        AddressDenied("private"),
        DeadlineExceeded("waiting for a permit", is_ours=True),
    ],
    ids=lambda error: error.code,
)
async def test_a_refusal_of_our_own_is_never_tried_again(clock: ManualClock, error: SidecarError) -> None:
    """Nothing was sent, and trying would only fill our own lines; it costs no budget."""
    trying = Trying(clock, error, 200, budget=3)
    refused = await outcome_of(trying, ask())
    assert refused is error
    assert len(trying.attempts.calls) == 1
    assert trying.attempts.ended == [(1, error.outcome.value)]
    assert trying.counted == []
    assert trying.budget.left(clock.now()) == 3


async def test_what_cannot_pass_by_itself_is_not_tried_again(clock: ManualClock) -> None:
    """A certificate that expired is as old in half a second; the line says why there was one attempt only."""
    error = TlsFailed("the certificate of api.test has expired")
    error.is_final = True
    trying = Trying(clock, error, 200, budget=3)
    call = ask()
    assert await outcome_of(trying, call) is error
    assert call.not_retried == "another attempt would end the same way, until this is repaired"
    assert (len(trying.attempts.calls), trying.counted, trying.budget.left(clock.now())) == (1, [], 3)


async def test_a_refusal_after_an_attempt_that_failed_tells_of_both(clock: ManualClock) -> None:
    """The call failed at the vendor: it does not count as if nothing had been sent."""
    error = CircuitOpen("the circuit of crm is open", retry_after=3.0)
    trying = Trying(clock, 503, error)
    assert await outcome_of(trying, ask()) is error
    assert error.outcome is Outcome.FAILURE
    assert error.detail == "attempt 1 failed, and the next was refused: the circuit of crm is open"
    assert error.retry_after == 3.0
    assert trying.attempts.ended == [(1, "failure"), (2, "rejected")]


async def test_a_fault_of_ours_is_raised_as_it_is(clock: ManualClock) -> None:
    """It is not the vendor's, and hiding it behind a second attempt would hide it for good; the attempt ends."""
    trying = Trying(clock, RuntimeError("broken"))
    assert isinstance(await outcome_of(trying, ask()), RuntimeError)
    assert trying.attempts.ended == [(1, "failure")]


# Methods.


@pytest.mark.parametrize(
    ("method", "key", "turn", "config", "count"),
    [
        ("GET", None, 503, {}, 3),
        ("HEAD", None, 503, {}, 3),
        ("OPTIONS", None, 503, {}, 3),
        ("PUT", None, 503, {}, 3),
        ("DELETE", None, 503, {}, 3),
        ("POST", None, 503, {}, 1),
        ("PATCH", None, 503, {}, 1),
        ("FROB", None, 503, {}, 1),
        ("POST", b"k-1", 503, {}, 3),
        ("PATCH", b"k-1", 503, {}, 3),
        ("POST", None, 429, {}, 1),
        ("POST", None, 503, {"unprocessed": statuses(503)}, 3),
        ("POST", None, 503, {"unprocessed": statuses(429)}, 1),
        ("POST", None, UpstreamReset("broke off"), {}, 1),
        ("POST", b"k-1", UpstreamReset("broke off"), {}, 3),
        ("POST", None, DeadlineExceeded("attempt_timeout passed"), {}, 1),
        ("POST", None, ConnectFailed("refused"), {}, 3),
        ("POST", None, DnsFailed("no such name"), {}, 3),
        ("PATCH", None, TlsFailed("no handshake"), {}, 3),
    ],
)
async def test_only_what_may_be_done_twice_or_was_never_sent_goes_again(
    clock: ManualClock, method: str, key: bytes | None, turn: Turn, config: dict[str, Any], count: int
) -> None:
    """A POST goes again only with a key, or if the vendor cannot have seen it or says that it did nothing."""
    trying = Trying(clock, turn, **config)
    call = ask(method, key=key)
    await outcome_of(trying, call)
    assert len(trying.attempts.calls) == count
    if count == 1:
        assert call.not_retried == f"{method} without an idempotency key might be done twice"


async def test_a_time_that_ran_out_before_anything_was_sent_lets_a_post_go_again(clock: ManualClock) -> None:
    """The transport says so on the error."""
    error = DeadlineExceeded("attempt_timeout passed; the step was: the TLS handshake")
    error.is_unsent = True
    trying = Trying(clock, error, 200)
    assert isinstance(await outcome_of(trying, ask("POST")), Reply)


async def test_every_attempt_carries_the_same_key(clock: ManualClock) -> None:
    """Otherwise the vendor could not tell that they are one."""
    trying = Trying(clock, 503)
    await outcome_of(trying, ask("POST", key=b"k-1"))
    assert [attempt.idempotency_key for attempt in trying.attempts.calls] == [b"k-1"] * 3


# How many.


@pytest.mark.parametrize(
    ("configured", "asked", "count", "reason"),
    [
        (3, None, 3, "attempts_max = 3"),
        (1, None, 1, "one attempt is all that is allowed"),
        (3, 1, 1, "one attempt is all that is allowed"),
        (3, 2, 2, "attempts_max = 2"),
        (3, 999, 3, "attempts_max = 3"),
    ],
)
async def test_the_app_may_lower_the_number_of_attempts_and_not_raise_it(
    clock: ManualClock, configured: int, asked: int | None, count: int, reason: str
) -> None:
    """`Sidecar-Attempts-Max`; the first attempt counts, so one is no retry."""
    trying = Trying(clock, 503, attempts_max=configured)
    call = ask()
    call.attempts_max = asked
    reply = await outcome_of(trying, call)
    assert isinstance(reply, Reply)
    assert (reply.status, len(trying.attempts.calls), call.not_retried) == (503, count, reason)


async def test_the_last_answer_is_the_apps_whatever_it_is(clock: ManualClock) -> None:
    """Its attempt is kept until the call ends, so that its body can be read."""
    trying = Trying(clock, 503, UpstreamReset("broke off"), 502)
    reply = await outcome_of(trying, ask())
    assert isinstance(reply, Reply)
    assert reply.status == 502
    assert trying.attempts.ended == [(1, "failure"), (2, "failure"), (3, "failure")]


async def test_the_last_error_is_raised_as_it_is(clock: ManualClock) -> None:
    """With the reason why nothing followed, in the call."""
    error = UpstreamReset("broke off")
    trying = Trying(clock, 503, 503, error)
    call = ask()
    assert await outcome_of(trying, call) is error
    assert call.not_retried == "attempts_max = 3"


async def test_the_kept_attempt_ends_with_the_call_and_not_before(clock: ManualClock) -> None:
    """Its slot and connection are held until the last byte."""
    trying = Trying(clock, 200)
    call = ask()
    await trying.handler(call)
    assert trying.attempts.ended == []
    call.end(Outcome.CANCELLED)
    assert trying.attempts.ended == [(1, "cancelled")]


# When.


@pytest.mark.parametrize(("chance", "at"), [(0.0, [0, 0, 0]), (0.5, [0, 0.25, 0.75]), (ALMOST_ONE, [0, 0.5, 1.5])])
async def test_the_wait_between_attempts_doubles_and_is_drawn_by_chance(
    clock: ManualClock, chance: float, at: list[float]
) -> None:
    """From nothing to 500 ms, then to a second; it is told in the line."""
    trying = Trying(clock, 503, chance=chance)
    call = ask()
    began_at = clock.now()
    await outcome_of(trying, call)
    assert [one - began_at for one in trying.attempts.begun_at] == pytest.approx(at)
    assert call.backoff_s == pytest.approx(at[-1])


async def test_the_wait_is_capped(clock: ManualClock) -> None:
    """Attempt after attempt at the cap."""
    config = {"attempts_max": 6, "backoff": Duration(1), "backoff_max": Duration(3)}
    trying = Trying(clock, 503, chance=ALMOST_ONE, **config)
    await outcome_of(trying, ask())
    at = trying.attempts.begun_at
    assert [later - earlier for earlier, later in itertools.pairwise(at)] == pytest.approx([1, 2, 3, 3, 3])


async def test_a_clock_that_wakes_too_early_is_sent_back(clock: ManualClock) -> None:
    """A timer of the loop's may be early by a part of a millisecond: the wait goes on until it is over."""

    class Early(ManualClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds * 0.9 if seconds > 1e-6 else seconds)

    early = Early()
    trying = Trying(early, 503, 200, chance=0.5)
    began_at = early.now()
    await outcome_of(trying, ask())
    assert trying.attempts.begun_at[1] - began_at >= 0.25 - 1e-9


@pytest.mark.parametrize("chance", [0.0, ALMOST_ONE])
@pytest.mark.parametrize("told", [0.0, 0.3, 2.0, 15.0])
async def test_a_told_time_is_waited_for_and_a_little_more(clock: ManualClock, told: float, chance: float) -> None:
    """Never early; the backoff's own numbers do not matter then."""
    trying = Trying(clock, reply_of(429, retry_after=told, is_throttled=True), 200, chance=chance)
    began_at = clock.now()
    reply = await outcome_of(trying, ask())
    assert isinstance(reply, Reply)
    waited = trying.attempts.begun_at[1] - began_at
    assert told + 0.02 <= waited + 1e-9
    assert waited <= told + 0.02 + min(0.5, told * 0.1) + 1e-9


async def test_a_told_time_may_be_longer_than_any_backoff(clock: ManualClock) -> None:
    """`backoff_max` bounds what we choose, not what the vendor asks."""
    trying = Trying(clock, reply_of(503, retry_after=15.0), 200, backoff_max=Duration(1))
    assert isinstance(await outcome_of(trying, ask()), Reply)
    assert trying.attempts.begun_at[1] - trying.attempts.begun_at[0] == pytest.approx(15.02)


async def test_a_told_time_that_does_not_fit_is_answered_at_once(clock: ManualClock) -> None:
    """The app gets the vendor's answer with its Retry-After, and knows better than we when to come again."""
    trying = Trying(clock, reply_of(429, retry_after=30.0, is_throttled=True), 200, budget=3)
    call = ask(seconds=20.0)
    reply = await outcome_of(trying, call, 0.0)
    assert isinstance(reply, Reply)
    assert reply.status == 429
    assert call.not_retried == "a wait of 30 s and an attempt of usually 0 s do not fit into the 20 s left"
    assert trying.counted == ["deadline"]
    assert trying.budget.left(clock.now()) == 3
    assert call.backoff_s == 0.0


@pytest.mark.parametrize(("usual", "count"), [(0.9, 2), (1.1, 1)])
async def test_an_attempt_that_would_not_end_in_time_is_not_begun(clock: ManualClock, usual: float, count: int) -> None:
    """The median of the last ones has to fit behind the wait, or the vendor is asked in vain."""
    trying = Trying(clock, 503, 200, chance=0.0)
    for length in (0.1, usual, 9.0):
        trying.recent.add(length)
    call = ask(seconds=1.0)
    await outcome_of(trying, call)
    assert len(trying.attempts.calls) == count
    assert ("do not fit" in call.not_retried) is (count == 1)


async def test_a_wait_that_reaches_the_deadline_is_not_begun(clock: ManualClock) -> None:
    """To the instant: what would begin at the deadline is too late."""
    for seconds, count in ((0.25, 1), (0.2501, 2)):
        trying = Trying(clock, 503, 200, chance=0.5)
        call = ask(seconds=seconds)
        call.deadline_at = clock.now() + seconds
        await outcome_of(trying, call)
        assert len(trying.attempts.calls) == count


async def test_after_the_deadline_nothing_begins(clock: ManualClock) -> None:
    """The attempt itself used the time up; the sentence does not speak of less than nothing."""
    trying = Trying(clock, DeadlineExceeded("the call's time is used up"))
    trying.attempts.takes = 1.0
    call = ask(seconds=0.9)
    assert isinstance(await outcome_of(trying, call), DeadlineExceeded)
    assert len(trying.attempts.calls) == 1
    assert call.not_retried.endswith("do not fit into the 0 s left")


# What the vendor says.


@pytest.mark.parametrize(
    ("turn", "count", "reason"),
    [
        (lambda: reply_of(429, is_throttled=True), 3, "attempts_max = 3"),
        (lambda: reply_of(403, is_throttled=True), 3, "attempts_max = 3"),
        (lambda: reply_of(200, is_throttled=True), 3, "attempts_max = 3"),
        (lambda: reply_of(200, is_near=True), 1, ""),
        (lambda: reply_of(429, is_throttled=True, is_final=True), 1, "another attempt would end the same way"),
        (lambda: reply_of(503, is_final=True), 1, "another attempt would end the same way"),
        (lambda: reply_of(500, should_retry=False), 1, "the vendor asks not to be tried again"),
        (lambda: reply_of(409, should_retry=True), 3, "attempts_max = 3"),
        (lambda: reply_of(409, should_retry=False), 1, ""),
        (lambda: reply_of(409), 1, ""),
        (lambda: reply_of(200, should_retry=True), 1, ""),
        (lambda: reply_of(503, should_retry=None), 3, "attempts_max = 3"),
    ],
)
async def test_the_vendors_word_goes_over_the_status(
    clock: ManualClock, turn: Callable[[], Reply], count: int, reason: str
) -> None:
    """It throttles with a 200 as some do, ends it for good, asks for another attempt or forbids it."""
    trying = Trying(clock, turn())
    call = ask()
    await outcome_of(trying, call)
    assert len(trying.attempts.calls) == count
    assert reason in call.not_retried
    assert bool(reason) == bool(call.not_retried)


async def test_the_vendors_wish_does_not_make_a_post_safe(clock: ManualClock) -> None:
    """It says that trying may help, not that nothing was done."""
    trying = Trying(clock, reply_of(503, should_retry=True))
    await outcome_of(trying, ask("POST"))
    assert len(trying.attempts.calls) == 1


# The budget.


async def test_a_used_up_budget_ends_the_retries_of_all_calls(clock: ManualClock) -> None:
    """A vendor that is down is not asked three times as often as one that is up."""
    trying = Trying(clock, 503, budget=3)
    calls = [ask() for _ in range(4)]
    for call in calls:
        await outcome_of(trying, call, 0.0)
    assert len(trying.attempts.calls) == 4 + 3
    assert calls[-1].not_retried == "the service's retry budget is used up"
    assert trying.counted == ["started"] * 3 + ["budget"] * 3


async def test_every_call_is_counted_once_whatever_its_attempts(clock: ManualClock) -> None:
    """Only calls earn: an extra attempt that earned another would never end."""
    trying = Trying(clock, 503)
    trying.budget = trying.handler._budget = type(trying.budget)(1.0, 0, clock.now())  # type: ignore[attr-defined]
    await outcome_of(trying, ask(), 0.0)
    assert len(trying.attempts.calls) == 2


# The body.


@pytest.mark.parametrize("is_in_hand", [True, False])
async def test_every_attempt_has_the_whole_body(clock: ManualClock, is_in_hand: bool) -> None:
    """In hand, or read while it came."""
    trying = Trying(clock, 503, 503, 200)
    body = Body.of(b"hello") if is_in_hand else Body()
    sent = asyncio.create_task(trying.send(ask("PUT", body=body)))
    await settle()
    if not is_in_hand:
        body.feed(b"hel")
        body.feed(b"lo")
        body.finish()
    await clock.advance(60)
    assert isinstance(await sent, Reply)
    assert trying.attempts.bodies == [b"hello"] * 3


async def test_a_body_that_was_not_wanted_is_whole_for_the_next_attempt(clock: ManualClock) -> None:
    """A vendor that refuses after the head alone."""
    trying = Trying(clock, 503, 200)
    trying.attempts.reads_bodies = False
    body = Body(5)
    trying.attempts.during = lambda attempt: body.feed(b"hello") if len(trying.attempts.calls) == 1 else body.finish()
    await outcome_of(trying, ask("PUT", body=body))
    assert await trying.attempts.calls[1].body.read() == b"hello"
    assert await trying.attempts.calls[1].body.read() == b""


@pytest.mark.parametrize("length", [11, None])
async def test_a_body_over_the_bound_streams_once(clock: ManualClock, length: int | None) -> None:
    """One that says so is never kept; the vendor gets all of it, the line the reason."""
    trying = Trying(clock, 503, replay_max=Size(10))
    body = Body(length)
    body.feed(b"hello ")
    body.feed(b"world")
    body.finish()
    call = ask("PUT", body=body)
    reply = await outcome_of(trying, call)
    assert isinstance(reply, Reply)
    assert reply.status == 503
    assert trying.attempts.bodies == [b"hello world"]
    assert call.not_retried == "the request's body is over replay_max = 10 bytes, so it was sent once only"


async def test_a_large_body_that_is_declared_passes_through_untouched(clock: ManualClock) -> None:
    """No piece of it is kept for the sake of a retry that will not be: streams are not buffered."""
    trying = Trying(clock, 200, replay_max=Size(10))
    body = Body(11)
    trying.attempts.reads_bodies = False
    await outcome_of(trying, ask("PUT", body=body))
    assert trying.attempts.calls[0].body is body


async def test_a_refused_connection_does_not_spend_a_body_over_the_bound(clock: ManualClock) -> None:
    """Nothing of it was read, and still it is sent once only: nobody knows how much of it will come."""
    trying = Trying(clock, ConnectFailed("refused"), 200, replay_max=Size(10))
    trying.attempts.reads_bodies = False
    call = ask("PUT", body=Body(11))
    assert isinstance(await outcome_of(trying, call), ConnectFailed)
    assert "replay_max" in call.not_retried


async def test_an_app_that_breaks_off_is_not_tried_again(clock: ManualClock) -> None:
    """Its error is no error of the vendor's."""
    body = Body(10)
    body.feed(b"half")
    body.fail(ConnectionResetError("the app left"))
    trying = Trying(clock, 200)
    assert isinstance(await outcome_of(trying, ask("PUT", body=body)), ConnectionResetError)
    assert trying.attempts.ended == [(1, "failure")]


async def test_a_body_that_broke_off_unread_stops_the_retries(clock: ManualClock) -> None:
    """The vendor refused before it saw the break; the next attempt could not send it whole."""
    body = Body(10)
    trying = Trying(clock, 503)
    trying.attempts.reads_bodies = False
    trying.attempts.during = lambda attempt: body.fail(ConnectionResetError("the app left"))
    call = ask("PUT", body=body)
    reply = await outcome_of(trying, call)
    assert isinstance(reply, Reply)
    assert (reply.status, len(trying.attempts.calls)) == (503, 1)
    assert call.not_retried == "the app broke off its request, so it cannot be sent again"


# Cancellation.


async def test_an_app_that_leaves_in_an_attempt_ends_it_as_cancelled(clock: ManualClock) -> None:
    """Never the vendor's failure, never tried again; what the attempt held is given back."""
    trying = Trying(clock, 503)
    trying.attempts.takes = 5.0
    sent = asyncio.create_task(trying.send(ask()))
    await clock.advance(1)
    sent.cancel()
    await asyncio.wait([sent])
    assert sent.cancelled()
    assert trying.attempts.ended == [(1, "cancelled")]
    assert clock.pending == 0


async def test_an_app_that_leaves_in_the_backoff_holds_nothing(clock: ManualClock) -> None:
    """The attempt before has ended, and the time that was waited is told."""
    trying = Trying(clock, 503, chance=0.5)
    call = ask()
    sent = asyncio.create_task(trying.send(call))
    await clock.advance(0.1)
    assert call.step == "waiting to try again"
    assert trying.attempts.ended == [(1, "failure")]
    sent.cancel()
    await asyncio.wait([sent])
    assert sent.cancelled()
    assert call.backoff_s == pytest.approx(0.1)
    await clock.advance(60)
    assert len(trying.attempts.calls) == 1
    assert clock.pending == 0
