"""Pace: how often one token endpoint is asked by this pod, whatever goes wrong."""

from collections.abc import Callable
from typing import Protocol

from aiolimiter import AsyncLimiter

ASKED_MAX = 30  # At once. Backoff and lead ask far less; this holds when they are cheated, as by lives of a second.
SECONDS = 30.0  # In this time so many again. More: they wait in line, each with its own deadline.
ENDPOINTS_MAX = 1000  # As many as a config may name; the oldest is forgotten with its count.


class Pace(Protocol):
    """Lets through so many in so much time."""

    async def acquire(self, amount: float = 1) -> None:
        """Wait until one more may go."""


class Paces:
    """One pace per token endpoint, shared by all services that ask there, also over reloads."""

    def __init__(self, make: Callable[[], Pace] = lambda: AsyncLimiter(ASKED_MAX, SECONDS)) -> None:
        self._make = make
        self._paces: dict[str, Pace] = {}

    def get(self, endpoint: str) -> Pace:
        """Give the pace of a token endpoint, by its URL."""
        pace = self._paces.get(endpoint)
        if pace is None:
            if len(self._paces) >= ENDPOINTS_MAX:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[endpoint] = self._make()
        return pace
