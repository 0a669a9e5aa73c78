import asyncio

import pytest

from sidecar.core.body import Body
from sidecar.layers.retry.replay import Replay
from tests.kit.clock import settle
from tests.layers.calls import read_all


async def test_a_body_in_hand_is_given_in_one_piece_to_each_attempt() -> None:
    """The transport sends it with the head in one write, with its length."""
    replay = Replay(Body.of(b"hello"), 5)
    for _ in range(3):
        body = replay.fresh()
        assert (body.length, body.received_bytes, body.is_untouched) == (5, 5, True)
        assert body.take_all() == b"hello"
        assert replay.may_repeat


async def test_a_body_of_nothing_is_in_hand_too() -> None:
    """`Content-Length: 0` is said on every attempt."""
    replay = Replay(Body.of(b""), 5)
    for _ in range(2):
        assert replay.fresh().take_all() == b""
    assert replay.may_repeat


async def test_a_body_that_still_comes_is_kept_while_it_streams() -> None:
    """The first attempt has each piece when it comes; the second has the kept ones at once, then the rest."""
    source = Body(11)
    replay = Replay(source, 100)
    first = replay.fresh()
    assert first.length == 11
    assert first.take_all() is None
    source.feed(b"hello ")
    assert await first.read() == b"hello "
    assert replay.may_repeat

    second = replay.fresh()
    assert second.is_untouched
    assert await second.read() == b"hello "
    reading = asyncio.create_task(second.read())
    await settle()
    assert second.is_awaited
    source.feed(b"world")
    source.finish()
    assert await reading == b"world"
    assert await second.read() == b""
    assert second.is_complete
    assert second.received_bytes == 11
    assert await read_all(replay.fresh()) == b"hello world"


@pytest.mark.parametrize(("size", "may_repeat"), [(10, True), (11, False)])
async def test_over_the_bound_nothing_is_kept_and_the_first_attempt_gets_all(size: int, may_repeat: bool) -> None:
    """Ten bytes may be kept: the tenth is, the eleventh lets all of them go."""
    source = Body()
    replay = Replay(source, 10)
    first = replay.fresh()
    source.feed(b"x" * 6)
    assert await first.read() == b"x" * 6
    source.feed(b"y" * (size - 6))
    source.finish()
    assert await read_all(first) == b"y" * (size - 6)
    assert replay.may_repeat is may_repeat
    assert (replay._kept is None) is not may_repeat


async def test_a_body_in_hand_over_the_bound_streams_once() -> None:
    """A chunked upload that came whole before the first attempt, with no length to go by."""
    source = Body()
    source.feed(b"x" * 11)
    source.finish()
    replay = Replay(source, 10)
    assert await read_all(replay.fresh()) == b"x" * 11
    assert not replay.may_repeat


async def test_what_grows_over_the_bound_in_the_second_attempt_still_goes_through() -> None:
    """The vendor refused early; the second attempt wants all, which is more than a third could have."""
    source = Body()
    replay = Replay(source, 10)
    source.feed(b"early ")
    assert await replay.fresh().read() == b"early "
    assert replay.may_repeat
    second = replay.fresh()
    source.feed(b"and the rest")
    source.finish()
    assert await read_all(second) == b"early and the rest"
    assert not replay.may_repeat


async def test_trailers_are_sent_on_each_attempt() -> None:
    """They follow the body, so such a body is streamed though it is in hand."""
    source = Body()
    source.feed(b"hello")
    source.trailers.append((b"Checksum", b"1"))
    source.finish()
    replay = Replay(source, 100)
    for _ in range(2):
        body = replay.fresh()
        assert body.take_all() is None
        assert await read_all(body) == b"hello"
        assert body.trailers == [(b"Checksum", b"1")]


async def test_trailers_that_come_later_are_there_at_the_end() -> None:
    """They are known only behind the last byte."""
    source = Body()
    body = Replay(source, 100).fresh()
    source.feed(b"hello")
    assert await body.read() == b"hello"
    source.trailers.append((b"Checksum", b"1"))
    source.finish()
    assert await body.read() == b""
    assert body.trailers == [(b"Checksum", b"1")]


async def test_an_app_that_breaks_off_breaks_every_attempt_and_there_is_no_other() -> None:
    """Half a body is no body."""
    source = Body()
    replay = Replay(source, 100)
    body = replay.fresh()
    source.feed(b"half")
    source.fail(ConnectionResetError("the app left"))
    assert await body.read() == b"half"
    with pytest.raises(ConnectionResetError):
        await body.read()
    assert not replay.may_repeat
    assert not body.is_complete


async def test_a_reader_that_was_cancelled_leaves_every_byte_to_the_next_attempt() -> None:
    """The attempt timed out while the app was slow: what comes afterwards is the next one's."""
    source = Body()
    replay = Replay(source, 100)
    source.feed(b"one ")
    first = replay.fresh()
    assert await first.read() == b"one "
    waiting = asyncio.create_task(first.read())
    await settle()
    source.feed(b"two ")
    waiting.cancel()
    await asyncio.wait([waiting])
    source.feed(b"three")
    source.finish()
    assert await read_all(replay.fresh()) == b"one two three"


async def test_the_app_is_asked_for_its_body_once() -> None:
    """`100 Continue` is sent when the first attempt wants the body, and not again for the second."""
    told: list[str] = []
    source = Body()
    source.on_first_read = lambda: told.append("continue")
    replay = Replay(source, 100)
    waiting = asyncio.create_task(replay.fresh().read())
    await settle()
    assert told == ["continue"]
    source.feed(b"hello")
    source.finish()
    await waiting
    assert await read_all(replay.fresh()) == b"hello"
    assert told == ["continue"]
