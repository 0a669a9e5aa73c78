"""Units: durations and sizes as people write them."""

import re

SECONDS_MAX = 1e11  # 3,000 years: what is longer is a slip of the pen, and no timer takes it.
BYTES_MAX = 2**62
RATE_COUNT_MAX = 1e9
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|min|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(B|KiB|MiB|GiB|KB|MB|GB)")
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def _plain(number: float) -> str:
    """Write a number without an exponent, to the millionth, since `parse` reads none."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


class Duration(float):
    """Seconds as a float; written `"250ms"`, `"2s"`, `"15m"`, `"24h"`, `"7d"`. A bare number is refused: no unit."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "Duration":
        """Read a duration. Raises ValueError with a sentence that says what to write."""
        match = DURATION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            said = f"{text!r} is not a duration" if isinstance(text, str) else f"{text!r} has no unit"
            raise ValueError(f'{said}; write a number and a unit, such as "250ms", "2s", "15m", "24h" or "7d"')
        seconds = float(match[1]) * _SECONDS[match[2]]
        if seconds > SECONDS_MAX:
            raise ValueError("that is longer than anybody waits; write a shorter time")
        return cls(seconds)

    def __str__(self) -> str:
        seconds = float(self)
        if seconds and seconds < 1:
            return f"{_plain(seconds * 1000)}ms"
        for unit in ("d", "h", "m"):
            if seconds and seconds % _SECONDS[unit] == 0:
                return f"{seconds / _SECONDS[unit]:.0f}{unit}"
        return f"{_plain(seconds)}s"


class Size(int):
    """Bytes; written `"64KiB"`, `"1MiB"`, `"5GiB"`. A bare number is refused: no unit."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "Size":
        """Read a size. Raises ValueError with a sentence that says what to write."""
        match = SIZE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            said = f"{text!r} is not a size" if isinstance(text, str) else f"{text!r} has no unit"
            raise ValueError(f'{said}; write a number and a unit, such as "64KiB", "1MiB" or "5GiB"')
        count = float(match[1]) * _BYTES[match[2]]
        if count > BYTES_MAX:
            raise ValueError("that is more than any disk holds; write a smaller size")
        return cls(int(count))

    def __str__(self) -> str:
        count = int(self)
        for unit in ("GiB", "MiB", "KiB"):
            if count and count % _BYTES[unit] == 0:
                return f"{count // _BYTES[unit]}{unit}"
        return f"{count}B"


RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/([0-9]+(?:\.[0-9]+)?)?(ms|s|min|m|h|hour|d|day)")
_PER = _SECONDS | {"hour": 3600.0, "day": 86400.0}
_SAY_RATE = 'write a number and a length of time, such as "90/s", "60/min", "5000/h", "10000/day" or "100/10s"'


class Rate:
    """So many in so much time: `"90/s"`, `"60/min"`, `"10000/day"`, `"100/10s"`. Compared as it is written."""

    __slots__ = ("_text", "count", "seconds")

    def __init__(self, text: str, count: float, seconds: float) -> None:
        self._text = text
        self.count = count
        self.seconds = seconds

    @classmethod
    def parse(cls, text: object) -> "Rate":
        """Read a rate. Raises ValueError with a sentence that says what to write."""
        match = RATE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"{text!r} is not a rate; {_SAY_RATE}")
        rate = cls(match[0], float(match[1]), float(match[2] or 1) * _PER[match[3]])
        if not (0 < rate.count <= RATE_COUNT_MAX and 0 < rate.seconds <= SECONDS_MAX):
            raise ValueError(f"{text!r} is no rate that anybody keeps; {_SAY_RATE}")
        return rate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rate) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Rate({self._text!r})"

    @property
    def per_second(self) -> float:
        """How many in one second, on average."""
        return self.count / self.seconds


class Rates(tuple[Rate, ...]):
    """One rate or several that hold at once: `"90/s"` or `["90/s", "10000/day"]`; the shortest time first."""

    __slots__ = ()
    takes_list = True  # The config's reader hands a list over as a whole.

    @classmethod
    def parse(cls, items: object) -> "Rates":
        """Read one rate or a list. Raises ValueError with a sentence that says what to write."""
        several = items if isinstance(items, list | tuple) else [items]
        rates = sorted((Rate.parse(item) for item in several), key=lambda rate: rate.seconds)
        if not rates:
            raise ValueError(f"the list is empty; {_SAY_RATE}")
        if len({rate.seconds for rate in rates}) < len(rates):
            raise ValueError("two rates are for the same length of time; write the one that holds")
        return cls(rates)

    def __str__(self) -> str:
        return ", ".join(map(str, self))
