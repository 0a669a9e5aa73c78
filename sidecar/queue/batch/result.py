"""Result: what came of an item, as JSON on one line."""

import base64
import re
from itertools import accumulate
from typing import Any

import msgspec

from sidecar.core.body import Headers
from sidecar.core.headers import find

DEPTH_MAX = 50  # Levels of a JSON body that is put in as JSON. More: as text, since parsers give up at 64 and above.
_JSON_TYPE = re.compile(rb"\s*[a-z0-9!#$&^_.+-]+/(?:[a-z0-9!#$&^_.+-]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
_SPACES = bytes.maketrans(b"\r\n", b"  ")  # Between tokens, the only place where JSON has them.

_encode = msgspec.json.Encoder().encode


class Result(msgspec.Struct, omit_defaults=True):
    """What the app gets for one item; the members and their order are the contract."""

    id: str | None  # None: the line was no item.
    index: int  # From 0, in the order in which the app sent them.
    request_id: str
    status: int
    outcome: str
    attempts: int
    headers: dict[str, str | list[str]]
    code: str = ""  # Of the sidecar's error, if it is one.
    body: Any = None  # JSON or text; absent where there is none.
    body_base64: str | None = None

    def put(self, content: bytes, headers: Headers) -> None:
        """Put the answer's body in."""
        self.body, self.body_base64 = members_of(content, headers)

    def line(self) -> bytes:
        """Write it, without a line break inside."""
        return _encode(self)


class Counts(msgspec.Struct):
    """How the items of a batch ended."""

    items: int = 0
    success: int = 0
    failure: int = 0
    rejected: int = 0
    attempts: int = 0

    def add(self, result: Result) -> None:
        """Count one more."""
        self.items += 1
        self.attempts += result.attempts
        if result.outcome == "success":
            self.success += 1
        elif result.outcome == "rejected":
            self.rejected += 1
        else:
            self.failure += 1


class Summary(msgspec.Struct, omit_defaults=True):
    """The last line of a batch in lines."""

    counts: Counts
    code: str = ""  # Why the rest of the request was not read, if it was not.
    detail: str = ""


def members_of(content: bytes, headers: Headers) -> tuple[Any, str | None]:
    """Give `body` and `body_base64` of an answer: JSON if it is JSON, text if it is text, else base64. Nothing is lost.

    Both are None where there is no body.
    """
    if not content:
        return None, None
    coding = find(headers, b"content-encoding")
    text = None if coding is not None and coding.strip().lower() != b"identity" else _text(content)
    if text is None:
        return None, base64.b64encode(content).decode()
    if _JSON_TYPE.match(find(headers, b"content-type") or b"") and _is_json(content):
        return msgspec.Raw(content.translate(_SPACES).strip()), None
    return text, None


def written(headers: Headers) -> dict[str, str | list[str]]:
    """Write fields as an object with lower-case names; one that came several times has a list."""
    found: dict[str, str | list[str]] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        before = found.get(name)
        if before is None:
            found[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[name] = [before, value]
    return found


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _is_json(content: bytes) -> bool:
    """Whether it is JSON that any parser takes, wherever it is put in."""
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    if content.count(b"[") + content.count(b"{") <= DEPTH_MAX:
        return True
    brackets = _STRINGS.sub(b"", content).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) <= DEPTH_MAX
