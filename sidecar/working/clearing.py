"""Clearing: what ended is taken away in time, step by step, and how old what has not ended is."""

from sidecar.store.backlog import Backlog, Tally

PURGED_MAX = 500  # Entries taken away in one step, so that nobody waits for it; the next step follows at once.


async def purged(backlog: Backlog, line: str, state: str, older_than: float) -> int:
    """Take away all that ended in a state so long ago, step by step; give how many. Raises StoreFailed."""
    gone = 0
    while taken := await backlog.purge(line, state, older_than, PURGED_MAX):
        gone += taken
    return gone


def age(tally: Tally, wall: float) -> float:
    """Give the seconds since the oldest unfinished entry was appended; 0.0 without one."""
    return 0.0 if tally.oldest_at is None else max(0.0, wall - tally.oldest_at)
