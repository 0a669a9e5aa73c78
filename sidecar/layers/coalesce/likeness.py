"""Likeness: which calls are equal, so that one answer serves them."""

from sidecar.core.body import NO_BODY
from sidecar.core.call import Call
from sidecar.telemetry.redact import is_secret_name

Key = tuple[bytes, tuple[tuple[bytes, bytes], ...], int]

# Of another condition or encoding the answer is another one, whatever the config says. So is that of another
# credential; beside these two, a field that is named like one counts as one.
_ALWAYS = frozenset({
    b"authorization", b"cookie", b"accept-encoding", b"if-match", b"if-none-match", b"if-modified-since",
    b"if-unmodified-since", b"if-range", b"prefer",
})  # fmt: skip
_NEVER = frozenset({b"tracestate"})  # Tells about the caller, and the vendor answers the same.
_PART = b"range"  # A part is seldom asked for twice, and as a rule too large to be kept.


class Likeness:
    """Gives equal calls of one route the same key. The service's own credential is the same for all of them."""

    __slots__ = ("_named",)

    def __init__(self, headers: tuple[str, ...] | None) -> None:
        self._named = None if headers is None else _ALWAYS | {name.lower().encode() for name in headers}

    def key(self, call: Call) -> Key | None:
        """Give what makes a call equal to another; None for what is never shared: only plain GETs are."""
        if call.method != "GET" or call.body is not NO_BODY or call.upgrade is not None or call.wants_trailers:
            return None
        named = self._named
        fields = []
        for name, value in call.headers:
            key = name.lower()
            if key == _PART:
                return None
            if key not in _NEVER if named is None else key in named or is_secret_name(key.decode("latin-1")):
                fields.append((key, value))
        return call.target, tuple(fields), call.attempts_max or 0
