"""Headers: which fields are the connection's own, and how lists in them are read.

Fields travel as a list of (name, value) bytes, so that order, duplicates and spelling survive.
"""

from sidecar.core.body import Headers

# RFC 9110 section 7.6.1, and the ones that older software treats the same way. `Trailer` goes through: trailers do.
HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info",
    b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip
# RFC 8594 and RFC 9745: by these a vendor says that something of its API ends.
NOTICES = frozenset({b"sunset", b"deprecation"})


def find(headers: Headers, name: bytes) -> bytes | None:
    """Give the first value of the field `name` (lower case), or None."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def find_all(headers: Headers, name: bytes) -> list[bytes]:
    """Give all values of the field `name` (lower case)."""
    return [value for key, value in headers if key.lower() == name]


def tokens(values: list[bytes]) -> list[bytes]:
    """Split comma lists into lower-case tokens, as in `Connection: close, X-Foo`."""
    return [token for value in values for part in value.split(b",") if (token := part.strip().lower())]


def may_trail(name: bytes, kept: frozenset[bytes], dropped: tuple[bytes, ...]) -> bool:
    """Whether a trailer may go on (RFC 9110 section 6.5.1).

    A recipient may merge it into the head, so what is kept here or dropped by its beginning there, is so here, too.
    """
    key = name.lower()
    return key not in kept and not key.startswith(dropped)


def keepalive_seconds(value: bytes) -> float | None:
    """Read `timeout=5, max=100` (RFC 2068 section 19.7.1.1); None if it says nothing of use."""
    for token in tokens([value]):
        key, _, number = token.partition(b"=")
        if key.strip() == b"timeout" and number.strip().isdigit():
            return float(number.strip()[:9])
    return None
