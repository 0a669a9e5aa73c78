"""Notice: a vendor's word that something of its API ends: `Sunset` (RFC 8594), `Deprecation` (RFC 9745). Pure.

Read are the forms of the RFCs, those of the drafts before them, and plain dates, which vendors write all the same: who
is told of an end too early has lost nothing. Of several instants the soonest counts.
"""

import re
from datetime import UTC, datetime
from typing import NamedTuple

from sidecar.core.body import Headers
from sidecar.core.headers import find_all
from sidecar.upstream.hints.times import VALUE_MAX, read_http_date, read_iso

FIELDS_MAX = 4  # Fields of one name, and dates in one field. More: not looked at.
LINK_MAX = 512  # Bytes of a link's address. Longer: not shown.
LINKS_MAX = 4096  # Bytes of a field of links. Longer: not looked at.
AT_MAX = 253402300800.0  # The year 10000. From there on: no date that anybody means.
SINCE_EVER = 0.0  # The instant of "it is deprecated", where the vendor does not say since when.

_DATE = re.compile(rb"@(-?[0-9]{1,15})(?:[ \t]*;.*)?")  # RFC 9651 section 3.3.7, with whatever parameters.
_DAY = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PLAIN = frozenset({b"true", b"?1"})  # Of Deprecation, in the drafts of RFC 9745.
_BETWEEN = re.compile(rb"(?<=GMT)[ \t]*,[ \t]*|(?<=[0-9Zz])[ \t]*,[ \t]*(?=[0-9@])")
_LINK = re.compile(rb'<([!-;=?-~]*)>((?:[^,"<]|"[^"]*")*)')
_RELATION = re.compile(rb';[ \t]*rel[ \t]*=[ \t]*"?(?:[^";]*[ \t])?(?:sunset|deprecation)(?=[ \t";,]|$)', re.IGNORECASE)


class Notice(NamedTuple):
    """What one answer says. Instants are Unix seconds."""

    sunset_at: float | None  # From then on it will not answer.
    deprecated_at: float | None  # From then on it should not be used; SINCE_EVER: from some time in the past.
    link: str  # Where the vendor explains it; "" where it does not say.
    doubts: tuple[str, ...]  # Sentences about what could not be read.

    @property
    def says_anything(self) -> bool:
        """Whether there is an instant in it."""
        return self.sunset_at is not None or self.deprecated_at is not None


def read_notice(headers: Headers, wall: float) -> Notice:
    """Read an answer's fields; `wall` (Unix seconds) places a year of two digits."""
    doubts: list[str] = []
    sunset = _soonest(headers, b"sunset", wall, doubts)
    deprecated = _soonest(headers, b"deprecation", wall, doubts)
    return Notice(sunset, deprecated, _link(headers), tuple(doubts))


def _soonest(headers: Headers, name: bytes, wall: float, doubts: list[str]) -> float | None:
    """Give the soonest instant in the fields of a name; a doubt for each that is none."""
    found: list[float] = []
    for value in find_all(headers, name)[:FIELDS_MAX]:
        for part in _BETWEEN.split(value.strip(b" \t"), FIELDS_MAX)[:FIELDS_MAX]:
            if name == b"deprecation" and part.lower() in _PLAIN:
                found.append(SINCE_EVER)
                continue
            at = read_instant(part, wall)
            if at is not None:
                found.append(at)
            else:
                doubts.append(f"{name.decode().title()}: {part[:VALUE_MAX].decode('latin-1')!r} is no date")
    return min(found, default=None)


def read_instant(value: bytes, wall: float) -> float | None:
    """Read `@1735689599`, a date of HTTP, RFC 3339, or a day, which begins in UTC. None for everything else."""
    if len(value) > VALUE_MAX:
        return None
    at: float | None
    if match := _DATE.fullmatch(value):
        at = float(match[1])
    elif _DAY.fullmatch(value):
        at = read_iso(value + b"T00:00:00Z")
    else:
        at = read_http_date(value, wall // 86400)
        if at is None:
            at = read_iso(value)
    return at if at is not None and 0 <= at < AT_MAX else None


def _link(headers: Headers) -> str:
    """Give the address of the first link whose relation is `sunset` or `deprecation`."""
    for value in find_all(headers, b"link")[:FIELDS_MAX]:
        if len(value) <= LINKS_MAX:
            for address, parameters in _LINK.findall(value):
                if len(address) <= LINK_MAX and _RELATION.search(parameters):
                    return str(address, "latin-1")
    return ""


def spelled(at: float) -> str:
    """Write an instant for people, as RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
