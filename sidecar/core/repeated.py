"""Repeated: what is told of requests that nobody has to have a key for: malformed and refused ones, handshakes.

Whoever can call can call a thousand times a second, and a line for each would be the whole log. So the first of each
kind are told one by one, with the reason, and the others by how many they were, from time to time.
"""

import re

FIRST = 5  # Lines of a kind that are written as they come.
EVERY = 60.0  # Seconds between two lines of a kind then, as long as it goes on.
OVER_AFTER = 600.0  # Seconds without any: what comes then is a first one again.
KINDS_MAX = 32  # What is of a further kind is told together, as one kind more.
_NUMBER = re.compile(r"[0-9]+")


class _Kind:
    """What came with one reason."""

    __slots__ = ("last_at", "lines", "told_at", "untold")

    def __init__(self) -> None:
        self.lines = self.untold = 0
        self.last_at = self.told_at = 0.0


class Repeated:
    """Of one webhook, or of all libraries, in this process. A machine."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def came(self, reason: str, now: float) -> dict[str, int] | None:
        """Take one in; give what to tell beside its reason, or None to write no line.

        Sentences that differ in numbers alone, such as an age, are one reason.
        """
        key = _NUMBER.sub("0", reason)
        if key not in self._kinds and len(self._kinds) >= KINDS_MAX:
            key = ""
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind()
        elif now >= kind.last_at + OVER_AFTER:
            kind.lines = 0
        kind.last_at = now
        kind.untold += 1
        if kind.lines >= FIRST and now < kind.told_at + EVERY:
            return None
        times, kind.untold, kind.told_at = kind.untold, 0, now
        kind.lines += 1
        return {"times": times} if times > 1 else {}
