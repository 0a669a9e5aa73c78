"""Of a batch only what failed is sent again; the app gets one answer, in its order, whatever becomes of that."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from sidecar.core.advice import Advice
from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import BatchNote, Call, Reply
from sidecar.core.errors import CircuitOpen, DeadlineExceeded, UpstreamReset
from sidecar.core.outcome import Outcome
from sidecar.layers.batch.config import BatchConfig
from sidecar.layers.batch.layer import derived
from sidecar.layers.idempotency.field import FieldPlace
from sidecar.layers.idempotency.places import QueryPlace
from sidecar.layers.retry.budget import Budget
from tests.kit.clock import ManualClock, settle
from tests.layers.batch.scripted import (
    BY_ID,
    JSON,
    PLAIN,
    Sendings,
    failed_header,
    failing,
    ids,
    results,
)  # fmt: skip
from tests.layers.calls import call_for, read_all

GZIP = (b"Content-Encoding", b"gzip")


async def ask(sendings: Sendings, items: Any, **more: Any) -> tuple[Any, Reply]:
    """Send a batch, let its waits pass, and give the call and the reply."""
    call = sendings.call(items, **more)
    task = asyncio.create_task(sendings.layer(call))
    for _ in range(30):
        await sendings.clock.advance(0.5)
    return call, await task


def note_of(call: Call) -> BatchNote:
    """Give what the line will tell."""
    assert call.batch is not None
    return call.batch


async def statuses(reply: Reply) -> list[tuple[Any, int]]:
    """Give (id, status) of each item of the answer."""
    return [(one["id"], one["status"]) for one in json.loads(await read_all(reply.body))["results"]]


# What is sent again.


async def test_an_answer_without_failures_passes_untouched(clock: ManualClock) -> None:
    """Byte for byte, with the head that it came with; only the count of failures comes on top."""
    content = b'{ "results" : [ {"id":1, "status":200.0} ],"x":1.0}'
    answer = Reply(207, b"Multi", [*JSON, (b"ETag", b"1")], Body.of(content))
    sendings = Sendings(clock, answer)
    call, reply = await ask(sendings, ids(1))
    assert reply is answer
    assert (reply.status, await read_all(reply.body)) == (207, content)
    assert reply.headers == [*JSON, (b"ETag", b"1"), (b"Sidecar-Batch-Failed", b"0")]
    assert (note_of(call).items, note_of(call).sent_again, note_of(call).failed, note_of(call).why) == (1, 0, 0, "")
    assert sendings.outcomes == []  # It ends with the call.
    call.end(Outcome.SUCCESS)


async def test_only_what_failed_goes_again_and_comes_back_in_its_place(clock: ManualClock) -> None:
    """The envelope and the status are those of the first answer."""
    sendings = Sendings(clock, failing(2, 4), failing(4), failing())
    call, reply = await ask(sendings, ids(1, 2, 3, 4))
    assert sendings.sent == [ids(1, 2, 3, 4), ids(2, 4), ids(4)]
    assert await statuses(reply) == [(1, 200), (2, 200), (3, 200), (4, 200)]
    assert failed_header(reply) == [b"0"]
    assert sendings.outcomes == [Outcome.SUCCESS] * 3  # Each gave back what it had taken before the next began.
    assert (note_of(call).sent_again, sendings.parts.sent_again.value, sendings.parts.failed.value) == (3, 3, 0)
    assert len(call.attempts) == 3
    assert sendings.counted == ["started", "started"]
    assert b"content-length" not in {name.lower() for name, _ in reply.headers}
    assert reply.body.length is None


async def test_bytes_of_items_survive_both_ways(clock: ManualClock) -> None:
    """What is sent again is what the app wrote, and what comes back is what the vendor wrote."""
    big = b'{"id":123456789012345678901234567890,"amount":1.0,"n":"\\u00fc\xc3\xbc"}'
    raw: list[bytes] = []

    def answer(_items: list[Any]) -> Reply:
        bad = b'{"status":503,"v":1.0}'
        good = b'{"status":200,"v":2.00,"n":"\xc3\xbc"}'
        content = (
            b'{"results":[' + (good + b"," + bad if len(sendings.sent) == 1 else b'{"status":200,"v":1e2}') + b"]}"
        )
        return Reply(200, b"OK", list(JSON), Body.of(content))

    sendings = Sendings(clock, answer)
    inner = sendings.layer._inner

    async def noting(call: Any) -> Reply:
        raw.append(await call.body.ahead(10**6))
        return await inner(call)

    sendings.layer._inner = noting
    _, reply = await ask(sendings, b'{"v":1.0,"records":[ {"id":1} , ' + big + b"]}")
    assert raw[0] == b'{"v":1.0,"records":[ {"id":1} , ' + big + b"]}"
    assert raw[1] == b'{"v":1.0,"records":[' + big + b"]}"
    assert await read_all(reply.body) == b'{"results":[{"status":200,"v":2.00,"n":"\xc3\xbc"},{"status":200,"v":1e2}]}'


async def test_the_body_itself_may_be_the_list(clock: ManualClock) -> None:
    """On both sides."""
    config = BatchConfig(request_items="@", answer_items="@", failed="code != `0`")
    contents = [b'[{"code":0},{"code":9}]', b'[{"code":0,"n":2}]']

    def answer(_: list[Any]) -> Reply:
        return Reply(200, b"OK", [], Body.of(contents[len(sendings.sent) - 1]))

    sendings = Sendings(clock, answer, config=config)
    _, reply = await ask(sendings, b'["a","b"]')
    assert sendings.sent == [["a", "b"], ["b"]]
    assert await read_all(reply.body) == b'[{"code":0},{"code":0,"n":2}]'


async def test_what_is_not_worth_it_is_not_sent_again(clock: ManualClock) -> None:
    """A record that is wrong stays wrong; it is reported at once."""
    config = BatchConfig(
        request_items="records", answer_items="results", failed="status >= `400`",
        retryable="status == `429` || status >= `500`",
    )  # fmt: skip
    mixed = results([{"id": 1, "status": 422}, {"id": 2, "status": 429}])
    sendings = Sendings(clock, mixed, results([{"id": 2, "status": 400}]), config=config)
    call, reply = await ask(sendings, ids(1, 2))
    assert sendings.sent == [ids(1, 2), ids(2)]
    assert await statuses(reply) == [(1, 422), (2, 400)]
    assert (failed_header(reply), note_of(call).failed, sendings.parts.failed.value) == ([b"2"], 2, 2)


async def test_answers_are_found_by_id_in_whatever_order_they_come(clock: ManualClock) -> None:
    """The app reads them in the order in which it asked, also when nothing failed; 7 and "7" are one."""
    config = BatchConfig(
        request_items="records", answer_items="results", failed="status >= `400`", id="id", answer_id="ref.key"
    )
    first = results([{"ref": {"key": 7}, "status": 503}, {"ref": {"key": "b"}, "status": 200}])
    sendings = Sendings(clock, first, results([{"ref": {"key": "7"}, "status": 201}]), config=config)
    _, reply = await ask(sendings, ids("b", "7"))
    assert sendings.sent == [ids("b", "7"), ids("7")]
    assert [one["status"] for one in json.loads(await read_all(reply.body))["results"]] == [200, 201]
    turned = Sendings(clock, results([{"id": 2, "status": 200}, {"id": 1, "status": 200}]), config=BY_ID)
    _, reply = await ask(turned, ids(1, 2))
    assert await statuses(reply) == [(1, 200), (2, 200)]
    assert len(turned.sent) == 1


# When, and how often.


async def test_waits_grow_and_end_with_attempts_max(clock: ManualClock) -> None:
    """The waits are those of `retry`, here the middle of what chance may draw."""
    began_at = clock.now()
    sendings = Sendings(clock, failing(1))
    call, reply = await ask(sendings, ids(1))
    assert [at - began_at for at in sendings.at] == [0.0, 0.5, 1.5]
    assert call.backoff_s == 1.5
    assert (await statuses(reply), failed_header(reply)) == ([(1, 503)], [b"1"])
    assert note_of(call).why == "attempts_max = 3"


async def test_a_told_time_wins_over_the_backoff(clock: ManualClock) -> None:
    """`Retry-After` of an answer in which only some failed."""

    def throttled(_: list[Any]) -> Reply:
        reply = results([{"id": 1, "status": 429}])
        reply.advice = Advice()
        reply.advice.retry_after = 4.0
        return reply

    sendings = Sendings(clock, throttled, failing())
    await ask(sendings, ids(1))
    assert sendings.at[1] - sendings.at[0] >= 4.02


@pytest.mark.parametrize(
    ("seconds", "asked", "most", "why"),
    [(0.4, None, 3, "do not fit"), (20.0, 1, 3, "attempts_max = 1"), (20.0, None, 1, "attempts_max = 1")],
)
async def test_nothing_is_sent_again_past_deadline_app_or_route(
    clock: ManualClock, seconds: float, asked: int | None, most: int, why: str
) -> None:
    """The answer that is there goes to the app at once."""
    sendings = Sendings(clock, failing(2), attempts_max=most)
    call = sendings.call(ids(1, 2), seconds=seconds)
    call.attempts_max = asked
    reply = await sendings.layer(call)
    assert (len(sendings.sent), failed_header(reply)) == (1, [b"1"])
    assert why in note_of(call).why


async def test_the_app_may_lower_the_number_of_all_attempts_together(clock: ManualClock) -> None:
    """What `retry` used up of it for the first sending is not there for the others."""
    sendings = Sendings(clock, failing(1), attempts_max=9)
    call = sendings.call(ids(1))
    call.attempts_max = 3
    task = asyncio.create_task(sendings.layer(call))
    await clock.advance(10)
    await task
    assert [one.attempts_max for one in sendings.calls] == [3, 2, 1]
    assert len(call.attempts) == 3


async def test_the_budget_of_extra_attempts_holds_for_batches_too(clock: ManualClock) -> None:
    """A vendor that fails in part is still one that fails."""
    sendings = Sendings(clock, failing(1), budget=Budget(0.0, 0, clock.now()))
    call, reply = await ask(sendings, ids(1))
    assert (len(sendings.sent), failed_header(reply)) == (1, [b"1"])
    assert (note_of(call).why, sendings.counted) == ("the service's retry budget is used up", ["budget"])


async def test_a_vendor_that_asks_not_to_be_tried_again_is_not(clock: ManualClock) -> None:
    """Its own word."""
    answer = results([{"id": 1, "status": 503}])
    answer.advice = Advice()
    answer.advice.should_retry = False
    sendings = Sendings(clock, answer)
    call, _ = await ask(sendings, ids(1))
    assert (len(sendings.sent), note_of(call).why) == (1, "the vendor asks not to be tried again")


# Keys.


async def test_each_sending_has_a_key_of_its_own(clock: ManualClock) -> None:
    """The same key with another body would be refused with 422; the same sending has the same key each time."""
    sendings = Sendings(clock, failing(2, 3), failing(3), failing())
    call = sendings.call(ids(1, 2, 3), headers=[(b"Idempotency-Key", b"order-7")])
    call.idempotency_key = b"order-7"
    task = asyncio.create_task(sendings.layer(call))
    await clock.advance(10)
    await task
    assert [one.idempotency_key for one in sendings.calls] == [b"order-7", b"order-7-2", b"order-7-3"]
    fields = [[value for name, value in one.headers if name == b"Idempotency-Key"] for one in sendings.calls]
    assert fields == [[b"order-7"], [b"order-7-2"], [b"order-7-3"]]
    assert call.idempotency_key == b"order-7"


async def test_a_key_in_query_or_body_is_replaced_there(clock: ManualClock) -> None:
    """Wherever this vendor looks."""
    in_query = Sendings(clock, failing(1), failing(), place=QueryPlace("requestid"))
    call = in_query.call(ids(1))
    call.target, call.idempotency_key = b"/bulk?requestid=k&x=1", b"k"
    task = asyncio.create_task(in_query.layer(call))
    await clock.advance(10)
    await task
    assert [one.target for one in in_query.calls] == [b"/bulk?requestid=k&x=1", b"/bulk?x=1&requestid=k-2"]
    in_body = Sendings(clock, failing(1), failing(), place=FieldPlace("key", 1000, clock))
    bodies: list[bytes] = []
    inner = in_body.layer._inner

    async def noting(call: Any) -> Reply:
        bodies.append(await call.body.ahead(10**6))
        return await inner(call)

    in_body.layer._inner = noting
    call = in_body.call(b'{"key":"k","records":[{"id":1}],"v":1.0}')
    call.idempotency_key = b"k"
    task = asyncio.create_task(in_body.layer(call))
    await clock.advance(10)
    await task
    assert bodies[1] == b'{"key":"k-2","records":[{"id":1}],"v":1.0}'


def test_a_key_that_would_be_too_long_is_made_of_its_digest() -> None:
    """Still the same each time, and another one for each sending."""
    key = b"k" * 36
    assert derived(key, 2, 255) == key + b"-2"
    short = {derived(key, number, 36) for number in range(2, 12)}
    assert (len(short), {len(one) for one in short}) == (10, {36})
    assert derived(key, 2, 36) == derived(key, 2, 36)


# What fails on the way.


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (UpstreamReset("gone"), "upstream_reset: gone"),
        (CircuitOpen("not now"), "circuit_open"),
        (DeadlineExceeded("late"), "deadline_exceeded"),
        (Reply(500, b"No", [], Body.of(b"down")), "answered 500 to all"),
        (Reply(422, b"No", list(JSON), Body.of(b'{"results":[]}')), "answered 422 to all"),
        (Reply(200, b"OK", [], Body.of(b"<html>")), "there is no JSON list"),
        (results([]), "0 items for the 1"),
        (results([{"status": 200}, {"status": 200}]), "2 items for the 1"),
    ],
)
async def test_a_sending_that_fails_as_a_whole_keeps_what_is_known(
    clock: ManualClock, broken: Reply | Exception, words: str
) -> None:
    """Two items went well, and the app has to hear it: one that took the whole for failed would do them again."""
    sendings = Sendings(clock, failing(2), broken)
    call, reply = await ask(sendings, ids(1, 2, 3))
    assert (reply.status, await statuses(reply)) == (200, [(1, 200), (2, 503), (3, 200)])
    assert failed_header(reply) == [b"1"]
    assert words in note_of(call).why
    assert len(sendings.outcomes) == 2
    assert len(sendings.sent) == 2


async def test_a_first_sending_that_fails_is_the_apps_to_see(clock: ManualClock) -> None:
    """Nothing is known, so nothing is put together; `retry` below has done what it may."""
    down = Reply(503, b"Down", [], Body.of(b"down"))
    sendings = Sendings(clock, down)
    call, reply = await ask(sendings, ids(1))
    assert reply is down
    assert (failed_header(reply), note_of(call).why) == (
        [],
        "the answer passed as it came: the vendor answered 503 to all of it",
    )
    with pytest.raises(UpstreamReset):
        await Sendings(clock, UpstreamReset("gone")).layer(sendings.call(ids(1)))


async def test_an_app_that_hangs_up_ends_the_sending_under_way(clock: ManualClock) -> None:
    """What it had taken is given back."""
    never: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    sendings = Sendings(clock, failing(1))
    inner = sendings.layer._inner

    async def stuck(call: Any) -> Reply:
        reply = await inner(call)
        return await never if len(sendings.sent) == 2 else reply

    sendings.layer._inner = stuck
    call = sendings.call(ids(1))
    task = asyncio.create_task(sendings.layer(call))
    await clock.advance(1)
    assert len(sendings.sent) == 2
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert sendings.outcomes == [Outcome.SUCCESS, Outcome.CANCELLED]
    assert clock.pending == 0


async def test_an_app_that_hangs_up_between_two_sendings_leaves_nothing(clock: ManualClock) -> None:
    """Not even a timer."""
    sendings = Sendings(clock, failing(1))
    task = asyncio.create_task(sendings.layer(sendings.call(ids(1))))
    await settle()
    task.cancel()
    await asyncio.wait([task])
    assert (len(sendings.sent), sendings.outcomes, clock.pending) == (1, [Outcome.SUCCESS], 0)


# What is not as described.


@pytest.mark.parametrize(
    ("content", "config", "why"),
    [
        (b'{"other":[]}', PLAIN, "there is no 'records'"),
        (b'{"records":"x"}', PLAIN, "there is no JSON list at records"),
        (b'{"records":' + b"1," * 3000 + b"]", PLAIN, "there is no JSON list"),
        (b'{"records":[' + b"1," * 1000 + b"1]}", PLAIN, "1001 items, over batch.items_max = 1000"),
        (b'{"records":[' + b"1," * 2**20 + b"1]}", PLAIN, "over batch.body_max"),
        (b'{"records":[{"id":1},{"id":"1"}]}', BY_ID, "the same id"),
        (b'{"records":[{"id":1},{"x":1}]}', BY_ID, "no id"),
        (b'{"records":[{"id":1.0}]}', BY_ID, "no id"),
    ],
    ids=lambda value: str(value[:20]) if isinstance(value, bytes) else None,
)
async def test_a_request_that_is_not_as_described_passes_untouched(
    clock: ManualClock, content: bytes, config: BatchConfig, why: str
) -> None:
    """The vendor judges it; the line says why nobody else did."""
    sent: list[bytes] = []
    answer = Reply(400, b"No", [], Body.of(b"no"))

    async def inner(call: Any) -> Reply:
        sent.append(await read_all(call.body))
        assert (b"Accept-Encoding", b"identity") not in call.headers
        return answer

    sendings = Sendings(clock, config=config)
    sendings.layer._inner = inner
    call = sendings.call(content)
    assert await sendings.layer(call) is answer
    assert sent == [content]
    assert why in note_of(call).why


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (results([]), "0 items for the 2"),
        (results([{"id": i, "status": 503} for i in range(10_000)]), "10000 items for the 2"),
        (results([{"id": 1, "status": 503}, {"id": 1, "status": 503}]), "one twice"),
        (results([{"id": 1, "status": 503}, {"id": 9, "status": 503}]), "was not sent"),
        (results([{"id": 1, "status": 503}, {"status": 503}]), "no id"),
        (results([{"id": 1, "status": 503}, {"id": [1], "status": 503}]), "no id"),
        (Reply(200, b"OK", list(JSON), Body.of(b"not json")), "no JSON list"),
        (Reply(200, b"OK", list(JSON), Body.of(b'{"results":{"results":[]}}')), "no JSON list"),
        (Reply(200, b"OK", list(JSON), Body.of(b"[" * 50_000)), "no JSON list"),
        (Reply(200, b"OK", [(b"Content-Type", b"text/html")], Body.of(b"{}")), "Content-Type"),
        (Reply(200, b"OK", [*JSON, (b"Content-Encoding", b"br")], Body.of(b"xx")), "encoded"),
        (Reply(200, b"OK", [*JSON, GZIP], Body.of(b"xx")), "unpacked"),
        (Reply(200, b"OK", [*JSON, GZIP], Body.of(gzip.compress(b" " * 2**21))), "unpacked, is"),
        (Reply(200, b"OK", list(JSON), Body.of(b" " * 2**21)), "over batch.body_max"),
        (Reply(204, b"OK", [], Body.of(b"")), "no body"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_as_described_passes_untouched(clock: ManualClock, answer: Reply, why: str) -> None:
    """Whatever it is, nothing is sent again on the strength of it, and no byte of it changes."""
    before = b"".join(answer.body._pieces)
    sendings = Sendings(clock, answer, config=BY_ID)
    call, reply = await ask(sendings, ids(1, 2))
    assert reply is answer
    assert await read_all(reply.body) == before
    assert (len(sendings.sent), failed_header(reply)) == (1, [])
    assert why in note_of(call).why


async def test_an_answer_that_was_squeezed_all_the_same_is_unpacked(clock: ManualClock) -> None:
    """It was asked for plainly; what is put together is plain, and says so."""
    squeezed = gzip.compress(json.dumps({"results": [{"id": 1, "status": 503}]}).encode())
    first = Reply(200, b"OK", [*JSON, (b"Content-Encoding", b"gzip"), (b"ETag", b"1")], Body.of(squeezed))
    sendings = Sendings(clock, first, failing())
    _, reply = await ask(sendings, ids(1), headers=[(b"Accept-Encoding", b"gzip, br")])
    assert await statuses(reply) == [(1, 200)]
    assert {name for name, _ in reply.headers} == {b"Content-Type", b"Sidecar-Batch-Failed"}
    assert [value for name, value in sendings.calls[0].headers if name == b"Accept-Encoding"] == [b"identity"]


async def test_an_answer_that_does_not_end_in_time_goes_on_as_a_stream(clock: ManualClock) -> None:
    """With every byte that was looked at."""
    body = Body(None)
    body.feed(b'{"results":')
    sendings = Sendings(clock, Reply(200, b"OK", list(JSON), body))
    call = sendings.call(ids(1), seconds=2)
    task = asyncio.create_task(sendings.layer(call))
    await clock.advance(2)
    reply = await task
    body.feed(b"[]}")
    body.finish()
    assert await read_all(reply.body) == b'{"results":[]}'
    assert "did not end" in note_of(call).why


async def test_what_has_no_body_or_no_items_is_not_looked_at(clock: ManualClock) -> None:
    """A GET on the route passes as on any other."""
    answer = Reply(200, b"OK", [], Body.of(b""))
    sendings = Sendings(clock, answer)
    call = call_for("GET", body=NO_BODY)

    async def inner(_: Any) -> Reply:
        return answer

    sendings.layer._inner = inner
    assert await sendings.layer(call) is answer
    assert call.batch is None
    assert await sendings.layer(sendings.call([])) is answer


async def test_a_thousand_items_are_judged_in_turns(clock: ManualClock) -> None:
    """Other calls go on meanwhile."""
    turns: list[float] = []
    sendings = Sendings(clock, failing())
    plain = clock.sleep

    async def counted(seconds: float) -> None:
        turns.append(seconds)
        await plain(seconds)

    clock.sleep = counted  # type: ignore[method-assign]
    await sendings.layer(sendings.call(ids(*range(1000))))
    assert turns == [0] * 5
