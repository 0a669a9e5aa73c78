"""Structured fields: the lists and dictionaries of RFC 9651, as far as announcements of limits use them.

Strict, as the RFC asks: what is malformed anywhere is malformed as a whole. Left out are inner lists, dates and
display strings, which no such field has: they count as malformed.
"""

import re

BYTES_MAX = 2048  # Of a field. Longer: malformed.
MEMBERS_MAX = 16  # Of a list or dictionary. More: malformed.
PARAMETERS_MAX = 16  # Of a member. More: malformed.

# Section 4.2.3 to 4.2.8. A byte sequence is taken over as it is written: nobody here reads one.
_NUMBER = re.compile(r"-?(?:[0-9]{1,12}\.[0-9]{1,3}|[0-9]{1,15})(?![0-9.])")
_STRING = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
_BYTES = re.compile(r":[A-Za-z0-9+/=]*:")
_BOOLEAN = re.compile(r"\?[01]")
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_COMMA = re.compile(r"[ \t]*,[ \t]*")

Bare = str | float | bool
Parameters = dict[str, Bare]


class Malformed(ValueError):
    """The field is not what RFC 9651 allows."""


class Scanner:
    """Walks once over the text of a field."""

    __slots__ = ("_at", "_text")

    def __init__(self, value: bytes) -> None:
        if len(value) > BYTES_MAX:
            raise Malformed
        self._text = value.decode("latin-1").strip(" ")
        self._at = 0

    def members(self) -> list[tuple[Bare, Parameters]]:
        """Read a list (section 4.2.1)."""
        found: list[tuple[Bare, Parameters]] = []
        while self._at < len(self._text):
            found.append((self._bare(), self._parameters()))
            self._next_member(len(found))
        return found

    def dictionary(self) -> dict[str, tuple[Bare, Parameters]]:
        """Read a dictionary (section 4.2.2); of a key that comes twice, the last one counts."""
        found: dict[str, tuple[Bare, Parameters]] = {}
        count = 0
        while self._at < len(self._text):
            key = self._match(_KEY)
            value: Bare = self._bare() if self._take("=") else True
            found[key] = (value, self._parameters())
            count += 1
            self._next_member(count)
        return found

    def _next_member(self, count: int) -> None:
        if self._at == len(self._text):
            return
        self._match(_COMMA)
        if self._at == len(self._text) or count >= MEMBERS_MAX:
            raise Malformed

    def _parameters(self) -> Parameters:
        found: Parameters = {}
        for _ in range(PARAMETERS_MAX):
            if not self._take(";"):
                return found
            while self._take(" "):
                pass
            key = self._match(_KEY)
            found[key] = self._bare() if self._take("=") else True
        raise Malformed

    def _bare(self) -> Bare:
        first = self._text[self._at : self._at + 1]
        if first == '"':
            return self._match(_STRING)[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        if first == "-" or first.isdecimal():
            return float(self._match(_NUMBER))
        if first == ":":
            return self._match(_BYTES)
        if first == "?":
            return self._match(_BOOLEAN) == "?1"
        return self._match(_TOKEN)

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise Malformed
        self._at = match.end()
        return match[0]

    def _take(self, letter: str) -> bool:
        if self._text.startswith(letter, self._at):
            self._at += 1
            return True
        return False


def read_list(value: bytes) -> list[tuple[Bare, Parameters]]:
    """Read a list of items with their parameters. Raises Malformed."""
    return Scanner(value).members()


def read_dictionary(value: bytes) -> dict[str, tuple[Bare, Parameters]]:
    """Read a dictionary of items with their parameters. Raises Malformed."""
    return Scanner(value).dictionary()


def number_in(value: Bare | None) -> float | None:
    """Take a count from 0 on; None for everything else."""
    return value if isinstance(value, float) and value >= 0 else None
