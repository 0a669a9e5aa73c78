"""Access: least privilege; a method and path that the service does not list stop here."""

import re
from collections.abc import Awaitable, Sequence

from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.errors import NotAllowed
from sidecar.core.paths import has_dot_segments, is_doubtful

METHOD = re.compile(r"[A-Z]+")
_PATH = re.compile(r"/[!-~]*")
# A byte inside of one segment, in any reading of it: an encoded slash or backslash stands only where a pattern says so.
_INSIDE = r"(?:[^/\\%]|%(?!(?:25)*(?:2[fF]|5[cC])))"
# By these, some vendors take another method or path than those that were judged; `_` is `-` for some.
_OVERRIDES = frozenset({
    b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-original-url", b"x-rewrite-url",
})  # fmt: skip
_SAY = 'write a method and a path pattern, such as "GET /v1/charges/**" or "* /v1/*/items"'


class Rule(str):
    """`"GET /v1/charges/**"`: a method or `*`, and a path pattern, matched byte for byte against the path as sent.

    `*` stands for one segment or a part of one, `{name}` for one segment, `/**` at the end for any rest, none included.
    An encoded slash ends a segment for many vendors, so `*` does not cover it; a pattern may name it, as in `*%2F*`.
    GET includes HEAD. The query plays no part.
    """

    __slots__ = ("_methods", "_pattern", "template")

    template: str
    _methods: frozenset[str] | None
    _pattern: re.Pattern[bytes]

    @classmethod
    def parse(cls, text: object) -> "Rule":
        """Read a rule. Raises ValueError with a sentence that says what to write."""
        if not isinstance(text, str):
            raise ValueError(_SAY)
        method, _, path = text.partition(" ")
        if not (method == "*" or METHOD.fullmatch(method)) or not _PATH.fullmatch(path):
            raise ValueError(f"{text!r} is not a rule; {_SAY}")
        if "?" in path or "#" in path:
            raise ValueError(f"{text!r}: a pattern is of the path; the query plays no part")
        stem = path.removesuffix("/**")
        if "**" in stem:
            raise ValueError(f'{text!r}: "**" stands only once, as the last segment, as in "/v1/**"')
        self = cls(text)
        self.template = path
        self._methods = None if method == "*" else frozenset({"GET", "HEAD"} if method == "GET" else {method})
        self._pattern = _compile(stem, is_open=stem != path)
        return self

    def matches(self, method: str, path: bytes) -> bool:
        """Whether the rule covers `method` on `path` (without the query)."""
        return (self._methods is None or method in self._methods) and self._pattern.fullmatch(path) is not None


def _compile(stem: str, *, is_open: bool) -> re.Pattern[bytes]:
    parts = []
    for segment in stem.split("/")[1:]:
        if segment == "*" or re.fullmatch(r"\{\w+\}", segment):
            parts.append(f"/{_INSIDE}+")
        else:
            first, *others = map(re.escape, segment.split("*"))
            # The first place where a piece stands is as good as any: without atomic groups, a path of many such
            # places would be tried in every combination.
            middle = "".join(f"(?>{_INSIDE}*?{piece})" for piece in others[:-1])
            last = f"{_INSIDE}*{others[-1]}" if others else ""
            parts.append(f"/{first}{middle}{last}")
    return re.compile(("".join(parts) + ("(?:/.*)?" if is_open else "")).encode(), re.DOTALL)


def access(allow: Sequence[Rule]) -> Layer:
    """Refuse what no rule covers.

    A path with dot segments is refused even if it matches: the vendor would resolve them to another path.
    """

    def around(inner: Handler) -> Handler:
        def allowed(call: Call) -> Awaitable[Reply]:
            path = call.target.partition(b"?")[0]
            if has_dot_segments(path) or is_doubtful(path):
                raise NotAllowed(
                    "a path with dot segments, NUL or overlong UTF-8 cannot be held against the service's allow rules"
                )
            if any(field[0].lower().replace(b"_", b"-") in _OVERRIDES for field in call.headers):
                raise NotAllowed("a header that names another method or path cannot be held against the allow rules")
            for rule in allow:
                if rule.matches(call.method, path):
                    call.path_template = call.path_template or rule.template
                    return inner(call)
            raise NotAllowed(f"no allow rule of {call.service} covers {call.method} on this path")

        return allowed

    return around
