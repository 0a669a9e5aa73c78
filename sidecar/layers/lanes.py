"""Lanes: one for each credential of a pool, with limits of its own; calls go round, past those that are held back."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.auth.pool import PooledCredential
from sidecar.core.call import Call, Handler, Reply
from sidecar.core.errors import CredentialUnavailable, RateLimited


class Lane:
    """The way of one credential to the vendor."""

    __slots__ = ("handler", "is_free", "number")

    def __init__(self, number: int, handler: Handler, is_free: Callable[[], bool]) -> None:
        self.number = number
        self.handler = handler
        self.is_free = is_free  # Whether an attempt may go now, without a wait.


class Pool(Protocol):
    """Where the credentials come from."""

    @property
    def problem(self) -> str:
        """Say why there is none."""


class Lanes:
    """Sends each attempt down the next lane that is free; if none is, down the next one, which waits or refuses."""

    def __init__(self, make: Callable[[PooledCredential], Lane]) -> None:
        self._make = make
        self._lanes: list[Lane] = []
        self._next = 0
        self.pool: Pool | None = None

    def use(self, credentials: Sequence[PooledCredential]) -> None:
        """Have a lane for each of these; those that are there stay, with their limits."""
        known = {lane.number: lane for lane in self._lanes}
        self._lanes = [known.get(credential.number) or self._make(credential) for credential in credentials]

    async def __call__(self, call: Call) -> Reply:
        """Send one attempt.

        Raises RateLimited, with the soonest time, when all lanes refuse, and CredentialUnavailable without any.
        """
        lanes = self._lanes
        if not lanes:
            problem = self.pool.problem if self.pool is not None else "it has not been read yet"
            raise CredentialUnavailable(
                f"reading the credentials for {call.service} from their store failed: {problem}"
            )
        soonest: RateLimited | None = None
        for lane in self._in_turn(lanes):
            try:
                reply = await lane.handler(call)
            except RateLimited as refusal:
                if soonest is None or (refusal.retry_after or 0.0) < (soonest.retry_after or 0.0):
                    soonest = refusal
                continue
            return reply
        assert soonest is not None
        raise soonest

    def _in_turn(self, lanes: list[Lane]) -> list[Lane]:
        """Give the lanes from the next one on, those that are free first."""
        start = self._next % len(lanes)
        self._next = start + 1
        turn = lanes[start:] + lanes[:start]
        return sorted(turn, key=_is_held)


def _is_held(lane: Lane) -> bool:
    return not lane.is_free()
