"""Lines: a body of lines, read one at a time; what was not asked for yet stays in the body, which stops its source."""

import re

from sidecar.core.body import Body

_BLANK = b" \t\r"
_BLANKS = re.compile(rb"[ \t\r\n]*")


class Lines:
    """Gives the lines of a body, without blank ones; the last may lack its end.

    Of a line over `line_max` nothing is kept but that it was there. A `next` that is cancelled loses nothing.
    """

    def __init__(self, body: Body, line_max: int) -> None:
        self._body = body
        self._line_max = line_max
        self._held = bytearray()
        self._looked = 0  # Bytes of `_held` in which no end of a line stands.
        self._is_over = False  # The line that is being read is too long; the rest of it is dropped.

    @property
    def held_bytes(self) -> int:
        """How much was read and not given."""
        return len(self._held)

    async def next(self) -> bytes | None:
        """Give the next line; `b""` for one that is too long, None at the end. Raises what the body failed with."""
        while True:
            if not self._looked and not self._is_over:
                self._skip_blanks()
            cut = self._held.find(b"\n", self._looked)
            if cut >= 0:
                line = self._line(cut)
                if line is not None:
                    return line
                continue
            self._looked = len(self._held)
            if self._looked > self._line_max:
                self._is_over = True
                self._forget()
            piece = await self._body.read()
            if not piece:
                return self._line(len(self._held))
            self._held += piece

    def _skip_blanks(self) -> None:
        """Drop what is blank in front: in one go, for there may be very many blank lines."""
        found = _BLANKS.match(self._held)
        assert found is not None
        end = found.end()
        del found, self._held[:end]

    def _line(self, cut: int) -> bytes | None:
        """Take the line that ends at `cut`; None for a blank one."""
        is_over = self._is_over or cut > self._line_max
        line = b"" if is_over else bytes(self._held[:cut]).strip(_BLANK)
        del self._held[: cut + 1]
        self._looked = 0
        self._is_over = False
        return line if line or is_over else None

    def _forget(self) -> None:
        self._held.clear()
        self._looked = 0
