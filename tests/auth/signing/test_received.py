import asyncio

import pytest

from sidecar.auth.signing.received import received
from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call
from sidecar.core.errors import BodyTooLarge, DeadlineExceeded
from sidecar.core.units import Size
from sidecar.layers.retry.replay import Replay
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import read_all

MAX = Size(10)


def call_with(body: Body) -> Call:
    """Make a call that sends `body`."""
    return Call("crm", "POST", b"/", [], body)


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 10])
async def test_a_body_in_hand_is_given_and_stays_for_sending(clock: ManualClock, content: bytes) -> None:
    """With its length, as it came."""
    call = call_with(Body.of(content))
    assert await received(call, MAX, clock) == content
    assert call.body.length == len(content)
    assert call.body.take_all() == content


async def test_no_body_stays_none(clock: ManualClock) -> None:
    """A GET does not become one with an empty body."""
    call = call_with(NO_BODY)
    assert await received(call, MAX, clock) == b""
    assert call.body is NO_BODY


async def test_a_body_that_comes_in_pieces_is_waited_for(clock: ManualClock) -> None:
    """Also one that does not say its length; then it has one."""
    body = Body()
    call = call_with(body)
    asked = asyncio.create_task(received(call, MAX, clock))
    for piece in (b"he", b"llo"):
        await settle()
        assert not asked.done()
        body.feed(piece)
    body.finish()
    assert await asked == b"hello"
    assert await read_all(call.body) == b"hello"
    assert call.body.length == 5
    assert call.body.received_bytes == 5


async def test_the_second_attempt_is_signed_like_the_first(clock: ManualClock) -> None:
    """What the app sends once is kept by retry for who reads it, in each attempt anew."""
    body = Body()
    replay = Replay(body, 100)
    body.feed(b"hel")
    call = call_with(replay.fresh())
    asked = asyncio.create_task(received(call, MAX, clock))
    await settle()
    body.feed(b"lo")
    body.finish()
    assert await asked == b"hello"
    assert replay.may_repeat
    again = call_with(replay.fresh())
    assert await received(again, MAX, clock) == b"hello"
    assert await read_all(again.body) == b"hello"


async def test_trailers_go_on(clock: ManualClock) -> None:
    """They travel in chunks, so no length is said."""
    body = Body.of(b"hello")
    body.trailers = [(b"Checksum", b"1")]
    body.length = None
    call = call_with(body)
    await received(call, MAX, clock)
    assert call.body.trailers == [(b"Checksum", b"1")]
    assert call.body.length is None


@pytest.mark.parametrize("is_said", [True, False])
async def test_one_byte_too_many_is_refused(clock: ManualClock, *, is_said: bool) -> None:
    """At once if the length says so, else when it comes."""
    body = Body(11 if is_said else None)
    if not is_said:
        body.feed(b"x" * 11)
    with pytest.raises(BodyTooLarge, match="10B"):
        await received(call_with(body), MAX, clock)
    with pytest.raises(BodyTooLarge, match="10B"):
        await received(call_with(Body.of(b"x" * 11)), MAX, clock)


async def test_a_slow_app_uses_up_its_own_time(clock: ManualClock) -> None:
    """It is not the vendor's failure."""
    call = call_with(Body())
    call.deadline_at = clock.now() + 5
    asked = asyncio.create_task(received(call, MAX, clock))
    await clock.advance(5)
    with pytest.raises(DeadlineExceeded, match="request's body") as late:
        await asked
    assert not late.value.blames_vendor


async def test_what_the_body_fails_with_is_raised(clock: ManualClock) -> None:
    """The app broke off, or sent too much."""
    body = Body()
    body.fail(BodyTooLarge("over"))
    with pytest.raises(BodyTooLarge, match="over"):
        await received(call_with(body), MAX, clock)
