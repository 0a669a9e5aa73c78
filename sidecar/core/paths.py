"""Paths: whether a request path leads out of where it may go, however its dots and slashes are written."""

import re

_SUSPECT = re.compile(rb"\.|%2e|%25|%u|%c[01]|%e0%80|%f0%80%80|%ef%bc", re.IGNORECASE)
_ROUNDS_MAX = 3  # Double and triple encoding; a path that is encoded more often than that is refused.
# Besides the plain ones, the forms by which servers were fooled: overlong UTF-8, IIS' %u, and fullwidth letters, which
# some turn into plain ones.
_FORMS = {
    b".": (b"2e", b"c0%ae", b"e0%80%ae", b"f0%80%80%ae", b"u002e", b"uff0e", b"ef%bc%8e"),
    b"\\": (  # A separator for some, and for others a letter: a slash in disguise and a backslash are alike in that.
        b"2f", b"c0%af", b"e0%80%af", b"f0%80%80%af", b"u002f", b"uff0f", b"ef%bc%8f",
        b"5c", b"c1%9c", b"e0%81%9c", b"f0%80%81%9c", b"u005c", b"uff3c", b"ef%bc%bc",
    ),
    b";": (b"3b",),
    b"%": (b"25",),
}  # fmt: skip
_DECODED = {form: plain for plain, forms in _FORMS.items() for form in forms}
_ENCODED = re.compile(b"%(" + b"|".join(map(re.escape, _DECODED)) + b")", re.IGNORECASE)
# No server of good will takes these for what they say: NUL, at which some cut the path, and what is no UTF-8.
_DOUBTFUL = re.compile(rb"%00|%c[01]|%e0%[89]|%f0%8|%u", re.IGNORECASE)


def _decode(path: bytes) -> bytes:
    """Decode what matters to segments: dot, slash, backslash, and percent for the next round."""
    return _ENCODED.sub(lambda match: _DECODED[match[1].lower()], path)


def _segments(path: bytes) -> list[list[bytes]]:
    """Give the segments of a path, each as the parts into which separators in disguise may cut it; dots are plain."""
    for _ in range(_ROUNDS_MAX):
        path = _decode(path)
    return [segment.split(b"\\") for segment in path.split(b"/")]


def escapes(path: bytes) -> bool:
    """Whether `path` (without query) leaves the base path by dot segments, however a server reads it.

    Judged by the worst of all readings: every `..` counts, in whatever disguise, and of what may be one segment or
    several only the first. Empty segments count for nothing: some servers merge slashes first, so `//..` may lead out.
    """
    if not _SUSPECT.search(path):
        return False
    depth = 0
    for parts in _segments(path):
        is_counted = False
        for part in parts:
            # Some servers strip a `;` and what follows before they resolve dots (`..;/`), be it cut in parts or not.
            name, parameters, _ = part.partition(b";")
            if name == b"..":
                depth -= 1
                if depth < 0:
                    return True
            elif not is_counted and name not in {b"", b"."}:
                is_counted = True
                depth += 1
            is_counted = is_counted or bool(parameters)
    return _decode(_decode(_decode(path))) != _decode(_decode(_decode(_decode(path))))


def has_dot_segments(path: bytes) -> bool:
    """Whether any reading of `path` has a dot segment, so that the vendor may see another path than we do."""
    if not _SUSPECT.search(path):
        return False
    return any(part.partition(b";")[0] in {b".", b".."} for parts in _segments(path) for part in parts)


def is_doubtful(path: bytes) -> bool:
    """Whether servers differ in what `path` means, dot segments aside: NUL, overlong UTF-8, other encodings of IIS."""
    return _DOUBTFUL.search(path) is not None
