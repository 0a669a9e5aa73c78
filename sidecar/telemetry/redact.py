"""Redact: what may be secret in a message is masked before it is written. Only failed calls come here.

Two nets: what is *named* like a secret (headers, query parameters, JSON and form fields), and the very values that
the credentials know, wherever they stand and in the forms in which they travel.
"""

import base64
import re
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus, unquote

from sidecar.core.body import Headers

MASK = "***"
PATTERN_MIN = 4  # Bytes. A shorter value would mask half of every text, so it is left to the net of names.
PATTERNS_MAX = 10_000  # Full: `know` refuses with TooManyValues; a process has a few dozen secrets of 20 forms each.
FIELDS_MAX = 100  # Header fields of one head. More: cut, and the last line says so.
VALUE_MAX = 512  # Characters of one header value or target. Longer: cut, after masking.
SENTENCES_MAX = 256  # Remembered as masked. Full: all are forgotten and masked anew.
TAIL_MIN = 3  # Bytes of a known value at a cut end that are masked, too.

_NAME = re.compile(
    r"auth(?!or(?!i))|cookie|token|secret|key|passw|passphrase|pwd|signature|session|credential|jwt|assertion|private|dpop"
    r"|bearer|(^|[-_.])(sig|hmac|otp|pin|code_verifier|refresh|access)($|[-_.])",
    re.IGNORECASE,
)
_QUERY_NAME = re.compile(r"^(code|state|sig|key|hash|nonce|ticket)$", re.IGNORECASE)
_SCHEME = re.compile(
    r"(bearer|basic|digest|token|negotiate|dpop|apikey|hmac|hawk|mac|aws4-hmac-sha256)(?=\s)", re.IGNORECASE
)
_PAIR = re.compile(r"""(?P<before>^|[?&;#])(?P<name>[^=&;?#\s"'<>{},]{1,128})=(?P<value>[^&;#\s"'<>]*)""")
_USERINFO = re.compile(r"(?<=://)[^/\s@\"'<>]*@")
_FIELD = re.compile(r'"(?P<word>(?:[^"\\]|\\.){1,128})"\s*:\s*', re.DOTALL)
_FIELD_VALUE = re.compile(r"""(?!(?:true|false|null)\b)(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|[^,}\]\s]+)""", re.DOTALL)
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)|[][{}]', re.DOTALL)  # Or a string, in which brackets mean nothing.
_CLOSING = {"{": "}", "[": "]"}
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
# JSON leaves these as they are, and terminals obey them: further control characters, line ends, changes of direction.
_OBEYED = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_IN_TEXT = re.compile(r"\b(bearer|basic|token|dpop)\s+[A-Za-z0-9._~+/=&?!$%*:@#^-]{8,}", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Say whether a header or field of this name may carry a secret."""
    return _NAME.search(name) is not None


class TooManyValues(Exception):
    """A value cannot be masked, so it must not be used; the sentence never repeats it."""


class Redactor:
    """Masks messages; knows the values that must never show."""

    __slots__ = ("_by_start", "_known", "_sentences")

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}  # Longest first; how many owners know it.
        self._by_start: dict[bytes, list[bytes]] = {}  # The same by their first TAIL_MIN bytes.
        self._sentences: dict[str, str] = {}  # What `sentence` was asked for since the values changed last.

    def know(self, patterns: Iterable[bytes]) -> Callable[[], None]:
        """Mask these values wherever they occur, until the function that is given back is called."""
        mine = {pattern for pattern in patterns if len(pattern) >= PATTERN_MIN}
        if len(self._known) + len(mine) > PATTERNS_MAX:
            raise TooManyValues(f"the log masks {PATTERNS_MAX} forms of secrets already; use fewer secrets in one pod")
        self._change(mine, 1)

        def forget() -> None:
            self._change(mine, -1)
            mine.clear()

        return forget

    def _change(self, patterns: set[bytes], step: int) -> None:
        counts = dict(self._known)
        for pattern in patterns:
            counts[pattern] = counts.get(pattern, 0) + step
        kept = [pattern for pattern, count in counts.items() if count > 0]
        self._known = {pattern: counts[pattern] for pattern in sorted(kept, key=len, reverse=True)}
        self._by_start = {}
        for pattern in self._known:
            self._by_start.setdefault(pattern[:TAIL_MIN], []).append(pattern)
        self._sentences = {}

    def text(self, raw: bytes | str) -> str:
        """Mask free text: known values, URLs with credentials, schemes with a value, query pairs."""
        text = self._without_known(raw.encode("utf-8", "replace") if isinstance(raw, str) else raw)
        text = _USERINFO.sub(MASK + "@", text)
        text = _IN_TEXT.sub(rf"\1 {MASK}", text)
        return _PAIR.sub(_masked_pair, text)

    def carried(self, headers: Headers) -> "Redactor | None":
        """Give one that knows the credentials of a head that this one does not: the app's own. None: there are none."""
        values = {_bare(value) for name, value in headers if is_secret_name(name.decode("latin-1"))}
        new = [value for value in values if len(value) >= PATTERN_MIN and value not in self._known]
        if not new:
            return None
        redactor = Redactor()
        for value in new:
            redactor.know(forms(value))
        return redactor

    def holds(self, raw: bytes) -> bool:
        """Whether a known value stands in it, in any of its forms: for what is written down and must not be changed."""
        return any(pattern in raw for pattern in self._known)

    def without_known(self, raw: bytes) -> bytes:
        """Mask the known values alone."""
        return self._without_known(raw).encode()

    def sentence(self, text: str) -> str:
        """Mask a sentence of ours as `text` does; the same few come by the thousand when calls are refused."""
        known = self._sentences
        masked = known.get(text)
        if masked is None:
            masked = self.text(text)
            if len(known) >= SENTENCES_MAX:
                known.clear()
            known[text] = masked
        return masked

    def target(self, target: bytes) -> str:
        """Mask a request target: path and query."""
        return self._shown(target)

    def headers(self, headers: Headers) -> list[str]:
        """Give the fields as `Name: value` lines, masked and bounded."""
        lines = [self._line(name, value) for name, value in headers[:FIELDS_MAX]]
        if len(headers) > FIELDS_MAX:
            lines.append(f"({len(headers) - FIELDS_MAX} more)")
        return lines

    def body(self, start: bytes) -> str:
        """Mask the start of a body: text, and the values of JSON and form fields that are named like a secret."""
        return _without_fields(self.text(start))

    def _line(self, name: bytes, value: bytes) -> str:
        shown = _cut(self._without_known(name[: 2 * VALUE_MAX]))
        if is_secret_name(shown):
            scheme = _SCHEME.match(value.decode("latin-1"))
            return f"{shown}: {scheme[0]} {MASK}" if scheme else f"{shown}: {MASK}"
        return f"{shown}: {self._shown(value)}"

    def _shown(self, raw: bytes) -> str:
        """Mask and cut; of a long text the beginning alone, with what the masks may shorten: the work has a bound."""
        text = self.text(raw[: 2 * VALUE_MAX])
        return _cut(text) if len(raw) <= 2 * VALUE_MAX else text[:VALUE_MAX] + "..."

    def _without_known(self, raw: bytes) -> str:
        mask = MASK.encode()
        suspects = self._suspects(raw)
        for pattern in suspects:
            raw = raw.replace(pattern, mask)
        for pattern in suspects:
            cut = _cut_inside(raw, pattern)
            if cut:
                raw = raw[:-cut] + mask
        return _OBEYED.sub("?", raw.decode("utf-8", "replace"))

    def _suspects(self, raw: bytes) -> list[bytes]:
        """Give the values whose beginning occurs, longest first: few, where trying all costs milliseconds a call."""
        starts = {raw[at : at + TAIL_MIN] for at in range(len(raw) - TAIL_MIN + 1)} & self._by_start.keys()
        return sorted((pattern for start in starts for pattern in self._by_start[start]), key=len, reverse=True)


def _bare(value: bytes) -> bytes:
    scheme = _SCHEME.match(value.decode("latin-1"))
    return value[scheme.end() :].strip() if scheme else value


def _cut_inside(raw: bytes, pattern: bytes) -> int:
    """Say how many last bytes are the beginning of a known value: the text may have been cut inside one."""
    start = pattern[:TAIL_MIN]
    at = raw.find(start, max(0, len(raw) - len(pattern) + 1))
    while at != -1:
        if pattern.startswith(raw[at:]):
            return len(raw) - at
        at = raw.find(start, at + 1)
    return 0


def _masked_pair(match: re.Match[str]) -> str:
    name = unquote(match["name"])
    if is_secret_name(name) or _QUERY_NAME.match(name):
        return f"{match['before']}{match['name']}={MASK}"
    return match[0]


def _without_fields(text: str) -> str:
    """Mask the values of JSON fields that are named like a secret, at any depth."""
    parts = []
    at = 0
    for name in _FIELD.finditer(text):
        if name.start() >= at and is_secret_name(_unescaped(name["word"])):
            end = _value_end(text, name.end())
            if end is not None:
                parts += [text[at : name.end()], f'"{MASK}"']
                at = end
    return "".join([*parts, text[at:]])


def _value_end(text: str, start: int) -> int | None:
    """Say where the JSON value that begins at `start` ends, all that is nested in it included; None if none does.

    What is cut, or closed by the wrong bracket, ends with the text: rather too much masked.
    """
    if text[start : start + 1] not in _CLOSING:
        value = _FIELD_VALUE.match(text, start)
        return None if value is None else value.end()
    awaited: list[str] = []
    for match in _BRACKET.finditer(text, start):
        bracket = match[0]
        if bracket in _CLOSING:
            awaited.append(_CLOSING[bracket])
        elif not bracket.startswith('"'):
            if bracket != awaited.pop():
                break
            if not awaited:
                return match.end()
    return len(text)


def _unescaped(word: str) -> str:
    """Read the escapes that JSON allows in a name: a secret does not hide behind one."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), word)


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_MAX else text[:VALUE_MAX] + "..."


def forms(value: bytes) -> set[bytes]:
    """Give the forms in which a secret value travels: raw, URL-encoded, in JSON, hexadecimal, base64 at any offset."""
    encoded = {quote(value, safe="").encode(), quote(value, safe="/").encode(), quote_plus(value).encode()}
    encoded |= {quote(form, safe="").encode() for form in encoded}  # A URL inside of a URL.
    lower = {re.sub(rb"%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in encoded}
    quoted = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    found = {value, quoted, quoted.replace(b"/", b"\\/"), value.hex().encode(), value.hex().upper().encode()}
    return {form for form in found | encoded | lower | _base64_forms(value) if len(form) >= PATTERN_MIN}


def _base64_forms(value: bytes) -> set[bytes]:
    """Give what is the same in base64 whatever stands before and after the value, as in Basic credentials."""
    found = set()
    for offset, shared in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(bytes(offset) + value)
        end = (offset + len(value)) * 8 // 6
        middle = whole[shared:end]
        if len(middle) >= 2 * PATTERN_MIN:
            found |= {middle, middle.translate(bytes.maketrans(b"+/", b"-_"))}
    return found
