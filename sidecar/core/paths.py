"""Paths: whether a request path leads out of where it may go, however its dots and slashes are written."""

import re

_SUSPECT = re.compile(rb"\.|%2e|%25|%u", re.IGNORECASE)
_ROUNDS_MAX = 3  # Double and triple encoding; a path that is encoded more often than that is refused.
_ENCODED = re.compile(rb"%(2[ef5]|5c)", re.IGNORECASE)
_DECODED = {b"2e": b".", b"2f": b"/", b"5c": b"\\", b"25": b"%"}
_SEPARATORS = re.compile(rb"[/\\]")


def _decode(path: bytes) -> bytes:
    """Decode what matters to segments: dot, slash, backslash, and percent for the next round."""
    return _ENCODED.sub(lambda match: _DECODED[match[1].lower()], path)


def _readings(path: bytes) -> list[list[bytes]]:
    """Give the segments of a path as different servers would read them: raw, and decoded once, twice, three times.

    A `;` and what follows is left out, since some servers strip it (`..;/`) before they resolve dots.
    """
    readings = [path.split(b"/"), [part.replace(b"%2e", b".").replace(b"%2E", b".") for part in path.split(b"/")]]
    for _ in range(_ROUNDS_MAX):
        decoded = _decode(path)
        if decoded == path:
            break
        path = decoded
        readings.append(_SEPARATORS.split(path))
    readings.append(_SEPARATORS.split(path))
    return [[segment.partition(b";")[0] for segment in reading] for reading in readings]


def escapes(path: bytes) -> bool:
    """Whether `path` (without query) leaves the base path by dot segments in any reading of it.

    Empty segments count for nothing: some servers merge slashes first, so `//..` may lead out.
    """
    if not _SUSPECT.search(path):
        return False
    for segments in _readings(path):
        depth = 0
        for segment in segments:
            if segment == b"..":
                depth -= 1
                if depth < 0:
                    return True
            elif segment not in {b"", b"."}:
                depth += 1
    return _decode(_decode(_decode(path))) != _decode(_decode(_decode(_decode(path))))


def has_dot_segments(path: bytes) -> bool:
    """Whether any reading of `path` has a dot segment, so that the vendor may see another path than we do."""
    if not _SUSPECT.search(path):
        return False
    return any(segment in {b".", b".."} for segments in _readings(path) for segment in segments)
