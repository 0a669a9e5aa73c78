"""Clearing: what ended is taken away in time, step by step; how old what has not ended is, and how much of it."""

from sidecar.store.backlog import UNFINISHED, Backlog, Tally

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


def used_ratio(tally: Tally, length_max: int, bytes_max: int) -> float:
    """Give the share of a line's bounds that is used, by number or by bytes, whichever is nearer."""
    length = sum(tally.states.get(state, 0) for state in UNFINISHED)
    return max(length / length_max, tally.bytes / bytes_max)
