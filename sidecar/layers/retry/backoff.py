"""Backoff: how long to wait before the next attempt."""

SETTLE = 0.02  # Seconds added to a time that the vendor told, so that no rounding on the way makes it early.
DOUBLINGS_MAX = 30  # More are not counted: the cap holds long before.


def backoff(number: int, base: float, cap: float, chance: float) -> float:
    """Give the seconds to wait after attempt `number` (from 1): full jitter, from 0 to base x 2^(number - 1).

    `chance` is drawn from [0, 1). Full jitter spreads those who failed together best (Brooker, "Exponential Backoff
    And Jitter").
    """
    return min(cap, base * 2.0 ** min(number - 1, DOUBLINGS_MAX)) * chance


def told(seconds: float, base: float, chance: float) -> float:
    """Give the wait for a time that the vendor told: never shorter, and a little longer by chance.

    All who were told the same instant would otherwise come back in the same instant.
    """
    return seconds + SETTLE + min(base, seconds * 0.1) * chance
