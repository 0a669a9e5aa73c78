"""The token of one service: minted once for all who wait, kept good ahead, never thrown away for a failure."""

import asyncio
import json
import math
import traceback
from collections.abc import AsyncIterator

import pytest

from sidecar.auth.oauth.pace import ASKED_MAX, Paces
from sidecar.auth.oauth.renewal import BACKOFF_MAX
from sidecar.auth.oauth.source import LANDING_SECONDS, RENEWAL_MAX
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.core.errors import CredentialUnavailable
from sidecar.telemetry.redact import Redactor
from tests.auth.oauth.minting import Endpoint, Sourced, broken_off
from tests.kit.clock import ManualClock, settle


@pytest.fixture
def endpoint(clock: ManualClock) -> Endpoint:
    """Tokens of an hour."""
    return Endpoint(clock)


@pytest.fixture
async def sourced(clock: ManualClock, endpoint: Endpoint) -> AsyncIterator[Sourced]:
    """A source that nobody asked yet."""
    sourced = Sourced(clock, endpoint)
    yield sourced
    await sourced.stop()


def refused(sentence: str = "the token endpoint answered 401: invalid_client") -> TokenRefused:
    """What a wrong client secret gives."""
    return TokenRefused(sentence, error="invalid_client")


# One request for all.


async def test_two_hundred_calls_on_a_cold_cache_make_one_request(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """All get the same token; those who come later get it at once."""
    endpoint.takes = 0.3
    calls = [asyncio.create_task(sourced.get()) for _ in range(200)]
    await clock.advance(0.1)
    calls += [asyncio.create_task(sourced.get()) for _ in range(50)]
    await clock.advance(0.3)
    assert {id(await call) for call in calls} == {id(endpoint.made[0])}
    assert sourced.source.token(clock.now()) is endpoint.made[0]
    assert len(endpoint.asked_at) == 1


async def test_a_failure_is_the_same_for_all_who_waited(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """Each gets an error of its own with the reason; and nobody asks again before the time."""
    endpoint.takes = 0.3
    endpoint.failing = refused()
    calls = [asyncio.create_task(sourced.get()) for _ in range(20)]
    await clock.advance(0.3)
    errors = [call.exception() for call in calls]
    assert {str(error) for error in errors} == {
        "getting a token for crm failed: the token endpoint answered 401: invalid_client"
    }
    assert all(isinstance(error, CredentialUnavailable) and error.retry_after for error in errors)
    assert len({id(error) for error in errors}) == 20
    with pytest.raises(CredentialUnavailable, match="invalid_client"):
        await sourced.get()
    assert len(endpoint.asked_at) == 1


async def test_the_next_call_after_the_pause_tries_again(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """An outage is over as soon as a call may find out."""
    endpoint.failing = broken_off()
    with pytest.raises(CredentialUnavailable) as caught:
        await sourced.get()
    endpoint.failing = None
    assert caught.value.retry_after is not None
    await clock.advance(caught.value.retry_after)
    assert await sourced.get() is endpoint.made[0]


async def test_who_goes_away_leaves_the_renewal_to_the_others(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """Even the one who began it."""
    endpoint.takes = 1.0
    first = asyncio.create_task(sourced.get())
    second = asyncio.create_task(sourced.get())
    await clock.advance(0.5)
    first.cancel()
    await clock.advance(0.5)
    assert first.cancelled()
    assert await second is endpoint.made[0]
    assert len(endpoint.asked_at) == 1


async def test_each_waits_until_its_own_deadline(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """The error names the step; the renewal goes on for the more patient."""
    endpoint.takes = 3.0
    hasty = asyncio.create_task(sourced.get(seconds=1.0))
    patient = asyncio.create_task(sourced.get(seconds=math.inf))
    await clock.advance(1.0)
    with pytest.raises(CredentialUnavailable, match="the step was: asking the authorization server"):
        await hasty
    await clock.advance(2.0)
    assert await patient is endpoint.made[0]


async def test_a_call_may_wait_for_the_pace_and_says_so(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks the endpoint too often stands in line before it."""
    line: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def acquire(amount: float = 1) -> None:
        del amount
        await line

    monkeypatch.setattr(sourced.pace, "acquire", acquire)
    waiting = asyncio.create_task(sourced.get(seconds=1.0))
    await clock.advance(1.0)
    with pytest.raises(CredentialUnavailable, match="the step was: waiting for the pace of the authorization server"):
        await waiting
    assert endpoint.asked_at == []
    line.set_result(None)
    await settle()
    assert len(endpoint.asked_at) == 1


async def test_a_renewal_without_end_is_ended(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """A lock that nobody gives back would keep every later call out."""
    endpoint.takes = 1e9
    waiting = asyncio.create_task(sourced.get(seconds=100.0))
    await clock.advance(RENEWAL_MAX)
    with pytest.raises(CredentialUnavailable, match="it took over 60 s; the step was: asking the authorization server"):
        await waiting
    endpoint.takes = 0.0
    await clock.advance(1.0)
    assert await sourced.get() is endpoint.made[0]


async def test_a_fault_of_ours_fails_the_calls_and_is_told(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """It is not swallowed, and nobody waits for ever."""
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    endpoint.turns = [ZeroDivisionError("a slip")]
    with pytest.raises(CredentialUnavailable, match="a fault of the sidecar's own"):
        await sourced.get()
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]
    await clock.advance(1.0)
    assert await sourced.get() is endpoint.made[0]


# Ahead.


async def test_a_token_is_renewed_before_its_end_and_no_call_waits(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """A day of tokens of an hour: at every moment there is a good one, and one request an hour."""
    await sourced.get()
    for _ in range(24 * 60):
        await clock.advance(60.0)
        token = sourced.source.token(clock.now())
        assert token is not None
        assert token.expires_at > clock.now()
    assert len(endpoint.asked_at) == 24 * 3600 // 3300 + 1


async def test_the_old_token_is_served_while_the_new_one_is_minted(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """Calls notice nothing of a slow renewal."""
    first = await sourced.get()
    endpoint.takes = 30.0
    await clock.advance(3310.0)
    assert endpoint.under_way == 1
    assert await sourced.get() is first
    await clock.advance(30.0)
    assert await sourced.get() is endpoint.made[1] is not first


async def test_an_outage_longer_than_the_margin_fails_no_call_if_the_token_outlives_it(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """Down for 55 minutes of the hour; tried with growing waits, and found again before the end."""
    first = await sourced.get()
    await clock.advance(60.0)
    endpoint.failing = broken_off()
    while clock.now() < first.expires_at - 20:
        await clock.advance(10.0)
        assert await sourced.get() is first
    assert 5 < len(endpoint.asked_at) < 25
    endpoint.failing = None
    while clock.now() < first.expires_at + 60:
        await clock.advance(1.0)
        assert await sourced.get() is not None
    assert await sourced.get() is endpoint.made[1]
    levels = {line["level"] for line in sourced.lines if line["msg"] == "token_renewal_failed"}
    assert levels == {"warning"}


async def test_an_outage_over_the_end_serves_the_old_token_to_its_last_moment(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """And not one moment longer: an expired token is never served."""
    first = await sourced.get()
    endpoint.failing = broken_off()
    await clock.advance(3599.0)
    assert await sourced.get() is first
    assert sourced.source.token(first.expires_at - 1e-6) is first
    await clock.advance(1.0)
    assert sourced.source.token(clock.now()) is None
    with pytest.raises(CredentialUnavailable, match="broke off"):
        await sourced.get()


async def test_nobody_is_asked_for_a_token_that_nobody_wants(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """Once the last token is gone, a dead endpoint is asked when a call comes, not for ever."""
    await sourced.get()
    endpoint.failing = refused()
    await clock.advance(3700.0)
    asked = len(endpoint.asked_at)
    await clock.advance(86400.0)
    assert len(endpoint.asked_at) == asked
    endpoint.failing = None
    assert await sourced.get() is endpoint.made[1]


async def test_tokens_of_a_second_are_not_renewed_on_every_call(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """A fixed margin of five minutes would."""
    endpoint.life = 1.0
    for _ in range(1000):
        await sourced.get()
        await clock.advance(0.01)
    assert len(endpoint.asked_at) <= 13


async def test_a_token_without_an_end_has_no_timer(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """Only a refusal ends it."""
    endpoint.life = math.inf
    first = await sourced.get()
    assert clock.pending == 0
    await clock.advance(1e8)
    assert await sourced.get() is first
    assert sourced.source.snapshot(clock.now())["expires_in"] is None
    assert sourced.source.expires_at_unix() == math.inf


async def test_clocks_five_minutes_off_change_nothing(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """Lives are counted on the monotonic clock, so a wall clock that jumps is not asked."""
    first = await sourced.get()
    clock._wall_ahead += 300.0
    await clock.advance(3299.0)
    clock._wall_ahead -= 600.0
    assert await sourced.get() is first
    assert len(endpoint.asked_at) == 1
    await clock.advance(1.0)
    assert len(endpoint.asked_at) == 2


async def test_a_token_that_came_too_late_is_not_served(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """Its life began when it was asked for."""
    endpoint.life, endpoint.takes = 5.0, 6.0
    waiting = asyncio.create_task(sourced.get())
    await clock.advance(6.0)
    with pytest.raises(CredentialUnavailable, match="had expired when it came"):
        await waiting


async def test_a_token_that_no_header_may_hold_is_not_served(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """It would end the field, and begin another."""
    endpoint.turns = [Token(b"a\r\nX-Evil: 1", got_at=clock.now(), expires_at=clock.now() + 60)]
    with pytest.raises(CredentialUnavailable, match="no header may hold"):
        await sourced.get()


async def test_the_first_token_is_minted_before_the_first_call(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """So not even the first one waits."""
    sourced.source.start()
    await settle()
    assert sourced.source.token(clock.now()) is endpoint.made[0]
    sourced.source.start()
    await settle()
    assert len(endpoint.asked_at) == 1


async def test_a_changed_secret_is_tried_at_once(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """Who mends the client secret does not wait for the backoff."""
    endpoint.failing = refused()
    with pytest.raises(CredentialUnavailable):
        await sourced.get()
    endpoint.failing = None
    sourced.source.encourage()
    await settle()
    assert sourced.source.token(clock.now()) is endpoint.made[0]
    sourced.source.encourage()
    await settle()
    assert len(endpoint.asked_at) == 2


# Dropping.


async def test_a_refused_token_is_dropped_once_and_replaced(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """A hundred calls refused with one token make one request."""
    first = await sourced.get()
    endpoint.takes = 0.2
    assert all(sourced.source.drop(first) for _ in range(100))
    assert sourced.source.token(clock.now()) is None
    calls = [asyncio.create_task(sourced.get()) for _ in range(100)]
    await clock.advance(0.2)
    assert {id(await call) for call in calls} == {id(endpoint.made[1])}
    assert sourced.source.drop(first)
    assert sourced.source.token(clock.now()) is endpoint.made[1]
    assert len(endpoint.asked_at) == 2
    assert sourced.said().count("token_dropped") == 1


async def test_a_vendor_that_refuses_every_token_does_not_cost_a_request_per_call(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """The token stays, for the paths that do accept it, and the vendor's answer goes to the app."""
    drops = 0
    for _ in range(600):
        drops += sourced.source.drop(await sourced.get())
        await clock.advance(0.1)
    assert drops < 10
    assert len(endpoint.asked_at) == drops + 1


async def test_while_the_endpoint_fails_a_refused_token_is_kept(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """Nothing better is to be had, and it may be one path only that refuses it."""
    first = await sourced.get()
    endpoint.failing = broken_off()
    await clock.advance(3590.0)
    assert endpoint.asked_at[1:]
    assert not sourced.source.drop(first)
    assert await sourced.get() is first


async def test_a_token_dropped_during_a_renewal_has_its_successor_under_way(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """No second request is made beside the first."""
    first = await sourced.get()
    endpoint.takes = 10.0
    await clock.advance(3301.0)
    assert endpoint.under_way == 1
    assert sourced.source.drop(first)
    waiting = asyncio.create_task(sourced.get())
    await clock.advance(10.0)
    assert await waiting is endpoint.made[1]
    assert endpoint.under_way_max == 1


# What it tells.


async def test_listeners_have_a_token_before_any_call(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """Where its answer says which host to ask, no call goes to the wrong one."""
    heard: list[Token] = []
    sourced.source.on_token(heard.append)
    first = await sourced.get()
    late: list[Token] = []
    sourced.source.on_token(late.append)
    assert heard == late == [first]
    assert sourced.source.token(clock.now()) is endpoint.made[0]


async def test_nothing_that_is_said_holds_the_token(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """Lines, snapshots, errors and their tracebacks name it by its number."""
    first = await sourced.get()
    endpoint.failing = broken_off()
    await clock.advance(3400.0)
    said = json.dumps([sourced.lines, sourced.source.snapshot(clock.now())])
    await clock.advance(300.0)
    try:
        await sourced.get()
    except CredentialUnavailable as error:
        said += "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert first.value.decode() not in said
    assert sourced.lines[0] == {
        "level": "info", "msg": "token_renewed", "service": "crm", "kind": "Bearer", "number": 1, "expires_in": 3600.0,
        "took_ms": 0,
    }  # fmt: skip
    failure = sourced.lines[1]
    assert (failure["level"], failure["msg"], failure["failures"]) == ("warning", "token_renewal_failed", 1)
    assert failure["error"] == "the token endpoint broke off"
    assert sourced.counted[:2] == ["success", "failure"]


async def test_the_log_masks_the_tokens_in_use_and_forgets_old_ones(clock: ManualClock, endpoint: Endpoint) -> None:
    """A vendor may repeat what it was sent in an error; calls under way may still carry the token before."""
    redactor = Redactor()
    sourced = Sourced(clock, endpoint, know=redactor.know)
    for _ in range(50):
        token = await sourced.get()
        await clock.advance(3301.0)  # It is replaced.
        assert redactor.text(b"you sent " + token.value) == "you sent ***"
    oldest, newest = endpoint.made[0].value, endpoint.made[-1].value
    assert redactor.text(oldest) == oldest.decode()
    await sourced.stop()
    assert redactor.text(newest) == newest.decode()


async def test_the_snapshot_is_for_the_one_who_is_woken(
    clock: ManualClock, endpoint: Endpoint, sourced: Sourced
) -> None:
    """State, end, and why there is none."""
    assert sourced.source.snapshot(clock.now()) == {"state": "none"}
    assert sourced.source.expires_at_unix() is None
    await sourced.get()
    assert sourced.source.snapshot(clock.now()) == {
        "state": "valid", "kind": "Bearer", "number": 1, "age": 0.0, "expires_in": 3600.0, "renewed_in": 3300.0,
    }  # fmt: skip
    assert sourced.source.expires_at_unix() == clock.wall() + 3600
    endpoint.failing = refused()
    await clock.advance(3700.0)
    shown = sourced.source.snapshot(clock.now())
    assert shown["state"] == "expired"
    assert "invalid_client" in shown["error"]
    assert shown["failures"] >= 1
    assert shown["tried_in"] <= BACKOFF_MAX


# The end.


async def test_at_the_close_a_renewal_under_way_lands(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """What it brings may exist only once; after it nobody is asked any more."""
    endpoint.takes = 2.0
    waiting = asyncio.create_task(sourced.get())
    await settle()
    closing = asyncio.create_task(sourced.source.close())
    await clock.advance(2.0)
    await closing
    first = await waiting
    assert await sourced.get() is first
    assert clock.pending == 0
    assert not sourced.source.drop(first)
    await clock.advance(4000.0)
    with pytest.raises(CredentialUnavailable, match="being replaced"):
        await sourced.get()
    assert len(endpoint.asked_at) == 1


async def test_the_close_does_not_wait_for_ever(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """A pod has to end; what was abandoned is told."""
    endpoint.takes = 50.0
    sourced.source.start()
    await settle()
    closing = asyncio.create_task(sourced.source.close())
    await clock.advance(LANDING_SECONDS)
    assert closing.done()
    assert sourced.said() == ["token_renewal_abandoned"]
    await clock.advance(50.0)  # So that the fixture's close finds nothing to wait for.


async def test_a_stop_wakes_who_waits(clock: ManualClock, endpoint: Endpoint, sourced: Sourced) -> None:
    """Even when the task that would have asked never began."""
    waiting = asyncio.create_task(sourced.get())
    await asyncio.sleep(0)  # noqa: TID251  # One turn: the waiter is there, the renewal has not begun.
    await sourced.tasks.stop()
    with pytest.raises(CredentialUnavailable, match="the sidecar stops"):
        await waiting
    assert endpoint.asked_at == []


async def test_services_with_one_endpoint_share_its_pace() -> None:
    """And are let through at once as long as nothing goes wrong."""
    paces = Paces()
    pace = paces.get("https://id.crm.example/token")
    assert paces.get("https://id.crm.example/token") is pace
    assert paces.get("https://id.other.example/token") is not pace
    for _ in range(ASKED_MAX):
        await pace.acquire()
    line = asyncio.ensure_future(pace.acquire())
    await settle()
    assert not line.done()
    line.cancel()
    await settle()
