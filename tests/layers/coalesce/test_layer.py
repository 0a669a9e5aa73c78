"""Equal reads share one call; nobody's leaving, slowness or length is another's problem."""

import asyncio
import traceback

import pytest

from sidecar.core.body import Body
from sidecar.core.errors import DeadlineExceeded, Draining, UpstreamReset
from sidecar.core.outcome import Outcome
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import read_all
from tests.layers.coalesce.shared import Crowd


async def test_equal_gets_share_one_call_and_each_gets_an_answer_of_its_own(clock: ManualClock) -> None:
    """One list of headers or one body for two would let one app's layers spoil the other's answer."""
    crowd = Crowd(clock)
    tasks = [(await crowd.ask())[1] for _ in range(3)]
    (asked,) = crowd.asked
    original = asked.answer(b"hello", headers=[(b"ETag", b"1"), (b"Content-Length", b"5")])
    original.has_urls = True
    replies = [await task for task in tasks]
    assert [await read_all(reply.body) for reply in replies] == [b"hello"] * 3
    assert [(reply.status, reply.source, reply.has_urls) for reply in replies] == [(200, "upstream", True)] * 3
    replies[0].headers.append((b"X", b"y"))
    assert replies[1].headers == [(b"ETag", b"1"), (b"Content-Length", b"5")]
    assert crowd.counter.value == 2
    assert asked.outcome() is Outcome.SUCCESS
    await settle()
    crowd.assert_quiet()


async def test_the_attempts_show_on_the_call_that_made_them(clock: ManualClock) -> None:
    """So the sum over all lines is what the vendor saw."""
    crowd = Crowd(clock)
    leader, first = await crowd.ask()
    follower, second = await crowd.ask()
    crowd.asked[0].call.upstream_s = 1.5
    crowd.asked[0].answer(b"")
    await asyncio.wait([first, second])
    assert (len(leader.attempts), len(follower.attempts)) == (1, 0)
    assert (leader.upstream_s, follower.upstream_s) == (1.5, 0)


async def test_different_calls_and_calls_after_the_answer_are_made_by_themselves(clock: ManualClock) -> None:
    """It is no cache: what was asked after the answer is asked anew."""
    crowd = Crowd(clock)
    await crowd.ask(b"/a")
    await crowd.ask(b"/b")
    await crowd.ask(b"/a", method="HEAD")
    assert len(crowd.asked) == 3
    for asked in crowd.asked:
        asked.answer(b"")
    await settle()
    _, again = await crowd.ask(b"/a")
    assert len(crowd.asked) == 4
    crowd.asked[3].answer(b"")
    await again
    assert crowd.counter.value == 0


async def test_a_chunked_answer_is_framed_anew_for_each(clock: ManualClock) -> None:
    """Its head tells no length, so the body must not claim that it does; trailers come along."""
    crowd = Crowd(clock)
    tasks = [(await crowd.ask())[1] for _ in range(2)]
    body = Body(None)
    crowd.asked[0].answer(body)
    body.feed(b"one")
    await settle()
    body.feed(b"two")
    body.trailers = [(b"X-Sum", b"1")]
    body.finish()
    replies = [await task for task in tasks]
    assert [(reply.body.length, reply.body.trailers) for reply in replies] == [(None, [(b"X-Sum", b"1")])] * 2
    assert [await read_all(reply.body) for reply in replies] == [b"onetwo"] * 2


async def test_what_the_call_held_is_free_as_soon_as_its_body_is_read(clock: ManualClock) -> None:
    """A slow app must not keep the vendor's connection: the answer is in our hands."""
    crowd = Crowd(clock)
    leader, task = await crowd.ask()
    body = Body(3)
    crowd.asked[0].answer(body, status=503)
    await settle()
    assert crowd.asked[0].outcome() is None
    body.feed(b"abc")
    body.finish()
    await task
    assert crowd.asked[0].outcome() is Outcome.FAILURE
    assert leader.outcome is None


# Streams.


@pytest.mark.parametrize(
    ("kind", "length"),
    [(b"text/event-stream; charset=utf-8", None), (b"application/x-ndjson", None), (b"video/mp4", 101)],
)
async def test_a_stream_goes_to_one_and_the_others_ask_for_themselves(
    clock: ManualClock, kind: bytes, length: int | None
) -> None:
    """The leader gets the vendor's own body at once, with its back-pressure; nothing of it is kept here."""
    crowd = Crowd(clock)
    leader, first = await crowd.ask()
    _, second = await crowd.ask()
    _, third = await crowd.ask()
    original = crowd.asked[0].answer(Body(length), headers=[(b"Content-Type", kind)])
    assert await first is original
    await settle()
    assert len(crowd.asked) == 3
    assert crowd.asked[0].outcome() is None
    leader.end(Outcome.SUCCESS)
    assert crowd.asked[0].outcome() is Outcome.SUCCESS
    for asked in crowd.asked[1:]:
        asked.answer(b"mine", headers=[(b"Content-Type", kind)])
    assert [await read_all((await task).body) for task in (second, third)] == [b"mine"] * 2
    assert crowd.counter.value == 0


async def test_an_answer_that_grows_too_long_goes_on_with_every_byte(clock: ManualClock) -> None:
    """What was looked at ahead is still there for who streams it, and no more than the bound was kept."""
    crowd = Crowd(clock)
    _, first = await crowd.ask()
    body = Body(None)
    crowd.asked[0].answer(body)
    body.feed(b"x" * 100)
    await settle()
    assert not first.done()
    body.feed(b"y")
    reply = await first
    assert reply.body is body
    body.finish()
    assert await read_all(reply.body) == b"x" * 100 + b"y"


async def test_a_body_of_no_length_that_does_not_end_soon_is_taken_for_a_stream(clock: ManualClock) -> None:
    """An app that reads line by line, as from a model that writes, must not wait for the last one."""
    crowd = Crowd(clock)
    _, first = await crowd.ask()
    _, second = await crowd.ask()
    body = Body(None)
    crowd.asked[0].answer(body)
    body.feed(b"line")
    await clock.advance(0.99)
    assert not first.done()
    await clock.advance(0.01)
    assert (await first).body is body
    assert len(crowd.asked) == 2
    crowd.asked[1].answer(b"other")
    await second


async def test_an_answer_that_breaks_off_breaks_off_for_one(clock: ManualClock) -> None:
    """Half an answer is shared with nobody: the others may have better luck."""
    crowd = Crowd(clock)
    _, first = await crowd.ask()
    _, second = await crowd.ask()
    body = Body(50)
    crowd.asked[0].answer(body)
    body.feed(b"half")
    body.fail(UpstreamReset("gone"))
    with pytest.raises(UpstreamReset):
        await read_all((await first).body)
    await settle()
    crowd.asked[1].answer(b"whole")
    assert await read_all((await second).body) == b"whole"


# Hanging up.


async def test_the_others_live_on_when_the_leaders_app_hangs_up(clock: ManualClock) -> None:
    """The call is nobody's own."""
    crowd = Crowd(clock)
    await crowd.ask()
    _, second = await crowd.ask()
    await crowd.hang_up(0)
    _, third = await crowd.ask()
    assert len(crowd.asked) == 1
    crowd.asked[0].answer(b"hello")
    assert [await read_all((await task).body) for task in (second, third)] == [b"hello"] * 2
    await settle()
    crowd.assert_quiet()


async def test_the_call_is_cancelled_when_all_hung_up(clock: ManualClock) -> None:
    """At once, and the next one that asks begins anew instead of joining what dies."""
    crowd = Crowd(clock)
    await crowd.ask()
    await crowd.ask()
    await crowd.hang_up(1)
    assert crowd.asked[0].outcome() is None
    await crowd.hang_up(0)
    assert crowd.asked[0].outcome() is Outcome.CANCELLED
    crowd.assert_quiet()
    _, task = await crowd.ask()
    crowd.asked[1].answer(b"")
    await task


async def test_a_stream_whose_leader_left_goes_to_the_next_in_line(clock: ManualClock) -> None:
    """It is there and paid for; its attempts show where it goes."""
    crowd = Crowd(clock)
    await crowd.ask()
    second, task = await crowd.ask()
    await crowd.hang_up(0)
    original = crowd.asked[0].answer(Body(None), headers=[(b"Content-Type", b"text/event-stream")])
    assert await task is original
    assert len(second.attempts) == 1
    second.end(Outcome.CANCELLED)
    assert crowd.asked[0].outcome() is Outcome.CANCELLED


async def test_a_call_cancelled_before_its_first_step_ends_all_the_same(clock: ManualClock) -> None:
    """The app hung up in the very moment; the task of the call never ran."""
    crowd = Crowd(clock)
    call, task = await crowd.ask()
    crowd.asked[0].answer(b"")
    await task
    other = asyncio.create_task(crowd.layer(call))
    await settle(1)
    other.cancel()
    await asyncio.wait([other])
    await settle()
    crowd.assert_quiet()


async def test_a_process_that_stops_tells_those_who_wait(clock: ManualClock) -> None:
    """The task is cancelled by its owner; nobody is left hanging."""
    crowd = Crowd(clock)
    tasks = [(await crowd.ask())[1] for _ in range(2)]
    await crowd.tasks.stop()
    for task in tasks:
        with pytest.raises(Draining):
            await task
    crowd.assert_quiet()


# Failures and time.


async def test_a_failure_is_shared_and_each_raises_an_error_of_its_own(clock: ManualClock) -> None:
    """One exception raised by many grows with each, and tells about calls that are not its own."""
    crowd = Crowd(clock)
    tasks = [(await crowd.ask())[1] for _ in range(3)]
    error = UpstreamReset("the vendor closed", retry_after=2.0, proxy_error="http_response_incomplete")
    crowd.asked[0].break_off(error)
    raised = []
    for task in tasks:
        with pytest.raises(UpstreamReset) as one:
            await task
        raised.append(one.value)
    assert len({id(one) for one in raised}) == 3
    assert {(one.detail, one.retry_after, one.proxy_error) for one in raised} == {
        ("the vendor closed", 2.0, "http_response_incomplete")
    }
    assert len({len(traceback.extract_tb(one.__traceback__)) for one in raised}) == 1
    assert crowd.asked[0].outcome() is Outcome.FAILURE
    assert crowd.counter.value == 2


async def test_a_fault_of_ours_is_told_once_and_the_others_try_for_themselves(clock: ManualClock) -> None:
    """It may have been this one call's."""
    crowd = Crowd(clock)
    _, first = await crowd.ask()
    _, second = await crowd.ask()
    crowd.asked[0].break_off(ZeroDivisionError("a fault"))
    with pytest.raises(ZeroDivisionError):
        await first
    await settle()
    crowd.asked[1].answer(b"good")
    assert await read_all((await second).body) == b"good"


async def test_one_that_joins_late_waits_until_its_own_deadline(clock: ManualClock) -> None:
    """Then it leaves by itself, and the vendor is not blamed: our line used the time up."""
    crowd = Crowd(clock)
    _, first = await crowd.ask(seconds=10)
    _, second = await crowd.ask(seconds=2)
    await clock.advance(1.99)
    assert not second.done()
    await clock.advance(0.01)
    with pytest.raises(DeadlineExceeded, match="equal call") as raised:
        await second
    assert not raised.value.blames_vendor
    crowd.asked[0].answer(b"")
    await first
    await settle()
    crowd.assert_quiet()


async def test_when_the_leaders_time_is_up_those_with_time_left_share_another_call(clock: ManualClock) -> None:
    """Its shorter patience is nobody else's, and does not let the crowd loose on the vendor."""
    crowd = Crowd(clock)
    _, first = await crowd.ask(seconds=2)
    _, second = await crowd.ask(seconds=2)
    _, third = await crowd.ask(seconds=10)
    _, fourth = await crowd.ask(seconds=10)
    assert crowd.asked[0].call.deadline_at == clock.now() + 2
    clock.tick(2)
    crowd.asked[0].break_off(DeadlineExceeded("the call's time is used up"))
    await settle()
    for task in (first, second):
        with pytest.raises(DeadlineExceeded):
            await task
    assert len(crowd.asked) == 2
    crowd.asked[1].answer(b"in time")
    assert [await read_all((await task).body) for task in (third, fourth)] == [b"in time"] * 2
    await settle()
    crowd.assert_quiet()


async def test_an_attempt_that_took_too_long_is_shared_before_the_deadline(clock: ManualClock) -> None:
    """`attempt_timeout` is the route's, and would pass for the others, too."""
    crowd = Crowd(clock)
    tasks = [(await crowd.ask())[1] for _ in range(2)]
    crowd.asked[0].break_off(DeadlineExceeded("attempt_timeout = 1 s passed"))
    for task in tasks:
        with pytest.raises(DeadlineExceeded, match="attempt_timeout"):
            await task
    assert len(crowd.asked) == 1


async def test_a_body_that_outlasts_the_deadline_goes_on_as_a_stream(clock: ManualClock) -> None:
    """The deadline rules up to the head; the rest is the idle timeout's."""
    crowd = Crowd(clock)
    _, first = await crowd.ask(seconds=2)
    body = Body(4)
    crowd.asked[0].answer(body)
    await clock.advance(2)
    assert (await first).body is body


async def test_a_full_line_sends_the_next_one_by_itself(clock: ManualClock) -> None:
    """Nobody is refused for the sake of a saving."""
    crowd = Crowd(clock, waiting_max=2)
    for _ in range(3):
        await crowd.ask()
    assert len(crowd.asked) == 1
    _, alone = await crowd.ask()
    assert len(crowd.asked) == 2
    crowd.asked[1].answer(b"alone")
    assert await read_all((await alone).body) == b"alone"
    assert crowd.layer.snapshot() == {"shared_calls": 1, "waiting": 3, "coalesced": 0}
    crowd.asked[0].answer(b"")
    await settle()
    assert crowd.counter.value == 2
