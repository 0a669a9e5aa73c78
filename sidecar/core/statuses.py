"""Statuses: a set of HTTP status codes as people write it."""

import re

RANGE = re.compile(r"([1-9][0-9]{2})-([1-9][0-9]{2})")
CLASS = re.compile(r"([1-9])xx")
_SAY = 'write a list of numbers and ranges, such as [429, "500-599"]'


class Statuses(frozenset[int]):
    """Codes from 100 to 999, written `[408, 429, "500-599"]` or `["5xx"]`."""

    takes_list = True  # The config's reader hands a list over as a whole.

    @classmethod
    def parse(cls, items: object) -> "Statuses":
        """Read a list of numbers and ranges. Raises ValueError with a sentence that says what to write."""
        if not isinstance(items, list | tuple):
            raise ValueError(_SAY)
        return cls(status for item in items for status in _codes(item))

    def __str__(self) -> str:
        return ", ".join(map(str, self.written()))

    def written(self) -> list[int | str]:
        """Write the set in order, neighbours as ranges."""
        spans: list[list[int]] = []
        for status in sorted(self):
            if spans and spans[-1][-1] == status - 1:
                spans[-1][1:] = [status]
            else:
                spans.append([status])
        return [f"{span[0]}-{span[-1]}" if len(span) > 1 else span[0] for span in spans]


def _codes(item: object) -> range:
    if isinstance(item, int) and not isinstance(item, bool) and 100 <= item <= 999:
        return range(item, item + 1)
    if isinstance(item, str):
        span = RANGE.fullmatch(item)
        if span is not None and int(span[1]) <= int(span[2]):
            return range(int(span[1]), int(span[2]) + 1)
        hundred = CLASS.fullmatch(item)
        if hundred is not None:
            return range(int(hundred[1]) * 100, int(hundred[1]) * 100 + 100)
        if item.isascii() and item.isdecimal() and len(item) == 3 and item[0] != "0":
            return range(int(item), int(item) + 1)
    raise ValueError(f"{item!r} is no status; {_SAY}")
