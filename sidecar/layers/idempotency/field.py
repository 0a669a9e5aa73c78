"""Field: the key in a JSON body, at the top of its object; put there without touching any other byte."""

import re

import msgspec

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call
from sidecar.core.clock import Clock
from sidecar.core.headers import find, find_all
from sidecar.layers.idempotency.places import NoPlace, without_standard
from sidecar.layers.idempotency.receiving import receive

_STEP = "receiving the request's body, for its idempotency key"
# What these say of the body would not be true any more (RFC 1864, RFC 3230, RFC 9530).
_DIGESTS = (b"content-md5", b"digest", b"content-digest", b"repr-digest")
_OPENING = re.compile(rb"[ \t\r\n]*\{[ \t\r\n]*")  # RFC 8259 section 2.
_CHARSET = re.compile(rb";[ \t]*charset=\"?([^\";]*)", re.IGNORECASE)
_UTF_8 = frozenset({b"utf-8", b"utf8", b"us-ascii"})
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
        """Write the field behind the opening brace, unless it is there."""
        content = call.body.take_all()
        opening = _OPENING.match(content or b"")
        assert content is not None, "it was looked into just now"
        assert opening is not None, "it was an object just now"
        if self._name not in _decode(content):
            at = opening.end()
            comma = b"" if content.startswith(b"}", at) else b","
            content = b"".join([content[:at], self._written, _encode(key.decode()), comma, content[at:]])
        call.body = Body.of(content)
        call.headers = without_standard(call.headers)

    async def _fields(self, call: Call) -> dict[str, msgspec.Raw]:
        if call.body is NO_BODY:
            raise NoPlace("the request has no body")
        _check_head(call)
        body = call.body
        if not await receive(call, self._bytes_max, self._clock, _STEP):
            raise NoPlace("the request's body is over idempotency.body_max, or broke off")
        if body.trailers:
            raise NoPlace("the request's body has trailers, which may tell about its bytes")
        try:
            return _decode(await body.ahead(self._bytes_max))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NoPlace("the request's body is not a JSON object") from None


def _check_head(call: Call) -> None:
    """Raise NoPlace when the head says that the body is not plain JSON, or tells about its bytes."""
    kind = find(call.headers, b"content-type")
    if kind is not None:
        media = kind.partition(b";")[0].strip().lower()
        charset = _CHARSET.search(kind)
        if not media.endswith((b"/json", b"+json")) or (charset and charset[1].strip().lower() not in _UTF_8):
            raise NoPlace("the request's body is not JSON by its Content-Type")
    if any(value.strip().lower() != b"identity" for value in find_all(call.headers, b"content-encoding")):
        raise NoPlace("the request's body is encoded")
    if any(field[0].lower() in _DIGESTS for field in call.headers):
        raise NoPlace("the request carries a digest of its body")


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
