"""Item: one call of a batch, as the app wrote it in JSON."""

import base64
import binascii
import re
from typing import Annotated, NamedTuple

import msgspec

from sidecar.core.errors import BadRequest

ID_MAX = 128  # Characters.
SENTENCE_MAX = 200  # Of a sentence that may quote what the app sent.
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<where>[^`]*)`)?$", re.DOTALL)

Fields = list[tuple[str, str]]


class Item(msgspec.Struct, forbid_unknown_fields=True):
    """What the app wants to have called."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_MAX)]  # The app's own; it comes back as it is.
    method: str
    path: str  # And query, under the base URL.
    headers: dict[str, str | list[str]] = {}
    body: msgspec.Raw = msgspec.Raw(b"")  # A string is sent as text, any other value as JSON; null is no body.
    body_base64: str | None = None

    def fields(self) -> Fields:
        """Give the headers as a list; of a list of values each has a field of its own."""
        pairs = ((name, [value] if isinstance(value, str) else value) for name, value in self.headers.items())
        return [(name, value) for name, values in pairs for value in values]

    def content(self) -> tuple[bytes | None, bool]:
        """Give the bytes of the body (None: there is none), and whether they are JSON. Raises BadRequest."""
        raw = bytes(self.body)
        if raw in {b"", b"null"}:
            return self._decoded(), False
        if self.body_base64 is not None:
            raise BadRequest("an item has a body or a body_base64, not both")
        if raw.startswith(b'"'):
            return msgspec.json.decode(raw, type=str).encode(), False
        return raw, True

    def is_text(self) -> bool:
        """Whether the body's text is UTF-8: the decoder passes over it unread."""
        try:
            bytes(self.body).decode()
        except UnicodeDecodeError:
            return False
        return True

    def _decoded(self) -> bytes | None:
        if self.body_base64 is None:
            return None
        try:
            return base64.b64decode(self.body_base64, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest("body_base64 is not base64 (RFC 4648 section 4, with padding)") from None


class Broken(NamedTuple):
    """What should be an item and is none; `where` and `what` say why."""

    where: str
    what: str
    id: str | None = None  # As far as it could be read.


class _Named(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_MAX)]


_decode = msgspec.json.Decoder(Item).decode
_decode_id = msgspec.json.Decoder(_Named).decode


def read(raw: bytes | msgspec.Raw) -> Item | Broken:
    """Read an item."""
    try:
        item = _decode(raw)
    except UnicodeDecodeError:
        return Broken("", "not UTF-8")
    except RecursionError:
        return Broken("", "nested too deeply")
    except msgspec.DecodeError as error:
        where, what = said(error)
        return Broken(where, what, _id(raw))
    return item if item.is_text() else Broken(".body", "not UTF-8", item.id)


def said(error: msgspec.DecodeError) -> tuple[str, str]:
    """Give (where, what) from the decoder's sentence: `.headers`, `expected object, got array`."""
    match = _WHERE.match(str(error))
    assert match is not None
    what = match["what"].replace("`", "")[:SENTENCE_MAX]
    is_word = what[:2].istitle()  # "Expected", not "JSON".
    return match["where"] or "", what[:1].lower() + what[1:] if is_word else what


def _id(raw: bytes | msgspec.Raw) -> str | None:
    try:
        return _decode_id(raw).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
