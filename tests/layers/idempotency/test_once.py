"""Once: what the app asks twice under one key is done once, and answered twice."""

import asyncio
from typing import Any

import pytest

from sidecar.core.body import Body
from sidecar.core.call import Reply
from sidecar.core.errors import (
    DeadlineExceeded,
    IdempotencyInFlight,
    IdempotencyMismatch,
    IdempotencyNotKept,
    RateLimited,
    SidecarError,
    UpstreamReset,
)
from sidecar.core.outcome import Outcome
from sidecar.layers.idempotency.field import FieldPlace
from sidecar.layers.idempotency.keeper import TELL_EVERY
from sidecar.layers.idempotency.once import MARGIN
from sidecar.store.base import StoreFull
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import read_all
from tests.layers.idempotency.pods import LIFE, Pods, Slow, away

ANSWER = [(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"Content-Length", b"4"), (b"Location", b"/p/1")]


async def test_the_second_call_gets_what_the_first_got(clock: ManualClock) -> None:
    """Status, reason, every field in its order, body: and it says that it is a repetition."""
    pods = Pods(clock)
    call, task = await pods.ask()
    reply = pods.asked[0].answer(b"paid", 201, ANSWER)
    reply.has_urls = True
    await settle()
    assert [*task.result().headers] == [*ANSWER, (b"Idempotency-Key", b"order-17")]
    call.end(Outcome.SUCCESS)
    await clock.advance(LIFE / 2)
    again = await pods.answered()
    assert (again.status, again.reason, again.source, again.has_urls) == (201, b"OK", "cache", True)
    assert again.headers == [*ANSWER, (b"Idempotency-Replayed", b"true"), (b"Idempotency-Key", b"order-17")]
    assert (again.body.length, again.body.take_all()) == (4, b"paid")
    assert len(pods.asked) == 1
    assert pods.counted == ["kept", "replayed"]
    pods.assert_quiet()


async def test_the_answer_is_forgotten_when_its_time_is_over(clock: ManualClock) -> None:
    """Then the key stands for a new operation."""
    pods = Pods(clock)
    await pods.first()
    await clock.advance(LIFE)
    await pods.first(b"paid again")
    assert len(pods.asked) == 2


async def test_a_made_key_is_not_remembered(clock: ManualClock) -> None:
    """Nobody can send it a second time but who read it, and a record of each call would cost the store."""
    pods = Pods(clock)
    await pods.first(key=None)
    await pods.first(key=None)
    assert (len(pods.asked), pods.made, pods.used_bytes) == (2, 2, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"method": "PATCH"},
        {"target": b"/pay/2"},
        {"target": b"/pay?currency=eur"},
        {"app": "billing"},
        {"key": b"order-18"},
        {"credentials": [(b"Authorization", b"Bearer somebody-else")]},
    ],
)
async def test_another_call_under_the_same_key_is_another_call(clock: ManualClock, other: dict[str, Any]) -> None:
    """Method, path, query, app, key; and of the app's own credentials those that go to the vendor."""
    pods = Pods(clock, own=frozenset({b"authorization"}))
    await pods.first()
    reply = await pods.first(b"another", **other)
    assert (len(pods.asked), reply.source) == (2, "upstream")


async def test_credentials_that_stay_here_tell_no_calls_apart(clock: ManualClock) -> None:
    """A cookie that the vendor never sees may change between two tries."""
    pods = Pods(clock, own=frozenset({b"authorization"}))
    await pods.first(credentials=[(b"Cookie", b"session=1")])
    again = await pods.answered(credentials=[(b"Cookie", b"session=2")])
    assert again.source == "cache"


async def test_another_body_under_the_same_key_is_refused(clock: ManualClock) -> None:
    """While the first is under way, and afterwards: the app reuses a key, and must be told."""
    pods = Pods(clock, 2)
    call, _ = await pods.ask()
    for pod in (0, 1):
        with pytest.raises(IdempotencyMismatch, match="another body"):
            await pods.answered(body=b"6 euros", pod=pod)
    pods.asked[0].answer(b"paid")
    await settle()
    call.end(Outcome.SUCCESS)
    with pytest.raises(IdempotencyMismatch):
        await pods.answered(body=b"")
    assert (len(pods.asked), pods.counted.count("mismatch")) == (1, 3)


@pytest.mark.parametrize("pod", [0, 1])
async def test_while_the_first_is_under_way_the_second_is_refused(clock: ManualClock, pod: int) -> None:
    """In this process and in another; and told when to ask again."""
    pods = Pods(clock, 2)
    call, _ = await pods.ask()
    with pytest.raises(IdempotencyInFlight) as refused:
        await pods.answered(pod=pod)
    assert refused.value.retry_after == 1.0
    pods.asked[0].answer(b"paid")
    await settle()
    call.end(Outcome.SUCCESS)
    assert (await pods.answered(pod=pod)).source == "cache"


async def test_who_waits_in_the_same_process_has_the_answer_at_once(clock: ManualClock) -> None:
    """No time passes, however many wait, and the vendor is asked once."""
    pods = Pods(clock, waits=True)
    await pods.ask()
    waiting = [await pods.ask() for _ in range(3)]
    pods.asked[0].answer(b"paid")
    await settle()
    assert [task.result().body.take_all() for _, task in waiting] == [b"paid"] * 3
    assert len(pods.asked) == 1
    pods.assert_quiet()


async def test_who_waits_goes_on_by_itself_when_the_first_came_to_nothing(clock: ManualClock) -> None:
    """One of those who wait, and only one."""
    pods = Pods(clock, waits=True)
    await pods.ask()
    waiting = [await pods.ask() for _ in range(3)]
    pods.asked[0].break_off(UpstreamReset("gone"))
    await settle()
    assert len(pods.asked) == 2
    pods.asked[1].answer(b"paid")
    await settle()
    assert sorted(task.result().source for _, task in waiting) == ["cache", "cache", "upstream"]


async def test_who_waits_for_another_pod_looks_with_growing_pauses(clock: ManualClock) -> None:
    """50 ms, 100 ms, 200 ms up to a second; of all who wait here, one asks the store."""
    records = Slow(clock)
    pods = Pods(clock, 2, waits=True, records=records)
    await pods.ask()
    records.questions.clear()
    waiting = [await pods.ask(pod=1, seconds=60) for _ in range(5)]
    await clock.advance(0.76)  # Looks at 0, 0.05, 0.15, 0.35 and 0.75 s.
    assert records.questions == ["put", "get"] * 5
    await clock.advance(4)  # At 1.55 s, and then each second.
    assert records.questions == ["put", "get"] * 9
    pods.asked[0].answer(b"paid")
    await clock.advance(1)
    assert [task.result().body.take_all() for _, task in waiting] == [b"paid"] * 5
    assert (len(pods.asked), clock.pending) == (1, 0)
    pods.assert_quiet()


@pytest.mark.parametrize("pod", [0, 1])
async def test_nobody_waits_past_the_own_deadline(clock: ManualClock, pod: int) -> None:
    """The first goes on; the second is told what used its time up, and that was not the vendor."""
    pods = Pods(clock, 2, waits=True)
    _, first = await pods.ask()
    _, second = await pods.ask(pod=pod, seconds=2)
    await clock.advance(2)
    error = second.exception()
    assert isinstance(error, DeadlineExceeded)
    assert not error.blames_vendor
    assert "waiting for the first call" in error.detail
    pods.asked[0].answer(b"paid")
    await settle()
    assert first.result().status == 200
    pods.assert_quiet()


# What is final, and what is not.


@pytest.mark.parametrize("status", [200, 201, 204, 303, 400, 402, 404, 410, 422])
async def test_a_final_answer_is_repeated(clock: ManualClock, status: int) -> None:
    """Also a refusal: the same call would be refused again."""
    pods = Pods(clock)
    await pods.first(status=status)
    assert (await pods.answered()).status == status


@pytest.mark.parametrize("status", [401, 403, 407, 408, 409, 425, 429, 500, 502, 503, 504])
async def test_after_an_answer_that_is_not_final_the_app_may_try_again(clock: ManualClock, status: int) -> None:
    """Try again later, or a credential that an operator has to repair: the key must not be worn out by it."""
    pods = Pods(clock)
    assert (await pods.first(status=status)).status == status
    assert (await pods.first(b"paid")).status == 200
    assert (len(pods.asked), pods.used_bytes > 0) == (2, True)


@pytest.mark.parametrize(
    "error", [RateLimited("no permit"), UpstreamReset("gone"), DeadlineExceeded("late"), ZeroDivisionError("a fault")]
)
async def test_after_a_failure_the_app_may_try_again(clock: ManualClock, error: Exception) -> None:
    """It is told that the call failed, so the next one is meant; the vendor knows it by its key."""
    pods = Pods(clock, 2)
    call, task = await pods.ask()
    pods.asked[0].break_off(error)
    await settle()
    assert task.exception() is error
    call.end(Outcome.FAILURE)
    assert pods.used_bytes == 0
    assert (await pods.first(pod=1)).status == 200


# Hanging up, and being killed.


async def test_a_claim_that_nobody_ends_ends_a_little_after_its_deadline(clock: ManualClock) -> None:
    """The pod is gone; another one refuses as long as the vendor might be at work, and asks it then."""
    pods = Pods(clock, 2)
    await pods.ask(seconds=20)
    pods.keepers[0]._held.clear()  # As if it were gone with its memory.
    await clock.advance(20 + MARGIN - 0.01)
    with pytest.raises(IdempotencyInFlight):
        await pods.answered(pod=1)
    await clock.advance(0.02)
    assert (await pods.first(pod=1)).status == 200
    await pods.hang_up(0)


async def test_an_app_that_hangs_up_while_the_vendor_is_at_work_leaves_the_claim(clock: ManualClock) -> None:
    """Nobody knows whether the vendor does it; so it is not asked again before the first call's time is over."""
    pods = Pods(clock)
    await pods.ask(seconds=20)
    await clock.advance(3)
    await pods.hang_up()
    with pytest.raises(IdempotencyInFlight):
        await pods.answered()
    await clock.advance(20 + MARGIN - 3)
    await pods.first()
    assert len(pods.asked) == 2
    pods.assert_quiet()


async def test_an_app_that_hangs_up_before_the_vendor_is_asked_leaves_nothing(clock: ManualClock) -> None:
    """It waited for a permit, say: the next call is the first."""
    pods = Pods(clock)
    call, _ = await pods.ask()
    call.attempts.clear()
    await pods.hang_up()
    assert pods.used_bytes == 0
    pods.assert_quiet()


async def test_an_app_that_hangs_up_while_the_claim_is_written_leaves_nothing(clock: ManualClock) -> None:
    """The store writes it all the same, and it is taken away again."""
    records = Slow(clock)
    pods = Pods(clock, records=records)
    records.gate.clear()
    await pods.ask()
    await pods.hang_up()
    assert pods.asked == []
    records.gate.set()
    await settle()
    assert records.questions == ["put", "delete"]
    assert records.room.used_bytes == 0
    pods.assert_quiet()


async def test_an_app_that_hangs_up_while_the_answer_is_written_finds_it_later(clock: ManualClock) -> None:
    """What the vendor said is not lost with the connection."""
    records = Slow(clock)
    pods = Pods(clock, records=records)
    await pods.ask()
    records.gate.clear()
    pods.asked[0].answer(b"paid")
    await settle()
    await pods.hang_up()
    records.gate.set()
    await settle()
    assert (await pods.answered()).body.take_all() == b"paid"
    pods.assert_quiet()


async def test_a_second_call_during_the_first_question_waits_for_the_stores_word(clock: ManualClock) -> None:
    """Nobody is told of a call under way when there is an answer to be had."""
    records = Slow(clock)
    pods = Pods(clock, records=records)
    await pods.first()
    records.gate.clear()
    both = [await pods.ask() for _ in range(2)]
    assert not any(task.done() for _, task in both)
    records.gate.set()
    await settle()
    assert [task.result().source for _, task in both] == ["cache", "cache"]


# Answers that are streams, too long, or broken off.


def streaming(pods: Pods, body: Body) -> None:
    """Have the vendor begin a stream."""
    pods.asked[-1].answer(body, 200, [(b"Content-Type", b"text/event-stream")])


async def test_a_stream_goes_on_at_once_and_is_kept_at_its_end(clock: ManualClock) -> None:
    """Its first byte is with the app long before the last; until then nobody else has it."""
    pods = Pods(clock, 2)
    body = Body()
    call, task = await pods.ask(seconds=2)
    streaming(pods, body)
    body.feed(b"one,")
    await settle()
    reply = task.result()
    assert await reply.body.read() == b"one,"
    await clock.advance(60)  # A stream may outlast its deadline, and its claim does not end with that.
    with pytest.raises(IdempotencyInFlight):
        await pods.answered()
    with pytest.raises(IdempotencyNotKept, match="by 200"):
        await pods.answered(pod=1)
    reply.headers = [*reply.headers, (b"Only", b"for this app")]  # As layers further out do.
    body.feed(b"two")
    body.trailers = [(b"Sum", b"2")]
    body.finish()
    assert await read_all(reply.body) == b"two"
    call.end(Outcome.SUCCESS)
    await settle()
    again = await pods.answered(pod=1)
    assert (again.body.length, again.body.take_all(), again.body.trailers) == (None, b"one,two", [(b"Sum", b"2")])
    assert [name for name, _ in again.headers] == [b"Content-Type", b"Idempotency-Replayed", b"Idempotency-Key"]
    assert len(pods.asked) == 1
    pods.assert_quiet()


async def end_with(pods: Pods, body: Body, what: str) -> Reply:
    """Begin a stream of one byte, and end it in some way."""
    call, task = await pods.ask()
    streaming(pods, body)
    body.feed(b".")
    await settle()
    reply = task.result()
    match what:
        case "too long":
            body.feed(b"." * 20)
            body.finish()
        case "broken off":
            body.fail(UpstreamReset("gone"))
        case "hung up, and all of it was here":
            body.finish()
        case _:
            assert what == "hung up"
    call.end(Outcome.CANCELLED if "hung up" in what else Outcome.SUCCESS)
    await settle()
    return reply


@pytest.mark.parametrize("what", ["too long", "broken off", "hung up"])
async def test_an_answer_that_cannot_be_kept_is_not_asked_for_again(clock: ManualClock, what: str) -> None:
    """The vendor did it, and said so: a second call would be a second payment."""
    pods = Pods(clock)
    await end_with(pods, Body(), what)
    for _ in range(2):
        with pytest.raises(IdempotencyNotKept, match="ask the vendor"):
            await pods.answered()
    assert (len(pods.asked), pods.counted) == (1, ["marked", "not_kept", "not_kept"])
    pods.assert_quiet()


async def test_an_app_that_leaves_a_stream_after_its_last_byte_came_finds_it_later(clock: ManualClock) -> None:
    """It is the vendor's last byte that counts."""
    pods = Pods(clock)
    await end_with(pods, Body(), "hung up, and all of it was here")
    assert (await pods.answered()).body.take_all() == b"."


async def test_an_answer_that_says_it_is_too_long_goes_on_at_once(clock: ManualClock) -> None:
    """Nothing of it is copied."""
    pods = Pods(clock)
    body = Body(21)
    _, task = await pods.ask()
    pods.asked[0].answer(body)
    await settle()
    assert task.result().body is body
    assert body._start is None
    pods.calls[0][0].end(Outcome.SUCCESS)
    with pytest.raises(IdempotencyNotKept):
        await pods.answered()


async def test_an_app_that_hangs_up_while_the_answer_comes_in_leaves_a_mark(clock: ManualClock) -> None:
    """The head was there, so the vendor did it."""
    pods = Pods(clock)
    await pods.ask()
    pods.asked[0].answer(Body(10))
    await settle()
    await pods.hang_up()
    with pytest.raises(IdempotencyNotKept):
        await pods.answered()
    pods.assert_quiet()


# Requests.


async def test_a_body_in_pieces_is_the_same_as_one_in_one_piece(clock: ManualClock) -> None:
    """Its bytes count; it is received before the vendor is asked."""
    pods = Pods(clock)
    body = Body()
    call, _ = await pods.ask(body=body)
    body.feed(b"5 eu")
    body.feed(b"ros")
    await settle()
    assert pods.asked == []
    body.finish()
    await settle()
    assert await read_all(pods.asked[0].call.body) == b"5 euros"
    pods.asked[0].answer(b"paid")
    await settle()
    call.end(Outcome.SUCCESS)
    assert (await pods.answered()).source == "cache"


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_longer_body_passes_without_a_record(clock: ManualClock, is_told: bool) -> None:
    """It streams as it always did, and is counted."""
    pods = Pods(clock)
    body = Body(101 if is_told else None)
    await pods.ask(body=body)
    body.feed(b"." * 101)
    await settle()
    assert len(pods.asked) == 1
    assert (pods.counted, pods.used_bytes) == (["passed"], 0)
    await pods.hang_up()


async def test_an_app_that_sends_its_body_too_slowly_is_told_so(clock: ManualClock) -> None:
    """Within its deadline; the vendor was not asked."""
    pods = Pods(clock)
    _, task = await pods.ask(body=Body(), seconds=2)
    await clock.advance(2)
    error = task.exception()
    assert isinstance(error, DeadlineExceeded)
    assert (error.blames_vendor, pods.asked) == (False, [])


async def test_a_key_that_cannot_be_put_towards_the_vendor_holds_here_all_the_same(clock: ManualClock) -> None:
    """The vendor looks for it in JSON, and this is none."""
    pods = Pods(clock, place=FieldPlace("nonce", 100, clock))
    await pods.first()
    assert (await pods.answered()).source == "cache"
    assert pods.asked[0].call.idempotency_key is None


# The store.


async def test_a_store_that_is_away_stops_no_call(clock: ManualClock) -> None:
    """Told once a minute, counted each time; and calls at the same time in this process are told apart still."""
    records = Slow(clock)
    records.problem = away()
    pods = Pods(clock, records=records)
    call, task = await pods.ask()
    with pytest.raises(IdempotencyInFlight):
        await pods.answered()
    pods.asked[0].answer(b"paid")
    await settle()
    assert task.result().status == 200
    call.end(Outcome.SUCCESS)
    await pods.first(b"paid twice")
    line = ("warning", "idempotency_store_failed", {"service": "crm", "error": "the store is away: no connection"})
    assert pods.told == [line]
    assert pods.counted.count("store_failed") == 2
    await clock.advance(TELL_EVERY)
    await pods.first(b"and again")
    assert pods.told == [line, line]
    pods.assert_quiet()


async def test_an_answer_that_finds_no_store_goes_to_the_app_all_the_same(clock: ManualClock) -> None:
    """The claim is in the store, and ends by itself there."""
    records = Slow(clock)
    pods = Pods(clock, records=records)
    _, task = await pods.ask()
    records.problem = away()
    pods.asked[0].answer(b"paid")
    await settle()
    assert task.result().body.take_all() == b"paid"
    records.problem = None
    with pytest.raises(IdempotencyInFlight):
        await pods.answered()
    pods.assert_quiet()


async def test_a_full_store_keeps_at_least_that_it_was_done(clock: ManualClock) -> None:
    """The answer has no room; the mark takes what the claim took."""
    records = Slow(clock, bytes_max=500)
    pods = Pods(clock, records=records, answer_max=1000)
    await pods.first(b"x" * 400)
    with pytest.raises(IdempotencyNotKept):
        await pods.answered()
    assert pods.told == []


async def test_a_store_without_room_for_a_claim_stops_no_call(clock: ManualClock) -> None:
    """The same as if it were away."""
    records = Slow(clock)
    records.problem = StoreFull("the store is full")
    pods = Pods(clock, records=records)
    assert (await pods.first()).status == 200
    assert [msg for _, msg, _ in pods.told] == ["idempotency_store_failed"]


async def test_an_answer_is_kept_although_the_store_lost_its_claim(clock: ManualClock) -> None:
    """It failed over, or the pod stood still for longer than the claim lived."""
    pods = Pods(clock)
    _, task = await pods.ask()
    pods.records._there.clear()
    pods.asked[0].answer(b"paid")
    await settle()
    assert task.result().status == 200
    assert (await pods.answered()).source == "cache"


async def test_a_record_that_cannot_be_read_stops_no_call(clock: ManualClock) -> None:
    """Somebody else wrote there."""
    pods = Pods(clock)
    await pods.first()
    (name,) = pods.records._there
    await pods.records.put(name, b"\xc1", 60)
    assert (await pods.first(b"paid again")).source == "upstream"
    assert pods.told[0][2]["error"] == "a record cannot be read"


async def test_what_is_stored_names_neither_key_nor_app(clock: ManualClock) -> None:
    """The name is a hash, and of the request there is a hash alone."""
    pods = Pods(clock)
    call, _ = await pods.ask(key=b"order-17-of-alice", body=b"5 euros to bob", app="checkout")
    pods.asked[0].answer(b"paid")
    await settle()
    call.end(Outcome.SUCCESS)
    ((name, (value, _, _)),) = pods.records._there.items()
    for word in ("order-17", "alice", "bob", "checkout", "/pay", "crm"):
        assert word not in name
        assert word.encode() not in value
    assert "paid" not in repr(await pods.records.get(name))


async def test_what_is_being_written_is_finished_at_the_end(clock: ManualClock) -> None:
    """A call that ended in the last moment has its record."""
    records = Slow(clock)
    pods = Pods(clock, records=records)
    body = Body()
    call, _ = await pods.ask()
    streaming(pods, body)
    await settle()
    body.finish()
    records.gate.clear()
    call.end(Outcome.SUCCESS)
    closing = asyncio.create_task(pods.keepers[0].close())
    await settle()
    assert not closing.done()
    records.gate.set()
    await closing
    assert (await pods.answered()).body.take_all() == b""


async def test_a_vendor_that_repeats_by_itself_says_so_once(clock: ManualClock) -> None:
    """Stripe has a field of the same name."""
    pods = Pods(clock)
    call, _ = await pods.ask()
    pods.asked[0].answer(b"paid", 200, [(b"idempotency-replayed", b"true")])
    await settle()
    call.end(Outcome.SUCCESS)
    again = await pods.answered()
    assert [name.lower() for name, _ in again.headers].count(b"idempotency-replayed") == 1


def test_the_refusals_are_what_the_draft_asks_for() -> None:
    """draft-ietf-httpapi-idempotency-key-header section 2.7: 409 while it is under way, 422 for another payload."""
    kinds: list[type[SidecarError]] = [IdempotencyInFlight, IdempotencyNotKept, IdempotencyMismatch]
    assert [kind.status for kind in kinds] == [409, 409, 422]
    assert {kind.outcome for kind in kinds} == {Outcome.REJECTED}
