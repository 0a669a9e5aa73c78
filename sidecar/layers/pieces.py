"""Pieces: a JSON body cut at its list of items, so that other items may stand there.

An item keeps its very bytes, and so does every other value: `1.0` stays `1.0`, and no digit of a long number is lost.
"""

import re

import msgspec

PATH = re.compile(r"@|[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_SELF = "@"
_NUMBER_END = 10**100  # Python refuses to write a number of thousands of digits; none of these is an id.
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode_name = msgspec.json.encode
# What is no JSON, is none in UTF-8, or is nested without end.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

SAY_PATH = 'write the names that lead to the list, such as "records" or "data.items", or "@" for the body itself'


class Misfit(ValueError):
    """A body is not as the config describes it; the sentence says in what."""


def is_path(text: str) -> bool:
    """Whether a text leads to a list: a part of JMESPath, so that it can be written to as well as read."""
    return PATH.fullmatch(text) is not None


def path_of(text: str) -> tuple[str, ...]:
    """Give the names on the way to the list."""
    return () if text == _SELF else tuple(text.split("."))


class Pieces:
    """A body whose items are at `path`. Raises Misfit when there is no list."""

    __slots__ = ("_around", "items")

    def __init__(self, content: bytes, path: tuple[str, ...]) -> None:
        self._around: list[tuple[dict[str, msgspec.Raw], str]] = []  # From outside in: an object, and what to follow.
        rest: bytes | msgspec.Raw = content
        try:
            for name in path:
                around = _decode_object(rest)
                if name not in around:
                    raise Misfit(f"there is no {name!r}")
                self._around.append((around, name))
                rest = around[name]
            self.items: list[bytes] = [bytes(item) for item in _decode_list(rest)]
        except _UNREADABLE:
            raise Misfit(f"there is no JSON list at {'.'.join(path) or 'the top'}") from None

    def with_items(self, items: list[bytes]) -> bytes:
        """Write the body with other items in the list."""
        content = b"[" + b",".join(items) + b"]"
        for around, name in reversed(self._around):
            members = [
                _encode_name(key) + b":" + (content if key == name else bytes(value)) for key, value in around.items()
            ]
            content = b"{" + b",".join(members) + b"}"
        return content


def read(item: bytes) -> object:
    """Decode one item, to be judged. Raises Misfit."""
    try:
        return msgspec.json.decode(item)
    except _UNREADABLE:
        raise Misfit("an item cannot be read as JSON") from None


def id_text(found: object) -> str:
    """Give an id as text: vendors answer 7 where they were asked for "7". Raises Misfit for what is none."""
    if isinstance(found, str) and found:
        return found
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) < _NUMBER_END:
        return str(found)
    raise Misfit("an item has no id, or one that is neither text nor a whole number")
