"""Replay: a request body that can be sent again, kept up to a bound while it streams for the first time."""

from sidecar.core.body import Body


class Replay:
    """Keeps what is read of `source`, and gives each attempt a body from the first byte on."""

    __slots__ = ("_bytes_max", "_content", "_kept", "_kept_bytes", "_source")

    def __init__(self, source: Body, bytes_max: int) -> None:
        self._source = source
        self._bytes_max = bytes_max
        self._kept_bytes = 0
        self._kept: list[bytes] | None = []  # None: it was more than may be kept.
        # As a rule a small body is wholly in hand, and each attempt gets it as one piece.
        fits = source.received_bytes <= bytes_max and not source.trailers
        self._content = source.take_all() if fits else None

    @property
    def may_repeat(self) -> bool:
        """Whether another attempt can have all of it."""
        return self._content is not None or (self._kept is not None and not self._source.is_failed)

    def fresh(self) -> Body:
        """Give the body for the next attempt; the one before must have ended."""
        if self._content is not None:
            body = Body.of(self._content)
            body.received_bytes = self._source.received_bytes
            return body
        return KeptBody(self)

    @property
    def source(self) -> Body:
        """The body as the app sends it."""
        return self._source

    async def piece(self, number: int) -> bytes:
        """Give the piece `number` (from 0), read from the source if no attempt came so far yet."""
        kept = self._kept
        if kept is not None and number < len(kept):
            return kept[number]
        piece = await self._source.read()
        if kept is not None:
            self._kept_bytes += len(piece)
            if self._kept_bytes > self._bytes_max:
                self._kept = None
            else:
                kept.append(piece)
        return piece


class KeptBody(Body):
    """The body of one attempt, read through a `Replay`."""

    __slots__ = ("_number", "_replay")

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay.source.length)
        self._replay = replay
        self._number = 0
        self.trailers = replay.source.trailers

    @property
    def is_awaited(self) -> bool:
        """Whether the app is slow now."""
        return self._replay.source.is_awaited

    def take_all(self) -> bytes | None:
        """Give nothing at once: the source was not wholly in hand."""
        return None

    async def read(self) -> bytes:
        """Give the next piece; `b""` is the end. Raises what the source failed with."""
        piece = await self._replay.piece(self._number)
        self._number += 1
        self.received_bytes = self._replay.source.received_bytes
        if not piece:
            self.finish()
        return piece
