import asyncio

import pytest

from sidecar.core.body import BUFFER_MAX, PIECES_MAX, Body
from tests.kit.clock import settle


class Source:
    """Counts how often it is paused and resumed."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def body(self) -> Body:
        """Make a body that this source feeds."""
        return Body(None, lambda: self.said.append("pause"), lambda: self.said.append("resume"))


async def read_all(body: Body) -> bytes:
    """Read to the end."""
    content = b""
    while piece := await body.read():
        content += piece
    return content


async def test_what_is_in_hand_is_read_without_waiting() -> None:
    """`Body.of` has its length, all bytes, and then the end, as often as one asks."""
    body = Body.of(b"abc")
    assert body.length == 3
    assert body.is_complete
    assert await body.read() == b"abc"
    assert await body.read() == b""
    assert await body.read() == b""


async def test_an_empty_body_is_its_end() -> None:
    """No bytes are no piece."""
    body = Body.of(b"")
    assert body.length == 0
    assert await body.read() == b""


async def test_a_reader_is_woken_by_bytes_and_by_the_end() -> None:
    """A reader who came first waits for either."""
    body = Body()
    reader = asyncio.create_task(read_all(body))
    await settle()
    body.feed(b"one ")
    await settle()
    body.feed(b"two")
    body.finish()
    assert await reader == b"one two"
    assert body.received_bytes == 7


async def test_pieces_that_lie_there_are_read_as_one() -> None:
    """Fewer writes on the other side."""
    body = Body()
    body.feed(b"a")
    body.feed(b"b")
    assert await body.read() == b"ab"


async def test_the_source_is_paused_over_the_bound_and_not_at_it() -> None:
    """`BUFFER_MAX` bytes may lie there; one more pauses the source, once."""
    source = Source()
    body = source.body()
    body.feed(b"x" * BUFFER_MAX)
    assert source.said == []
    body.feed(b"x")
    body.feed(b"x")
    assert source.said == ["pause"]


async def test_reading_resumes_the_source_once() -> None:
    """What was paused goes on when the bytes are taken; what was not paused is left alone."""
    source = Source()
    body = source.body()
    body.feed(b"x" * (BUFFER_MAX + 1))
    assert len(await body.read()) == BUFFER_MAX + 1
    assert source.said == ["pause", "resume"]
    body.feed(b"y")
    assert await body.read() == b"y"
    assert source.said == ["pause", "resume"]


async def test_taking_all_resumes_the_source_too() -> None:
    """The quick way out keeps the same promise."""
    source = Source()
    body = source.body()
    body.feed(b"x" * (BUFFER_MAX + 1))
    body.finish()
    assert body.take_all() == b"x" * (BUFFER_MAX + 1)
    assert source.said == ["pause", "resume"]
    assert body.take_all() == b""


async def test_taking_all_gives_none_until_the_last_byte_is_in() -> None:
    """It never gives a part for the whole, and takes nothing when it gives none."""
    body = Body()
    body.feed(b"abc")
    assert body.take_all() is None
    assert await body.read() == b"abc"


async def test_a_failed_body_gives_its_bytes_first_then_the_error_each_time() -> None:
    """What arrived before the break is the app's; the error stays, so that nobody takes the break for the end."""
    body = Body()
    body.feed(b"half")
    body.fail(ConnectionResetError("broke off"))
    assert body.is_failed
    assert body.take_all() is None
    assert await body.read() == b"half"
    for _ in range(2):
        with pytest.raises(ConnectionResetError, match="broke off"):
            await body.read()


async def test_a_waiting_reader_gets_the_error() -> None:
    """A break wakes the reader."""
    body = Body()
    reader = asyncio.create_task(body.read())
    await settle()
    body.fail(ConnectionResetError("broke off"))
    with pytest.raises(ConnectionResetError):
        await reader


async def test_the_first_error_stays_and_a_complete_body_cannot_fail() -> None:
    """A connection that closes after the last byte is no failure of the body."""
    failed = Body()
    failed.fail(ConnectionResetError("first"))
    failed.fail(TimeoutError("second"))
    with pytest.raises(ConnectionResetError, match="first"):
        await failed.read()

    complete = Body.of(b"all")
    complete.fail(ConnectionResetError("too late"))
    assert not complete.is_failed
    assert await read_all(complete) == b"all"


async def test_a_body_has_one_reader() -> None:
    """Two readers would share the bytes out between them; that is a fault of ours."""
    body = Body()
    reader = asyncio.create_task(body.read())
    await settle()
    with pytest.raises(AssertionError, match="one reader"):
        await body.read()
    body.finish()
    assert await reader == b""


async def test_a_reader_that_is_cancelled_takes_nothing_with_it() -> None:
    """The next reader gets all bytes."""
    body = Body()
    reader = asyncio.create_task(body.read())
    await settle()
    reader.cancel()
    await asyncio.wait([reader])
    body.feed(b"abc")
    body.finish()
    assert await read_all(body) == b"abc"


async def test_a_reader_that_is_cancelled_with_bytes_on_the_way_leaves_them() -> None:
    """Woken and cancelled in one turn of the loop: the bytes are still there."""
    body = Body()
    reader = asyncio.create_task(body.read())
    await settle()
    body.feed(b"abc")
    reader.cancel()
    await asyncio.wait([reader])
    body.finish()
    assert await read_all(body) == b"abc"


async def test_the_first_read_tells_only_when_it_has_to_wait() -> None:
    """`100 Continue` is sent when the body is wanted and has not come by itself; once."""
    told: list[str] = []
    body = Body()
    body.on_first_read = lambda: told.append("continue")
    reader = asyncio.create_task(read_all(body))
    await settle()
    assert told == ["continue"]
    body.feed(b"abc")
    await settle()
    body.finish()
    assert await reader == b"abc"
    assert told == ["continue"]

    early = Body()
    early.on_first_read = lambda: told.append("never")
    early.feed(b"abc")
    assert await early.read() == b"abc"
    early.finish()
    assert await early.read() == b""
    assert told == ["continue"]


def test_the_start_of_a_body_is_kept_from_what_is_there_and_what_comes() -> None:
    """The array grows while bytes come in, up to its bound; the reader misses nothing."""
    body = Body()
    body.feed(b"ab")
    start = body.keep_start(5)
    assert bytes(start) == b"ab"
    body.feed(b"cd")
    body.feed(b"efg")
    body.feed(b"h")
    body.finish()
    assert bytes(start) == b"abcde"
    assert body.take_all() == b"abcdefgh"


async def test_tiny_pieces_pause_the_source_too() -> None:
    """A vendor that sends two bytes a chunk would fill thirty times the memory that they count for."""
    paused: list[bool] = []
    body = Body(None, lambda: paused.append(True), lambda: paused.append(False))
    for _ in range(PIECES_MAX):
        body.feed(b"ab")
    assert not body.is_paused
    body.feed(b"ab")
    assert paused == [True]
    assert len(await body.read()) == 2 * (PIECES_MAX + 1)
    assert paused == [True, False]


# The start, looked at ahead of the reader.


async def test_the_first_bytes_are_given_ahead_and_left_for_the_reader() -> None:
    """Whoever looks at a body must not take anything from the app."""
    body = Body.of(b"abcdef")
    assert await body.ahead(4) == b"abcd"
    assert await body.ahead(100) == b"abcdef"
    assert body.is_untouched
    assert body.take_all() == b"abcdef"


async def test_looking_ahead_waits_until_enough_is_there_or_no_more_will_come() -> None:
    """Not for the end of a stream whose first bytes are all that is asked for."""
    body = Body()
    enough = asyncio.create_task(body.ahead(4))
    await settle()
    body.feed(b"ab")
    await settle()
    assert not enough.done()
    body.feed(b"cdef")
    assert await enough == b"abcd"
    short = asyncio.create_task(body.ahead(100))
    await settle()
    assert not short.done()
    body.finish()
    assert await short == b"abcdef"
    assert await read_all(body) == b"abcdef"


async def test_a_break_ends_the_look_ahead_and_is_the_readers_to_meet() -> None:
    """What came before is still given, and the error comes with the reading, once all bytes are read."""
    body = Body()
    looking = asyncio.create_task(body.ahead(100))
    await settle()
    body.feed(b"half")
    body.fail(ConnectionResetError("broke off"))
    assert await looking == b"half"
    assert await body.read() == b"half"
    with pytest.raises(ConnectionResetError, match="broke off"):
        await body.read()


async def test_looking_far_ahead_keeps_the_source_going_and_reading_resumes_it() -> None:
    """The bound is the one who looks; a source left paused would never bring the bytes that are waited for."""
    source = Source()
    body = source.body()
    looking = asyncio.create_task(body.ahead(3 * BUFFER_MAX))
    for _ in range(2):
        body.feed(b"x" * (BUFFER_MAX + 1))
        await settle()
    assert source.said == ["pause", "resume"] * 2
    body.feed(b"x" * BUFFER_MAX)
    assert len(await looking) == 3 * BUFFER_MAX
    assert source.said == ["pause", "resume"] * 2 + ["pause"]
    assert len(await body.read()) == 3 * BUFFER_MAX + 2
    assert source.said == ["pause", "resume"] * 3


async def test_tiny_pieces_are_joined_while_one_looks_ahead() -> None:
    """A byte in a piece of its own takes fifty, and a look-ahead must not keep them all."""
    source = Source()
    body = source.body()
    looking = asyncio.create_task(body.ahead(3 * PIECES_MAX))
    await settle()
    for _ in range(3 * PIECES_MAX):
        body.feed(b"x")
        if source.said[-1:] == ["pause"]:
            await settle()
    assert await looking == b"x" * 3 * PIECES_MAX
    assert len(body._pieces) <= PIECES_MAX + 1
    assert source.said.count("pause") <= source.said.count("resume") + 1


async def test_looking_ahead_asks_the_app_for_its_body() -> None:
    """Whoever waits for bytes has to say `100 Continue`, or the app waits, too; once."""
    told: list[str] = []
    body = Body()
    body.on_first_read = lambda: told.append("continue")
    looking = asyncio.create_task(body.ahead(3))
    await settle()
    assert told == ["continue"]
    body.feed(b"abc")
    await looking
    assert await body.read() == b"abc"
    assert told == ["continue"]


async def test_who_is_slow_is_told_by_whether_a_reader_waits() -> None:
    """A time that runs out while we wait for the app is not the vendor's fault."""
    body = Body()
    seen = [body.is_awaited]
    reader = asyncio.create_task(body.read())
    await settle()
    seen.append(body.is_awaited)
    body.feed(b"abc")
    await settle()
    seen.append(body.is_awaited)
    assert await reader == b"abc"
    cancelled = asyncio.create_task(body.read())
    await settle()
    seen.append(body.is_awaited)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert [*seen, body.is_awaited] == [False, True, False, True, False]
