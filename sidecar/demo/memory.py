"""Memory: what the scripted vendor remembers from call to call, so that each of its bad days goes the same way."""

from typing import Any

METERED = (5, 1.0)  # Calls in seconds of the clock: a limit so tight that one sees it work.
KEYS_MAX = 100  # Idempotency keys. Full: the oldest is forgotten, as every vendor does sooner or later.


class Turns:
    """What an address does, call by call; at the end it begins again, or does the same for ever `afterwards`."""

    def __init__(self, turns: tuple[str, ...], *, afterwards: str = "") -> None:
        self.calls = 0
        self._turns = turns
        self._afterwards = afterwards

    def take(self) -> str:
        """Say what this call's turn is."""
        number = self.calls
        self.calls += 1
        if self._afterwards and number >= len(self._turns):
            return self._afterwards
        return self._turns[number % len(self._turns)]


class Meter:
    """Counts calls in fixed windows of the clock, and announces the count as GitHub does."""

    def __init__(self, limit: int = 1000, seconds: float = 60.0) -> None:
        self._limit = limit
        self._seconds = seconds
        self._window = 0
        self._used = 0

    def count(self, wall: float) -> bool:
        """Count a call, and say whether it is within the limit; `wall` is Unix seconds."""
        self._turn(wall)
        self._used += 1
        return self._used <= self._limit

    def headers(self, wall: float) -> dict[str, str]:
        """Give the fields that announce the limit; the reset is in whole Unix seconds."""
        self._turn(wall)
        return {
            "X-RateLimit-Limit": str(self._limit),
            "X-RateLimit-Remaining": str(max(0, self._limit - self._used)),
            "X-RateLimit-Reset": str(int((self._window + 1) * self._seconds)),
        }

    def _turn(self, wall: float) -> None:
        window = int(wall // self._seconds)
        if window != self._window:
            self._window = window
            self._used = 0


class Payouts:
    """Does the thing and loses the answer, the first time; asked again with the same key, it gives the answer only."""

    def __init__(self) -> None:
        self.made = 0
        self._by_key: dict[str, dict[str, Any]] = {}

    def pay(self, key: str | None) -> dict[str, Any] | None:
        """Give the answer, or None when it gets lost; without a key nobody can tell a repetition from a new wish."""
        known = self._by_key.get(key) if key is not None else None
        if known is not None:
            known["requests"] += 1
            return known
        self.made += 1
        if key is not None:
            if len(self._by_key) >= KEYS_MAX:
                del self._by_key[next(iter(self._by_key))]
            self._by_key[key] = {"id": f"po_{self.made}", "idempotency_key": key, "requests": 1}
        return None
