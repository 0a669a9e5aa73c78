"""Field: the key in a JSON body, at the top of its object; put there without touching any other byte."""

import re

import msgspec

from sidecar.core.body import Body
from sidecar.core.call import Call
from sidecar.core.clock import Clock
from sidecar.layers.idempotency.places import NoPlace, without_standard
from sidecar.layers.whole import NotWhole, request_json

_OPENING = re.compile(rb"[ \t\r\n]*\{[ \t\r\n]*")  # RFC 8259 section 2.
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_value = msgspec.json.decode
_encode = msgspec.json.encode


class FieldPlace:
    """A field of a JSON body. Needs the whole body in hand, so the app's last byte is waited for, up to the deadline.

    A body of more than `bytes_max` passes as it is.
    """

    __slots__ = ("_bytes_max", "_clock", "_name", "_written")

    def __init__(self, name: str, bytes_max: int, clock: Clock) -> None:
        self._name = name
        self._written = _encode(name) + b":"
        self._bytes_max = bytes_max
        self._clock = clock

    async def look(self, call: Call) -> list[bytes]:
        """Give the key in the body. Raises NoPlace, and DeadlineExceeded when the app sends its body too slowly."""
        value = (await self._fields(call)).get(self._name)
        return [] if value is None else [_key(bytes(value))]

    def put(self, call: Call, key: bytes) -> None:
        """Write the field behind the opening brace, unless it is there; with another key, it is replaced."""
        content = call.body.take_all()
        opening = _OPENING.match(content or b"")
        assert content is not None, "it was looked into just now"
        assert opening is not None, "it was an object just now"
        fields = _decode(content)
        there = fields.get(self._name)
        if there is None:
            at = opening.end()
            comma = b"" if content.startswith(b"}", at) else b","
            content = b"".join([content[:at], self._written, _encode(key.decode()), comma, content[at:]])
        elif _key(bytes(there)) != key:
            content = _encode({**fields, self._name: key.decode()})
        call.body = Body.of(content)
        call.headers = without_standard(call.headers)

    async def _fields(self, call: Call) -> dict[str, msgspec.Raw]:
        try:
            content = await request_json(
                call, self._bytes_max, self._clock, "for its idempotency key", "idempotency.body_max"
            )
        except NotWhole as reason:
            raise NoPlace(str(reason)) from None
        try:
            return _decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NoPlace("the request's body is not a JSON object") from None


def _key(written: bytes) -> bytes:
    """Give the key that the app wrote into the field: a string, or, as Discord takes it, a number."""
    try:
        value = _decode_value(written)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if isinstance(value, str) and value:
        return value.encode("utf-8", "replace")
    if isinstance(value, int) and not isinstance(value, bool):
        return written
    raise NoPlace("the app put something that is no key into the field")
