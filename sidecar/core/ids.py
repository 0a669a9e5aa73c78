"""Ids: random hexadecimal, drawn from a block, since a system call for each one costs more than the call's routing."""

import os
from collections.abc import Callable

BLOCK_BYTES = 4096


class Ids:
    """A source of random ids of 16 or 8 bytes, written as lower-case hex."""

    __slots__ = ("_at", "_block", "_draw")

    def __init__(self, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._draw = draw
        self._block = ""
        self._at = 0

    def take(self, digits: int) -> str:
        """Give `digits` fresh hex digits (32 for a request or trace id, 16 for a span id)."""
        start = self._at
        end = start + digits
        if end > len(self._block):
            self._block = self._draw(BLOCK_BYTES).hex()
            start, end = 0, digits
        self._at = end
        return self._block[start:end]
