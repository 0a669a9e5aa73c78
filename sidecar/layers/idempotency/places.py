"""Places: where a vendor looks for the key. Each is looked into, and written to so that the key stands there once.

An app may say its key in `Idempotency-Key` whatever the vendor's place is; that field goes on only if it is the place.
"""

from typing import Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

from sidecar.core import query
from sidecar.core.body import Headers
from sidecar.core.call import Call
from sidecar.core.headers import find_all

STANDARD = b"idempotency-key"


class NoPlace(Exception):
    """No key can be put on this call; the sentence says why."""


class Place(Protocol):
    """One place of the key."""

    async def look(self, call: Call) -> list[bytes]:
        """Give the keys that stand there. Raises NoPlace when none can be put there."""

    def put(self, call: Call, key: bytes) -> None:
        """Have `key` stand there once, and nowhere else; what stands there already in this way is not touched."""


class HeaderPlace:
    """A header field of the vendor's."""

    __slots__ = ("_key", "_name")

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._key = self._name.lower()

    async def look(self, call: Call) -> list[bytes]:
        """Give the values of the field."""
        return [value.strip(b" \t") for value in find_all(call.headers, self._key)]

    def put(self, call: Call, key: bytes) -> None:
        """Write the field."""
        if [value.strip(b" \t") for value in find_all(call.headers, self._key)] != [key]:
            call.headers = [field for field in call.headers if field[0].lower() != self._key]
            call.headers.append((self._name, key))
        if self._key != STANDARD:
            call.headers = without_standard(call.headers)


class QueryPlace:
    """A parameter of the query."""

    __slots__ = ("_name", "_plain")

    def __init__(self, name: str) -> None:
        self._name = name.encode()  # Needs no encoding: the config sees to it.

    async def look(self, call: Call) -> list[bytes]:
        """Give the values of the parameter."""
        _, _, text = call.target.partition(b"?")
        pairs = [pair.partition(b"=") for pair in text.split(b"&")]
        return [_plain(value) for name, _, value in pairs if _plain(name) == self._name]

    def put(self, call: Call, key: bytes) -> None:
        """Write the parameter, at the query's end."""
        _, _, text = call.target.partition(b"?")
        here = [pair for pair in text.split(b"&") if _plain(pair.partition(b"=")[0]) == self._name]
        if len(here) != 1 or _plain(here[0].partition(b"=")[2]) != key:
            call.target = query.put(call.target, self._name, quote_from_bytes(key, safe="").encode())
        call.headers = without_standard(call.headers)


def without_standard(headers: Headers) -> Headers:
    """Give the fields without `Idempotency-Key`, which means nothing to this vendor; a new list."""
    return [field for field in headers if field[0].lower() != STANDARD]


def _plain(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))
