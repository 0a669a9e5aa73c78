import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.body import BUFFER_MAX, Body
from sidecar.core.errors import RequestTimeout
from sidecar.queue.batch.lines import Lines
from tests.kit.clock import settle

TEXT = st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b" ", b"c" * 9, b"d" * 30]), max_size=40).map(b"".join)


async def all_of(lines: Lines) -> list[bytes]:
    """Read to the end."""
    found = []
    while (line := await lines.next()) is not None:
        found.append(line)
    return found


def as_they_should_be(text: bytes, line_max: int) -> list[bytes]:
    """Split in one go."""
    pieces = [piece.lstrip(b" \t\r") for piece in text.split(b"\n")]
    return [
        b"" if len(piece) > line_max else piece.strip(b" \t\r")
        for piece in pieces
        if len(piece) > line_max or piece.strip(b" \t\r")
    ]


@given(text=TEXT, cuts=st.lists(st.integers(0, 100), max_size=10))
async def test_lines_are_the_same_however_they_arrive(text: bytes, cuts: list[int]) -> None:
    """A line may come in pieces, and many in one; CRLF and blank lines are nothing; too long a one leaves its mark."""
    body = Body()
    at = 0
    for cut in [*sorted(cuts), len(text)]:
        if cut > at:
            body.feed(text[at:cut])
            at = cut
    body.finish()
    assert await all_of(Lines(body, 20)) == as_they_should_be(text, 20)


async def test_a_line_without_end_is_not_kept() -> None:
    """However long it is, no more than the bound and a piece are in memory; what is behind it counts."""
    body = Body()
    lines = Lines(body, 1000)
    reading = asyncio.create_task(all_of(lines))
    for _ in range(1000):
        body.feed(b"x" * 4096)
        await settle(2)
        assert lines.held_bytes <= 1000 + 4096
    body.feed(b"\nlast")
    body.finish()
    assert await reading == [b"", b"last"]


async def test_blank_lines_cost_nothing() -> None:
    """A megabyte of them is passed over in one step, and is not kept."""
    body = Body()
    lines = Lines(body, 1000)
    body.feed(b"\n \r\n" * 250_000 + b"one\n" + b"\n" * 500_000)
    assert await lines.next() == b"one"
    body.feed(b"two")
    body.finish()
    assert await lines.next() == b"two"
    assert await lines.next() is None


async def test_only_what_is_asked_for_is_taken() -> None:
    """While nobody asks, the body fills up and its source is paused."""
    paused: list[bool] = []
    body = Body(None, lambda: paused.append(True), lambda: paused.append(False))
    lines = Lines(body, 100)
    body.feed(b"one\n")
    assert await lines.next() == b"one"
    body.feed(b"two\n" * (BUFFER_MAX // 4 + 1))
    assert paused == [True]
    assert lines.held_bytes == 0


async def test_a_wait_that_is_given_up_loses_nothing() -> None:
    """The half that was there stays."""
    body = Body()
    lines = Lines(body, 100)
    body.feed(b"ha")
    waiting = asyncio.create_task(lines.next())
    await settle(3)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    body.feed(b"lf\n")
    assert await lines.next() == b"half"


async def test_what_came_before_a_break_is_read() -> None:
    """Then the break is raised, and a half line is no line."""
    body = Body()
    body.feed(b"one\ntw")
    body.fail(RequestTimeout("too slow"))
    lines = Lines(body, 100)
    assert await lines.next() == b"one"
    with pytest.raises(RequestTimeout):
        await lines.next()
