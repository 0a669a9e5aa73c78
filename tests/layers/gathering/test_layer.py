"""Reads that arrive together become one call; nobody's leaving, hurry or id is another's problem."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from sidecar.core.body import Body
from sidecar.core.call import Reply
from sidecar.core.errors import CircuitOpen, DeadlineExceeded, Draining, NotInAnswer, UpstreamReset
from sidecar.core.outcome import Outcome
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import read_all
from tests.layers.gathering.readers import JSON, WITHIN, Readers, things


async def body_of(task: "asyncio.Task[Reply]") -> Any:
    """Read what an app got."""
    return json.loads(await read_all((await task).body))


async def test_reads_within_the_window_become_one_call_and_each_gets_its_own(clock: ManualClock) -> None:
    """Byte for byte the item of the vendor's list, whatever its order; the head tells nothing of the list."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2, 3)
    (asked,) = readers.asked
    assert asked.call.target == b"/c?ids=1,2,3"
    content = b'{"results":[{"id":3},{"id":"1", "n":1.0},{"id":2,"n":10000000000000000000000000000001}]}'
    headers = [*JSON, (b"Content-Length", b"1"), (b"ETag", b"x"), (b"Link", b"<x>; rel=next"), (b"X", b"y")]
    asked.answer(content, status=207, headers=headers)
    replies = [await task for task in tasks]
    assert [await read_all(reply.body) for reply in replies] == [
        b'{"id":"1", "n":1.0}', b'{"id":2,"n":10000000000000000000000000000001}', b'{"id":3}',
    ]  # fmt: skip
    assert {(reply.status, reply.source, tuple(reply.headers)) for reply in replies} == {
        (200, "upstream", (*JSON, (b"X", b"y")))
    }
    assert {reply.body.length for reply in replies} == {None}
    assert [len(call.attempts) for call, _ in readers.calls] == [1, 0, 0]
    assert {call.batch.items for call, _ in readers.calls if call.batch is not None} == {3}
    assert readers.counter.value == 2
    assert asked.outcome() is Outcome.SUCCESS
    await settle()
    readers.assert_quiet()


async def test_who_waits_alone_is_sent_as_the_plain_read(clock: ManualClock) -> None:
    """At low load nothing changes but the few milliseconds."""
    readers = Readers(clock)
    call, task = await readers.ask(b"/c/1?x=1", [(b"Accept-Encoding", b"br")])
    assert not readers.asked
    await clock.advance(WITHIN)
    (asked,) = readers.asked
    assert asked.call is call
    assert (call.target, call.headers) == (b"/c/1?x=1", [(b"Accept-Encoding", b"br")])
    original = asked.answer(b"anything")
    assert await task is original
    assert (call.batch, readers.counter.value) == (None, 0)
    readers.assert_quiet()


async def test_calls_that_differ_in_anything_else_are_not_gathered(clock: ManualClock) -> None:
    """Each of these is alone."""
    readers = Readers(clock)
    await readers.ask(b"/c/1")
    await readers.ask(b"/c/2?x=1")
    await readers.ask(b"/c/3", [(b"A", b"1")])
    await readers.ask(b"/c/4", method="HEAD")
    await clock.advance(WITHIN)
    assert sorted(asked.call.target for asked in readers.asked) == [b"/c/1", b"/c/2?x=1", b"/c/3", b"/c/4"]
    for asked in readers.asked:
        asked.answer(b"")
    await settle()
    readers.assert_quiet()


async def test_equal_ids_are_asked_for_once(clock: ManualClock) -> None:
    """And each gets an answer of its own."""
    readers = Readers(clock)
    tasks = await readers.ask_all(7, 7, 8, 7)
    assert readers.asked[0].call.target == b"/c?ids=7,8"
    readers.asked[0].answer(things(8, 7), headers=JSON)
    assert [(await body_of(task))["id"] for task in tasks] == [7, 7, 8, 7]


async def test_a_full_one_goes_at_once_and_the_next_begins_another(clock: ManualClock) -> None:
    """No call is for more ids than the vendor takes."""
    readers = Readers(clock, ids_max=2)
    await readers.ask(b"/c/1")
    await readers.ask(b"/c/2")
    assert [asked.call.target for asked in readers.asked] == [b"/c?ids=1,2"]
    tasks = await readers.ask_all(3, 4, 5, 6)
    assert [asked.call.target for asked in readers.asked] == [b"/c?ids=1,2", b"/c?ids=3,4", b"/c?ids=5,6"]
    for asked, ids in zip(readers.asked, [(1, 2), (3, 4), (5, 6)], strict=True):
        asked.answer(things(*ids), headers=JSON)
    assert [(await body_of(task))["id"] for task in tasks] == [3, 4, 5, 6]
    await settle()
    readers.assert_quiet()


async def test_the_thing_may_be_wrapped_as_the_single_read_has_it(clock: ManualClock) -> None:
    """`{"contact": {...}}`."""
    readers = Readers(clock, wrap="contact", answer_items="data.list", id="ref.key")
    tasks = await readers.ask_all("a", "b")
    readers.asked[0].answer(b'{"data":{"list":[{"ref":{"key":"b"}},{"ref":{"key":"a"}}]}}', headers=JSON)
    assert await body_of(tasks[0]) == {"contact": {"ref": {"key": "a"}}}


# Ids that are not there.


async def test_an_id_that_is_not_in_the_answer_is_404_and_the_others_have_theirs(clock: ManualClock) -> None:
    """The vendor said what it has."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2, 3)
    readers.asked[0].answer(things(1, 3, 99), headers=JSON)
    assert (await body_of(tasks[0]))["id"] == 1
    with pytest.raises(NotInAnswer, match="3 ids") as raised:
        await tasks[1]
    assert (raised.value.status, raised.value.code) == (404, "not_in_answer")
    assert (await body_of(tasks[2]))["id"] == 3


async def test_or_it_is_asked_for_by_itself_where_the_route_says_so(clock: ManualClock) -> None:
    """For vendors that answer a merged or renamed thing under another id."""
    readers = Readers(clock, missing="ask")
    tasks = await readers.ask_all(1, 2)
    readers.asked[0].answer(things(1), headers=JSON)
    await settle()
    assert [asked.call.target for asked in readers.asked] == [b"/c?ids=1,2", b"/c/2"]
    readers.asked[1].answer(b'{"id":7}')
    assert await body_of(tasks[1]) == {"id": 7}


async def test_an_id_that_is_there_twice_is_asked_for_by_itself(clock: ManualClock) -> None:
    """Nobody can say which it is."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2)
    readers.asked[0].answer(b'{"results":[{"id":1,"a":1},{"id":2},{"id":"1","a":2}]}', headers=JSON)
    await settle()
    assert readers.asked[1].call.target == b"/c/1"
    readers.asked[1].answer(b'{"id":1}')
    assert await body_of(tasks[0]) == {"id": 1}
    assert await body_of(tasks[1]) == {"id": 2}


# Failures.


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 503])
async def test_what_the_vendor_says_to_all_each_is_told(clock: ManualClock, status: int) -> None:
    """With head and body; a crowd that asked each for itself would only make it worse."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2)
    headers = [(b"Content-Length", b"4"), (b"Retry-After", b"7")]
    readers.asked[0].answer(b"down", status=status, headers=headers)
    replies = [await task for task in tasks]
    assert [(reply.status, await read_all(reply.body)) for reply in replies] == [(status, b"down")] * 2
    assert [reply.headers for reply in replies] == [headers] * 2
    replies[0].headers.append((b"X", b"y"))
    assert replies[1].headers == headers
    assert len(readers.asked) == 1
    assert readers.asked[0].outcome() is (Outcome.FAILURE if status >= 500 else Outcome.SUCCESS)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"body": b"{}", "status": 400}, "answered 400"),
        ({"body": b"{}", "status": 404}, "answered 404"),
        ({"body": b"", "status": 302}, "answered 302"),
        ({"body": b"<html>", "headers": [(b"Content-Type", b"text/html")]}, "Content-Type"),
        ({"body": b'{"results":{}}'}, "no JSON list"),
        ({"body": b"[" * 50_000}, "no JSON list"),
        ({"body": b'{"results":[{"x":1}]}'}, "no id"),
        ({"body": b'{"results":[1,null]}'}, "no id"),
        ({"body": b"xx", "headers": [(b"Content-Encoding", b"br")]}, "encoded in a way"),
        ({"body": b"xx", "headers": [(b"Content-Encoding", b"gzip")]}, "unpacked"),
        ({"body": b" " * 2**21}, "over gather.body_max"),
        ({"body": b"", "status": 204}, "no body"),
    ],
)
async def test_when_nothing_can_be_shared_each_asks_for_itself(
    clock: ManualClock, answer: dict[str, Any], why: str
) -> None:
    """One id among many may be what the vendor did not like; and an answer of another form is nobody's."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2)
    readers.asked[0].answer(**answer)
    await settle()
    assert [asked.call.target for asked in readers.asked[1:]] == [b"/c/1", b"/c/2"]
    assert readers.asked[0].outcome() is Outcome.FAILURE
    for number, asked in enumerate(readers.asked[1:], 1):
        asked.answer(b'{"id":%d}' % number)
    assert [(await body_of(task))["id"] for task in tasks] == [1, 2]
    assert {call.batch is not None and why in call.batch.why for call, _ in readers.calls} == {True}
    assert readers.counter.value == 0
    await settle()
    readers.assert_quiet()


async def test_an_answer_of_ten_thousand_serves_those_who_asked(clock: ManualClock) -> None:
    """Within `body_max`; the rest of it is nobody's."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 9999)
    readers.asked[0].answer(things(*range(10_000)), headers=JSON)
    assert [(await body_of(task))["id"] for task in tasks] == [1, 9999]


async def test_a_squeezed_answer_is_unpacked(clock: ManualClock) -> None:
    """Though it was asked for plainly."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2)
    readers.asked[0].answer(gzip.compress(things(1, 2)), headers=[*JSON, (b"Content-Encoding", b"gzip")])
    assert [(await body_of(task))["id"] for task in tasks] == [1, 2]
    assert (await tasks[0]).headers == JSON


@pytest.mark.parametrize("error", [UpstreamReset("gone"), CircuitOpen("not now", retry_after=2.0)])
async def test_a_failure_is_told_to_each_as_an_error_of_its_own(
    clock: ManualClock, error: UpstreamReset | CircuitOpen
) -> None:
    """One exception raised by many grows with each; the request id is put on by each call's own door."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2, 3)
    readers.asked[0].break_off(error)
    raised = []
    for task in tasks:
        with pytest.raises(type(error)) as one:
            await task
        raised.append(one.value)
    assert len({id(one) for one in raised}) == 3
    assert {(one.detail, one.retry_after) for one in raised} == {(error.detail, error.retry_after)}
    assert readers.asked[0].outcome() is error.outcome


async def test_a_failure_whose_body_is_too_long_is_told_without_it(clock: ManualClock) -> None:
    """Its status is what matters."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2)
    readers.asked[0].answer(b"x" * 2**21, status=503, headers=[(b"Content-Length", b"%d" % 2**21), (b"X", b"y")])
    replies = [await task for task in tasks]
    assert [(reply.status, await read_all(reply.body), reply.headers) for reply in replies] == [
        (503, b"", [(b"X", b"y")])
    ] * 2


async def test_a_fault_of_ours_is_told_once_and_the_others_ask_for_themselves(clock: ManualClock) -> None:
    """It may have been this one call's."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2)
    readers.asked[0].break_off(ZeroDivisionError("a fault"))
    with pytest.raises(ZeroDivisionError):
        await tasks[0]
    await settle()
    readers.asked[1].answer(b'{"id":2}')
    assert await body_of(tasks[1]) == {"id": 2}


# Leaving, and time.


async def test_who_hangs_up_in_the_window_is_not_asked_for(clock: ManualClock) -> None:
    """And when all but one left, it is the plain read."""
    readers = Readers(clock)
    for number in (1, 2, 3):
        await readers.ask(b"/c/%d" % number)
    await readers.hang_up(0)
    await clock.advance(WITHIN)
    assert readers.asked[0].call.target == b"/c?ids=2,3"
    readers.asked[0].answer(things(2, 3), headers=JSON)
    await settle()
    await readers.ask(b"/c/4")
    await readers.ask(b"/c/5")
    await readers.hang_up(3)
    await clock.advance(WITHIN)
    assert readers.asked[1].call.target == b"/c/5"
    readers.asked[1].answer(b"")
    await settle()
    readers.assert_quiet()


async def test_who_hangs_up_later_cancels_nobody(clock: ManualClock) -> None:
    """Not even the first, on whom the attempts show."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2)
    await readers.hang_up(0)
    assert readers.asked[0].outcome() is None
    readers.asked[0].answer(things(1, 2), headers=JSON)
    assert (await body_of(tasks[1]))["id"] == 2
    await settle()
    readers.assert_quiet()


async def test_when_all_hang_up_the_call_is_cancelled(clock: ManualClock) -> None:
    """In the window and behind it; the next one begins anew."""
    readers = Readers(clock)
    await readers.ask(b"/c/1")
    await readers.ask(b"/c/2")
    await readers.hang_up(0)
    await readers.hang_up(1)
    readers.assert_quiet()
    assert not readers.asked
    await readers.ask_all(3, 4)
    await readers.hang_up(2)
    await readers.hang_up(3)
    assert readers.asked[0].outcome() is Outcome.CANCELLED
    readers.assert_quiet()


async def test_the_vendor_call_has_the_longest_time_and_those_with_less_leave(clock: ManualClock) -> None:
    """Each at its own deadline, and the vendor is not blamed for their hurry."""
    readers = Readers(clock)
    _, hurried = await readers.ask(b"/c/1", seconds=1)
    patient, task = await readers.ask(b"/c/2", seconds=9)
    await clock.advance(WITHIN)
    child = readers.asked[0].call
    assert child.deadline_at == patient.deadline_at
    await clock.advance(1)
    with pytest.raises(DeadlineExceeded, match="several ids") as raised:
        await hurried
    assert not raised.value.blames_vendor
    assert readers.asked[0].outcome() is None
    readers.asked[0].answer(things(1, 2), headers=JSON)
    assert (await body_of(task))["id"] == 2
    await settle()
    readers.assert_quiet()


async def test_a_vendor_that_hangs_fails_the_call_instead_of_being_left(clock: ManualClock) -> None:
    """At the longest deadline it is the vendor call that says what used the time up, and the circuit hears it."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2, seconds=2)
    clock.tick(2)
    await settle()
    assert readers.asked[0].outcome() is None
    readers.asked[0].break_off(DeadlineExceeded("the step was: waiting for the answer's first byte"))
    for task in tasks:
        with pytest.raises(DeadlineExceeded, match="first byte"):
            await task
    assert readers.asked[0].outcome() is Outcome.FAILURE
    await settle()
    readers.assert_quiet()


async def test_who_has_no_time_for_the_window_does_not_wait(clock: ManualClock) -> None:
    """It goes by itself, at once."""
    readers = Readers(clock)
    _, task = await readers.ask(b"/c/1", seconds=WITHIN)
    assert readers.asked[0].call.target == b"/c/1"
    readers.asked[0].answer(b"")
    await task
    readers.assert_quiet()


async def test_a_body_that_does_not_end_is_no_answer(clock: ManualClock) -> None:
    """Until the deadline; who has none left then hears of it from the plain read."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2, seconds=2)
    readers.asked[0].answer(Body(None), headers=JSON)
    await clock.advance(2)
    for asked in readers.asked[1:]:
        asked.break_off(DeadlineExceeded("the call's time is used up"))
    for task in tasks:
        with pytest.raises(DeadlineExceeded):
            await task
    await settle()
    readers.assert_quiet()


async def test_a_process_that_stops_tells_those_who_wait(clock: ManualClock) -> None:
    """In the window, and behind it."""
    readers = Readers(clock)
    _, first = await readers.ask(b"/c/1")
    await readers.tasks.stop()
    with pytest.raises(Draining):
        await first
    readers.assert_quiet()


async def test_followers_show_with_which_credential_they_were_answered(clock: ManualClock) -> None:
    """The audit log has a record for each of them."""
    readers = Readers(clock)
    tasks = await readers.ask_all(1, 2)
    readers.asked[0].call.credential = "crm"
    readers.asked[0].answer(things(1, 2), headers=JSON)
    await asyncio.wait(tasks)
    assert [call.credential for call, _ in readers.calls] == ["crm", "crm"]
