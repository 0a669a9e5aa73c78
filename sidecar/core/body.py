"""Body: the bytes of a message on their way, with back-pressure, in either direction.

The parser of one side feeds it, the writer of the other side reads it. More than `BUFFER_MAX` unread bytes, or more
than `PIECES_MAX` pieces, pause the source; reading resumes it. So a body of any length passes through flat memory.
"""

import asyncio
from collections.abc import Callable

Headers = list[tuple[bytes, bytes]]

BUFFER_MAX = 256 * 1024  # Full: the source is paused (its socket is not read) until half of it is read.
PIECES_MAX = 4096  # The same: a byte in a piece of its own takes fifty.


def _nothing() -> None:
    """Stand in for a source that needs no pausing."""


class Body:
    """A one-way stream of bytes: one feeder, one reader."""

    __slots__ = (
        "_buffered", "_bytes_max", "_error", "_over", "_pause", "_pieces", "_resume", "_start", "_start_max",
        "_waiter", "is_complete", "is_paused", "length", "on_first_read", "received_bytes", "trailers",
    )  # fmt: skip

    def __init__(
        self,
        length: int | None = None,
        pause: Callable[[], None] = _nothing,
        resume: Callable[[], None] = _nothing,
    ) -> None:
        self.length = length  # As declared; None when only the end will tell.
        self.is_complete = False  # The feeder has given the last byte.
        self.received_bytes = 0
        self.trailers: Headers = []
        self.on_first_read: Callable[[], None] | None = None  # Called once, before the first wait for bytes.
        self._pieces: list[bytes] = []
        self._buffered = 0
        self.is_paused = False  # The source is not read.
        self._pause = pause
        self._resume = resume
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._bytes_max: float = float("inf")
        self._over: BaseException | None = None
        self._start: bytearray | None = None
        self._start_max = 0

    @classmethod
    def of(cls, content: bytes) -> "Body":
        """Make a body that is wholly in hand."""
        body = cls(len(content))
        if content:
            body.feed(content)
        body.finish()
        return body

    def bound(self, bytes_max: int, over: BaseException) -> None:
        """Fail with `over` as soon as more than `bytes_max` bytes came in."""
        self._bytes_max = float(bytes_max)
        self._over = over
        if self.received_bytes > bytes_max:
            self.fail(over)

    def keep_start(self, bytes_max: int) -> bytearray:
        """Give the first bytes, up to `bytes_max`, in an array that grows as they come: for a log line."""
        self._start_max = bytes_max
        self._start = bytearray(b"".join(self._pieces)[:bytes_max])
        return self._start

    # The feeder's side.

    def feed(self, piece: bytes) -> None:
        """Add bytes as they arrive."""
        self._pieces.append(piece)
        size = len(piece)
        self._buffered += size
        self.received_bytes += size
        if self._start is not None:
            self._start += piece[: self._start_max - len(self._start)]
        if self.received_bytes > self._bytes_max and self._over is not None:
            self.fail(self._over)
        if (self._buffered > BUFFER_MAX or len(self._pieces) > PIECES_MAX) and not self.is_paused:
            self.is_paused = True
            self._pause()
        if self._waiter is not None:
            self._wake()

    def finish(self) -> None:
        """Say that the last byte is in. After `fail` it is not: a break never looks like an end."""
        if self._error is not None:
            return
        self.is_complete = True
        if self._waiter is not None:
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Say that the rest will not come; the reader gets what is there, then `error`."""
        if self._error is not None or (self.is_complete and error is not self._over):
            return
        self._error = error
        if self._waiter is not None:
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The reader's side.

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was read yet, so that all of it can still be sent."""
        return self.received_bytes == self._buffered

    @property
    def is_awaited(self) -> bool:
        """Whether the reader waits for bytes now: it is the feeder that is slow."""
        return self._waiter is not None

    @property
    def is_failed(self) -> bool:
        """Whether the feeder gave up before the last byte."""
        return self._error is not None

    @property
    def failure(self) -> BaseException | None:
        """What the feeder gave up with; None when it did not."""
        return self._error

    async def ahead(self, bytes_max: int) -> bytes:
        """Give the first bytes, up to `bytes_max`, and leave them there for the reader.

        Waits until that many are there or no more will come; a failure is the reader's to meet. No reader may wait
        at the same time.
        """
        self.want()
        while not self.is_complete and self._error is None and self._buffered < bytes_max:
            if len(self._pieces) > PIECES_MAX:
                self._pieces = [b"".join(self._pieces)]
            if self.is_paused:  # Paused for the sake of memory, which `bytes_max` bounds here.
                self.is_paused = False
                self._resume()
            await self._more()
        return b"".join(self._pieces)[:bytes_max]

    def take_all(self) -> bytes | None:
        """Give the rest at once if the last byte is in, else None."""
        if not self.is_complete or self._error is not None:
            return None
        return self._take()

    async def read(self) -> bytes:
        """Give the next bytes, at least one; `b""` is the end.

        Raises what the feeder failed with, after the bytes that came before.
        """
        self.want()
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.is_complete:
                return b""
            await self._more()
        return self._take()

    def want(self) -> None:
        """Say that it is going to be read, before anything is answered: an app that waits to be told sends it then."""
        if self.on_first_read is not None:
            tell, self.on_first_read = self.on_first_read, None
            if not self._pieces and not self.is_complete:
                tell()

    async def _more(self) -> None:
        """Wait until something happens to the body."""
        assert self._waiter is None, "a body has one reader"
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _take(self) -> bytes:
        pieces = self._pieces
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._buffered = 0
        if self.is_paused:
            self.is_paused = False
            self._resume()
        return content


NO_BODY = Body.of(b"")  # A message without a body, as against one of length zero; shared, since it never changes.
