import asyncio

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.body import BUFFER_MAX, Body
from tests.kit.clock import settle

# A piece is its size: most are small, some fill the buffer by themselves.
PIECES = st.one_of(st.integers(1, 50), st.sampled_from([BUFFER_MAX // 2, BUFFER_MAX, BUFFER_MAX + 1, 3 * BUFFER_MAX]))
STEPS = st.lists(st.one_of(PIECES, st.just("read"), st.just("turn")), max_size=40)


class Source:
    """A source that is paused and resumed, and would notice being asked twice."""

    def __init__(self) -> None:
        self.is_paused = False

    def pause(self) -> None:
        """Stop."""
        assert not self.is_paused, "paused twice"
        self.is_paused = True

    def resume(self) -> None:
        """Go on."""
        assert self.is_paused, "resumed without a pause"
        self.is_paused = False


@given(steps=STEPS, is_cut=st.booleans())
async def test_any_order_of_feeding_and_reading_gives_the_same_bytes(steps: list[int | str], is_cut: bool) -> None:
    """Nothing lost, doubled or reordered; over the bound the source is paused, and never when all is read."""
    source = Source()
    body = Body(None, source.pause, source.resume)
    fed, got = bytearray(), bytearray()
    reader: asyncio.Task[bytes] | None = None

    def collect() -> None:
        nonlocal reader
        if reader is not None and reader.done():
            got.extend(reader.result())
            reader = None

    for number, step in enumerate(steps):
        if isinstance(step, int):
            piece = bytes([number]) * step
            fed += piece
            body.feed(piece)
        elif step == "read":
            collect()
            reader = reader or asyncio.create_task(body.read())
        else:
            await settle(3)
            collect()
        unread = len(fed) - len(got) if reader is None else 0
        if unread > BUFFER_MAX:
            assert source.is_paused
        if unread == 0 and reader is None:
            assert not source.is_paused

    if is_cut:
        body.fail(ConnectionResetError())
    else:
        body.finish()
    try:
        if reader is not None:
            got += await reader
        while piece := await body.read():
            got += piece
    except ConnectionResetError:
        assert is_cut
    else:
        assert not is_cut
    assert got == fed
    assert body.received_bytes == len(fed)
    assert not source.is_paused
