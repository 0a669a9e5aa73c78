"""Numbers: reads what a vendor may write for a count; everything else, however it looks, is no number."""

import re

DIGITS_MAX = 15  # So many fit in a float exactly. More: no number.

_DECIMAL = re.compile(rb"[0-9]{1,15}(?:\.[0-9]{1,12})?")


def read_number(value: bytes) -> float | None:
    """Read a whole or decimal number from 0 on; None for all else: signs, exponents, NaN, infinity, long ones."""
    if value.isdigit():  # ASCII digits, for bytes.
        return float(int(value)) if len(value) <= DIGITS_MAX else None
    if len(value) > 2 * DIGITS_MAX:
        return None
    trimmed = value.strip(b" \t")
    return float(trimmed) if _DECIMAL.fullmatch(trimmed) else None


def as_number(found: object) -> float | None:
    """Take a count out of a JSON body; None for what `read_number` would refuse."""
    if isinstance(found, bool):
        return None
    if isinstance(found, int | float):
        return float(found) if 0 <= found < 10**DIGITS_MAX else None  # NaN is in no range.
    return read_number(found.encode("utf-8", "replace")) if isinstance(found, str) else None
