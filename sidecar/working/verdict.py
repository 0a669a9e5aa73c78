"""Verdict: how a turn of an entry ended, and when the next one is due. Pure."""

from typing import Literal, NamedTuple

from sidecar.store.backlog import Settlement

Event = Literal["claimed", "answered", "refused", "put_off", "given_up", "unaccepted", "cancelled", "retried"]


class Verdict(NamedTuple):
    """What becomes of an entry after a turn."""

    event: Event
    delay: float = 0.0  # Seconds before the next turn.
    error: str = ""
    pause: float = 0.0  # Seconds for which no other entry of the line needs to try: nothing would be sent.


class Ended(NamedTuple):
    """How a turn ended."""

    settlement: Settlement
    verdict: Verdict


def delay_of(schedule: tuple[float, ...], attempts: int, chance: float) -> float:
    """Give the seconds before the next turn after `attempts` of them; `chance` in [0, 1) takes up to half away."""
    assert attempts >= 1
    longest = float(schedule[min(attempts, len(schedule)) - 1])
    return longest * (1 - chance / 2)
