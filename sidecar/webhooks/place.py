"""Place: where in a webhook something stands: `header:NAME`, `query:NAME`, `form:NAME`, `json:PATH` and two more.

`field:KEY` is one of several `KEY=value` in the header of the signature; `claim:NAME` one of a verified JWT. PATH is
names with dots between them, or a JMESPath query.
"""

import re
from typing import Any

import msgspec

from sidecar.upstream.hints.expression import Expression

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 section 5.6.2.
KINDS = ("header", "query", "form", "json", "field", "claim")
_DOTTED = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*", re.ASCII)


class Place:
    """A place, read once at load. Raises ValueError with a sentence when it is none."""

    __slots__ = ("_names", "_query", "kind", "name", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.kind, _, name = text.partition(":")
        if self.kind not in KINDS or not name:
            raise ValueError(f"{text!r} is no place; write {', '.join(f'{kind}:..' for kind in KINDS)}")
        if self.kind == "header" and not HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        self.name = name.lower() if self.kind == "header" else name  # The name of a header has no case.
        self._names: list[str] = []
        self._query: Expression | None = None
        if self.kind == "json":
            if _DOTTED.fullmatch(name):
                self._names = name.split(".")
            else:
                self._query = Expression(name)

    @property
    def is_in_body(self) -> bool:
        """Whether somebody has to parse the body to get there."""
        return self.kind in {"form", "json"}

    def find(self, document: object) -> object:
        """Give what stands there in parsed JSON; None when there is nothing."""
        if self._query is not None:
            try:
                return self._query.search(document)
            except ValueError:
                return None
        found: Any = document
        for name in self._names:
            if not isinstance(found, dict):
                return None
            found = found.get(name)
        return found


def written(value: object) -> bytes | None:
    """Give a value of a JSON document as text; None for null, lists and objects."""
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:  # Half of a surrogate pair.
            return None
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value)
    return None
