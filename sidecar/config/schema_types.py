"""Schema types: what a single value of each type looks like, as JSON Schema.

Patterns are those of the parsers themselves. What takes secrets or URLs says what to write by `const`: the message of
a `pattern` that does not match repeats the value, and a secret may stand there by mistake.
"""

import re
from typing import Any

from sidecar.auth.oauth import url as token_url
from sidecar.auth.oauth.url import TokenUrl
from sidecar.auth.secrets.vault.config import VaultAddress
from sidecar.core import address, secret, statuses, units
from sidecar.core.secret import SecretRef
from sidecar.core.statuses import Statuses
from sidecar.core.units import Duration, Rate, Rates, Size
from sidecar.layers import access
from sidecar.layers.access import Rule
from sidecar.store import config as store
from sidecar.store.config import Nodes
from sidecar.upstream import origin
from sidecar.upstream.origin import BaseUrl
from sidecar.webhooks.target import Target

Schema = dict[str, Any]

# What `\s` is to Python beyond ASCII; to Go it is ASCII alone.
_BLANKS = "\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# What some engines of patterns do not know, or read in another way: groups that look around, classes by a letter.
_UNLIKE = re.compile(r"\(\?(?!:)|\\(?![.\[\]{}()*+?^$|/\\-]|t|x[0-9a-f]{2})")

PORT = r"(?:[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"  # Of up to 5 digits.
_SCHEMES = r"[Hh][Tt][Tt][Pp][Ss]?"  # RFC 3986 section 3.1: without case.
_VAULT_HOST = r"""(?:[!"$-.0-9;->A-Z\\^-~]+|\[[0-9A-Za-z:.%_~-]+\])"""  # Whatever leads to no path, query or user.
_MORE_THAN_0 = "^[0.]*[1-9]"


def exact(pattern: re.Pattern[str] | str) -> str:
    """Give a pattern of Python's that has to match the whole value, as Go, JavaScript and Rust read it, too."""
    assert isinstance(pattern, str) or pattern.flags == re.UNICODE, f"{pattern} has flags"
    plain = re.sub(r"\(\?P<\w+>", "(?:", pattern if isinstance(pattern, str) else pattern.pattern)
    plain = plain.replace(r"\s", _BLANKS).replace(r"\"", '"')  # Blanks stand in brackets wherever we write them.
    assert not _UNLIKE.search(plain.replace(r"\\", "")), f"{plain} is not read alike by all"
    return f"^(?:{plain})$"


def text(pattern: re.Pattern[str] | str) -> Schema:
    """Text of a form."""
    return {"type": "string", "pattern": exact(pattern)}


def unrepeated(pattern: re.Pattern[str] | str, say: str, *, but: str | None = None) -> Schema:
    """Text of a form, refused by a sentence that says what to write, and does not repeat what was written."""
    is_right = text(pattern) | ({"not": {"pattern": but}} if but else {})
    return {"type": "string", "if": is_right, "else": {"const": say}}


def _url(host: str, rest: str, *, scheme: str = _SCHEMES) -> str:
    return f"{scheme}://{host}(?::(?:0*{PORT})?)?{rest}"


def above_zero(schema: Schema) -> Schema:
    """Text that begins with a number, and not with 0."""
    return schema | {"allOf": [{"pattern": _MORE_THAN_0}]}


_RATE = text(units.RATE) | {"allOf": [{"pattern": _MORE_THAN_0}, {"pattern": "/(?:[a-z]|[0.]*[1-9])"}]}
_STATUS = f"(?:{statuses.RANGE.pattern}|{statuses.CLASS.pattern}|[1-9][0-9]{{2}})"
_BASE_HOST = rf"(?:{origin.HOST.pattern}|\[{origin.IPV6.pattern}\])"
_TOKEN_HOST = rf"(?:{token_url.HOST.pattern}|\[{origin.IPV6.pattern}\])"
# One `**` at most, as the last segment.
_RULE = rf"(?:\*|{access.METHOD.pattern}) /(?:\*\*|(?:\*?[!\"$-)+->@-~])*\*?(?:/\*\*)?)"

_SOCKET_MAX = address.UNIX_PATH_MAX - 1  # Behind the first slash.
_SOCKET = rf"unix:/[^\x00]{{0,{_SOCKET_MAX}}}"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# An address in brackets may be another one: there are many ways to write this.
_LOOPBACK = rf"(?:(?:[A-Za-z0-9_.-]*\.)?[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]|127(?:\.{_OCTET}){{3}}|\[[0-9A-Fa-f:.]+\])"
ADDRESS = text(f"{address.HOST}:{PORT}|{_SOCKET}")
LOCAL_ADDRESS = text(f"{_LOOPBACK}:{PORT}|{_SOCKET}")
PROXY = unrepeated(
    _url(_BASE_HOST, "/*", scheme="[Hh][Tt][Tt][Pp]"), 'scheme http, host and port, and no path: "http://proxy:3128"'
)

ENDPOINT = unrepeated(
    rf"{_SCHEMES}://[^@/?#\x00]+(?:/[^?#\x00]*)?", "https://<host>, without credentials, query and fragment"
)

TYPES: dict[type, Schema] = {
    str: text(r"[^\x00]*"),
    bool: {"type": "boolean"},
    float: {"type": "number"},
    Duration: text(units.DURATION),
    Size: above_zero(text(units.SIZE)),
    Rate: _RATE,
    Rates: _RATE | {"type": ["string", "array"], "items": _RATE, "minItems": 1, "uniqueItems": True},
    Statuses: {
        "type": "array",
        "items": {"type": ["integer", "string"], "minimum": 100, "maximum": 999, "pattern": exact(_STATUS)},
    },
    SecretRef: unrepeated(
        secret.REFERENCE,
        'a reference "<store>:<path>#<field>" to a [secrets.<store>] section, such as "files:stripe-key"; a secret'
        " never stands in the config, and is never taken from the environment",
        but="^env:",
    ),
    BaseUrl: unrepeated(
        _url(_BASE_HOST, '(?:/[!-"$->@-~]*)?'),
        'a URL such as "https://api.crm.example/v2", without credentials, query and fragment',
    ),
    TokenUrl: unrepeated(
        _url(_TOKEN_HOST, r'(?:[/?][!-"$-~]*)?'),
        'a URL such as "https://id.crm.example/oauth/token", without credentials and fragment',
    ),
    VaultAddress: unrepeated(
        _url(_VAULT_HOST, "/*"), 'a URL such as "https://vault.example:8200", without credentials and path'
    ),
    Nodes: unrepeated(
        store.NODES,
        '"redis://host:6379" or, over TLS, "rediss://host:6379"; several hosts stand with commas between them, and no'
        " credentials",
    ),
    Target: unrepeated(
        rf"[Hh][Tt][Tt][Pp]://{_LOOPBACK}\.?(?::{PORT}?)?(?:[/?][!-\"$-~]*)?#?|unix:/[^\x00:]{{0,{_SOCKET_MAX}}}"
        "(?::(?:[/?#:.][!-~]*)?)?",
        'an address of the app in this pod, such as "http://127.0.0.1:8080/hooks" or "unix:/run/app.sock:/hooks"',
    ),
    Rule: text(_RULE),
}
