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
PATTERNS_MAX = 10_000  # Full: `know` refuses with ValueError; a process has a few dozen secrets of 20 forms each.
FIELDS_MAX = 100  # Header fields of one head. More: cut, and the last line says so.
VALUE_MAX = 512  # Characters of one header value or target. Longer: cut, after masking.
TAIL_MIN = 3  # Bytes of a known value at a cut end that are masked, too.

_NAME = re.compile(
    r"auth(?!or(?!i))|cookie|token|secret|key|passw|passphrase|pwd|signature|session|credential|jwt|assertion|private"
    r"|bearer|(^|[-_.])(sig|hmac|otp|pin|code_verifier|refresh|access)($|[-_.])",
    re.IGNORECASE,
)
_QUERY_NAME = re.compile(r"^(code|state|sig|key|hash|nonce|ticket)$", re.IGNORECASE)
_SCHEME = re.compile(
    r"(bearer|basic|digest|token|negotiate|dpop|apikey|hmac|hawk|mac|aws4-hmac-sha256)(?=\s)", re.IGNORECASE
)
_PAIR = re.compile(r"""(?P<before>^|[?&;#])(?P<name>[^=&;?#\s"'<>{},]{1,128})=(?P<value>[^&;#\s"'<>]*)""")
_USERINFO = re.compile(r"(?<=://)[^/\s@\"'<>]*@")
_FIELD = re.compile(r'"(?P<word>[^"\\]{1,128})"\s*:\s*')
_FIELD_VALUE = re.compile(
    r"""(?!(?:true|false|null)\b)(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|\{[^}]*(?:\}|$)|\[[^\]]*(?:\]|$)|[^,}\]\s]+)""",
    re.DOTALL,
)
_IN_TEXT = re.compile(r"\b(bearer|basic|token|dpop)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Say whether a header or field of this name may carry a secret."""
    return _NAME.search(name) is not None


class Redactor:
    """Masks messages; knows the values that must never show."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}  # Longest first; how many owners know it.

    def know(self, patterns: Iterable[bytes]) -> Callable[[], None]:
        """Mask these values wherever they occur, until the function that is given back is called."""
        mine = {pattern for pattern in patterns if len(pattern) >= PATTERN_MIN}
        if len(self._known) + len(mine) > PATTERNS_MAX:
            raise ValueError(f"more than {PATTERNS_MAX} secret values are known; forget those that are not used")
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

    def text(self, raw: bytes | str) -> str:
        """Mask free text: known values, URLs with credentials, schemes with a value, query pairs."""
        text = self._without_known(raw.encode("utf-8", "replace") if isinstance(raw, str) else raw)
        text = _USERINFO.sub(MASK + "@", text)
        text = _IN_TEXT.sub(rf"\1 {MASK}", text)
        return _PAIR.sub(_masked_pair, text)

    def target(self, target: bytes) -> str:
        """Mask a request target: path and query."""
        return _cut(self.text(target))

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
        shown = _cut(self._without_known(name))
        if is_secret_name(shown):
            scheme = _SCHEME.match(value.decode("latin-1"))
            return f"{shown}: {scheme[0]} {MASK}" if scheme else f"{shown}: {MASK}"
        return f"{shown}: {_cut(self.text(value))}"

    def _without_known(self, raw: bytes) -> str:
        mask = MASK.encode()
        for pattern in self._known:
            raw = raw.replace(pattern, mask)
        for pattern in self._known:
            cut = _cut_inside(raw, pattern)
            if cut:
                raw = raw[:-cut] + mask
        return raw.decode("utf-8", "replace")


def _cut_inside(raw: bytes, pattern: bytes) -> int:
    """Say how many last bytes are the beginning of a known value: the text may have been cut inside one."""
    for size in range(min(len(pattern) - 1, len(raw)), TAIL_MIN - 1, -1):
        if raw.endswith(pattern[:size]):
            return size
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
        if name.start() >= at and is_secret_name(name["word"]):
            value = _FIELD_VALUE.match(text, name.end())
            if value is not None:
                parts += [text[at : name.end()], f'"{MASK}"']
                at = value.end()
    return "".join([*parts, text[at:]])


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
