"""Purging: takes away the jobs that ended long ago, step by step."""

from collections.abc import Callable

from sidecar.layers.defer.config import QueueConfig
from sidecar.queue.callback import CALLBACKS
from sidecar.queue.job import DEAD, ENDED, service_of
from sidecar.store.backlog import Backlog

STEP = 500  # Jobs taken away in one step, so that nobody waits for it; the next step follows at once.


async def purge(backlog: Backlog, line: str, config: QueueConfig, tell: Callable[..., None]) -> None:
    """Take away what nobody may ask about any more; dead letters are kept for longer. Raises StoreFailed."""
    for state in ENDED:
        kept = float(config.dead_for if state == DEAD else config.keep_for)
        gone = await _purged(backlog, line, state, kept)
        if gone and state == DEAD:
            tell("warning", "dead_letters_dropped", service=service_of(line), jobs=gone)
        if config.callback is not None:
            await _purged(backlog, line + CALLBACKS, state, kept)


async def _purged(backlog: Backlog, line: str, state: str, older_than: float) -> int:
    gone = 0
    while taken := await backlog.purge(line, state, older_than, STEP):
        gone += taken
    return gone
