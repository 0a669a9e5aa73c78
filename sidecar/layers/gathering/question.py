"""Question: which calls can be gathered, and the one call that asks for all of them."""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from sidecar.core.body import Body
from sidecar.core.call import Call
from sidecar.layers.coalesce.likeness import Likeness
from sidecar.layers.gathering.config import ID, IDS, NUMBER, GatherConfig
from sidecar.layers.whole import asking_plainly

# Others are asked for by themselves: nobody has to guess how the vendor reads a blank or a slash in a list.
_ID = re.compile(rb"[A-Za-z0-9_.~:@+=-]{1,200}")
_DOTS = frozenset({b".", b".."})
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})")
# Conditions are about one thing.
_CONDITIONS = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"})


class Asked(NamedTuple):
    """What one call asks for: the id, and all else, in which those who are gathered are equal."""

    id: str
    key: tuple[object, ...]


class Question:
    """How this vendor is asked for many; `prefix` is the path in front of all others (a pinned version)."""

    __slots__ = (
        "_between",
        "_body",
        "_is_number",
        "_item",
        "_likeness",
        "_method",
        "_names",
        "_prefix",
        "_separator",
        "_target",
    )

    def __init__(self, config: GatherConfig, prefix: bytes = b"") -> None:
        self._method, _, target = config.request.partition(" ")
        self._target = target
        self._body = config.body
        self._item = config.item
        self._is_number = NUMBER in config.item and config.body is not None
        self._separator = config.separator
        self._between = unquote(config.separator)
        self._prefix = prefix
        self._likeness = Likeness(config.headers)
        pairs = target.replace(IDS, "").partition("?")[2].split("&")
        self._names = frozenset(unquote_to_bytes(pair.partition("=")[0]) for pair in pairs if pair)

    def asked(self, call: Call) -> Asked | None:
        """Give what a call asks for; None for one that is made by itself."""
        likeness = self._likeness.key(call)
        if likeness is None or call.idempotency_key is not None:
            return None
        if any(field[0].lower() in _CONDITIONS for field in call.headers):
            return None
        target, fields, attempts_max = likeness
        path, _, query = target.partition(b"?")
        around, _, segment = path.rpartition(b"/")
        plain = unquote_to_bytes(segment)
        if not _ID.fullmatch(plain) or plain in _DOTS:
            return None
        text = plain.decode()
        if self._body is None and self._between in text:
            return None
        if self._is_number and not _NUMBER.fullmatch(text):
            return None
        names = (unquote_to_bytes(pair.partition(b"=")[0]) for pair in query.split(b"&"))
        if not self._names.isdisjoint(names):
            return None
        return Asked(text, (around, query, fields, attempts_max, call.app))

    def put(self, call: Call, ids: list[str]) -> None:
        """Make a call of one who asks into the call for all of these."""
        query = call.target.partition(b"?")[2]
        target = self._target
        if self._body is None:
            target = target.replace(IDS, self._separator.join(quote(one, safe="") for one in ids))
        else:
            items = ",".join(self._item.replace(ID, f'"{one}"').replace(NUMBER, one) for one in ids)
            call.body = Body.of(self._body.replace(IDS, items).encode())
        call.method = self._method
        call.target = self._prefix + target.encode()
        if query:
            call.target += (b"&" if "?" in target else b"?") + query
        call.headers = asking_plainly(call.headers)
        if self._body is not None:
            call.headers = [field for field in call.headers if field[0].lower() != b"content-type"]
            call.headers.append((b"Content-Type", b"application/json"))
        call.is_read = True
