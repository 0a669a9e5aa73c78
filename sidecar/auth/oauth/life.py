"""Life: how long a token lives, from the many ways in which token endpoints say so.

Seen: a number, a number in quotes (Google), nothing (Salesforce, Notion), zero for "no end", an instant as RFC 3339
(Square), as epoch seconds or milliseconds, also under the name of a length. What cannot be true is taken as not said:
then the configured life counts, or the vendor's 401.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime

LIFE_MAX = 365 * 86400.0  # Seconds. Longer: renewed once a year all the same, which costs nothing.
_EPOCH_MIN = 1e9  # The year 2001: a length of 31 years is an instant under the wrong name.
_MILLISECONDS_MIN = 1e11  # As seconds, the year 5138.
_LENGTHS = ("expires_in", "expires")
_INSTANTS = ("expires_at", "expires_on", "accessTokenExpiresAt", "expiry")


def life(answer: Mapping[str, object], wall: float) -> float | None:
    """Give the token's life in seconds, or None if the answer does not say. `wall` is the endpoint's Unix time."""
    for name in (*_LENGTHS, *_INSTANTS):
        seconds = _seconds(answer.get(name), wall, is_instant=name in _INSTANTS)
        if seconds is not None:
            return min(seconds, LIFE_MAX)
    return None


def _seconds(value: object, wall: float, *, is_instant: bool) -> float | None:
    number = _number(value)
    if number is None:
        instant = _date(value)
        return None if instant is None or instant <= wall else instant - wall
    if number >= _MILLISECONDS_MIN:
        number /= 1000
    if is_instant or number >= _EPOCH_MIN:
        number -= wall
    return number if number > 0 else None


def _number(value: object) -> float | None:
    """Read a number, also one in quotes; None for what is none, is no end, or is nothing at all."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _date(value: object) -> float | None:
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
