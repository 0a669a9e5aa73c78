"""Template: text with {names}, taken apart once at load."""

import re
from collections.abc import Mapping

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


class Template:
    """`"{method} {path}"`: fills names in; a brace of its own is written twice. Raises ValueError for a lone one."""

    __slots__ = ("_pieces", "names")

    def __init__(self, text: str) -> None:
        pieces: list[tuple[bytes, str | None]] = []
        for match in _PIECE.finditer(text):
            piece, name = match[0], match[1]
            if piece in ("{", "}"):
                raise ValueError("a brace stands alone; write it twice to mean it, or close the {name}")
            if name is not None:
                # The name of a header has no case (RFC 9110 section 5.1).
                pieces.append((b"", name.lower() if name.startswith("header:") else name))
            else:
                pieces.append((piece[0].encode() if piece in ("{{", "}}") else piece.encode(), None))
        self._pieces = pieces
        self.names = frozenset(name for _, name in pieces if name is not None)

    def fill(self, values: Mapping[str, bytes]) -> bytes:
        """Give the text with `values` in the places of their names."""
        return b"".join([text if name is None else values[name] for text, name in self._pieces])
