"""Times: how many seconds from now a vendor means, in whichever form it says so.

Told apart are seconds to go, epoch seconds (with fractions, too), epoch milliseconds, durations as Go writes them,
RFC 3339 with and without seconds and offset, and the three dates of HTTP. An instant is measured against the vendor's
own clock, which its `Date` field tells, so that a clock that is off, here or there, does not matter.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from sidecar.core.body import Headers
from sidecar.upstream.hints.numbers import read_number

AUTO, EPOCH, EPOCH_MS, DELTA, DELTA_MS = "auto", "epoch", "epoch_ms", "delta", "delta_ms"

VALUE_MAX = 64  # Bytes of a value that may be a time. Longer: it is none.
AHEAD_MAX = 366 * 86400.0  # Seconds. Further away: not believed; nobody announces a limit for more than a year.
PAST_MAX = 3600.0  # Seconds. Longer ago: not believed; within, it is over, so 0.
EPOCH_MIN = 1e9  # 2001. Below, down to a year, a number is neither an instant nor a wait.
EPOCH_MS_MIN = 1e11  # In seconds this would be the year 5138.
PARTS_MAX = 6  # Of a duration. More: it is none.

_PART = re.compile(rb"([0-9]{1,12})(\.[0-9]{1,9})?(ns|us|\xc2\xb5s|\xce\xbcs|ms|s|m|h)")
_SECONDS = {
    b"ns": 1e-9, b"us": 1e-6, b"\xc2\xb5s": 1e-6, b"\xce\xbcs": 1e-6, b"ms": 1e-3, b"s": 1.0, b"m": 60.0, b"h": 3600.0,
}  # fmt: skip
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r"(?:[Zz]|([+-])([0-9]{2})(?::?([0-9]{2}))?)?"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"({'|'.join(_MONTHS)})"
_CLOCK = "([0-9]{2}):([0-9]{2}):([0-9]{2})"
# RFC 9110 section 5.6.7: today's form, that of RFC 850, and that of C's asctime.
_IMF = re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{{2}}) {_MONTH} ([0-9]{{4}}) {_CLOCK} GMT")
_RFC850 = re.compile(rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, ([0-9]{{2}})-{_MONTH}-([0-9]{{2}}) {_CLOCK} GMT")
_ASCTIME = re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} ([0-9]{{2}}| [0-9]) {_CLOCK} ([0-9]{{4}})")


class Moment:
    """When an answer came: by our clock, and as near as its `Date` allows by the vendor's."""

    __slots__ = ("_headers", "_vendor_wall", "wall")

    def __init__(self, headers: Headers, wall: float) -> None:
        self.wall = wall  # Unix seconds.
        self._headers = headers
        self._vendor_wall = -1.0  # Not asked for yet.

    def until(self, instant: float) -> float:
        """Give the seconds to an instant that the vendor named; negative when it is over."""
        if self._vendor_wall < 0:
            self._vendor_wall = self._ask()
        return instant - self._vendor_wall

    def _ask(self) -> float:
        """Read the vendor's clock: `Date` has whole seconds, so within that second our own clock knows better."""
        for name, value in self._headers:
            # A long one is not asked for: the cache would keep it.
            if len(name) == 4 and name.lower() == b"date" and len(value) <= VALUE_MAX:
                date = read_http_date(value, self.wall // 86400)
                return self.wall if date is None else max(date, min(self.wall, date + 1))
        return self.wall


def read_time(value: bytes, form: str, moment: Moment) -> float | None:
    """Give the seconds from now, from 0 to a year; None when the value says no such time."""
    if len(value) > VALUE_MAX:
        return None
    number = read_number(value)
    if number is None:
        return _read_words(value.strip(b" \t"), moment)
    if form == AUTO:
        if number < EPOCH_MIN:
            return believed(number)
        return believed(moment.until(number if number < EPOCH_MS_MIN else number / 1000))
    if form == EPOCH:
        return believed(moment.until(number))
    if form == EPOCH_MS:
        return believed(moment.until(number / 1000))
    return believed(number / 1000 if form == DELTA_MS else number)


def believed(seconds: float) -> float | None:
    """Pass on a wait from just over to a year; None for everything else, NaN included."""
    return max(0.0, seconds) if -PAST_MAX <= seconds <= AHEAD_MAX else None


def _read_words(value: bytes, moment: Moment) -> float | None:
    seconds = read_duration(value)
    if seconds is not None:
        return believed(seconds)
    instant = read_http_date(value, moment.wall // 86400)
    if instant is None:
        instant = read_iso(value)
    return None if instant is None else believed(moment.until(instant))


def find_time(text: str, moment: Moment) -> float | None:
    """Give the seconds to a time that a sentence names: all of it, or its first word that is an RFC 3339 date."""
    value = text[: 8 * VALUE_MAX].encode("utf-8", "replace")
    seconds = read_time(value, AUTO, moment)
    if seconds is not None:
        return seconds
    for part in value.split():
        instant = read_iso(part.rstrip(b".,;)")) if len(part) <= VALUE_MAX else None
        if instant is not None:
            return believed(moment.until(instant))
    return None


def read_duration(value: bytes) -> float | None:
    """Read `6m0s`, `12ms`, `1h2m3.5s` (Go's time.Duration) into seconds."""
    seconds = 0.0
    at = 0
    for _ in range(PARTS_MAX):
        part = _PART.match(value, at)
        if part is None:
            return None
        seconds += float(part[1] + (part[2] or b"")) * _SECONDS[part[3]]
        at = part.end()
        if at == len(value):
            return seconds
    return None


def read_iso(value: bytes) -> float | None:
    """Read RFC 3339 into Unix seconds; seconds may lack (Jira), and without an offset it is UTC."""
    match = _ISO.fullmatch(value.decode("latin-1"))
    if match is None:
        return None
    fraction = float(f"0.{match[7]}") if match[7] else 0.0
    offset = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0)) * (-1 if match[8] == "-" else 1)
    try:
        day = datetime(
            int(match[1]), int(match[2]), int(match[3]), int(match[4]), int(match[5]), _second(match[6]),
            tzinfo=timezone(offset),
        )  # fmt: skip
        return day.timestamp() + fraction
    except (ValueError, OverflowError):
        return None


# A vendor's Date changes once a second, and stands in every answer.
@lru_cache(maxsize=64)
def read_http_date(value: bytes, today: float) -> float | None:
    """Read a date of HTTP (RFC 9110 section 5.6.7) into Unix seconds; `today` (days) places a year of two digits."""
    assert len(value) <= VALUE_MAX, "the cache keeps what it is asked for"
    text = value.decode("latin-1")
    if match := _IMF.fullmatch(text):
        day, month, year, *clock = match.groups()
    elif match := _RFC850.fullmatch(text):
        day, month, year, *clock = match.groups()
        # The same section: over fifty years ahead, it is the most recent year with these digits.
        this_year = 1970 + int(today / 365.2425)
        year = str(this_year - this_year % 100 + int(year))
        year = year if int(year) <= this_year + 50 else str(int(year) - 100)
    elif match := _ASCTIME.fullmatch(text):
        month, day, *clock, year = match.groups()
    else:
        return None
    hour, minute, second = clock
    try:
        return datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), _second(second), tzinfo=UTC
        ).timestamp()
    except (ValueError, OverflowError):
        return None


def _second(digits: str | None) -> int:
    """Take a leap second for the second before it: Unix time has none."""
    second = int(digits or 0)
    return 59 if second == 60 else second
