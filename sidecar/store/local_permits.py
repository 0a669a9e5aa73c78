"""Local permits: the fleet's limits where this process is the only one, so they end with it."""

from sidecar.core.clock import Clock
from sidecar.store.base import Block, Wanted
from sidecar.store.ledger import Ledger


class LocalPermits:
    """Ledgers in memory: as many as there are limits in the config, for each credential."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ledgers: dict[str, Ledger] = {}

    async def lease(self, limit: str, wanted: Wanted) -> Block:
        """Give a block in place of the one that the pod has."""
        now = self._clock.now()
        ledger = self._ledgers.get(limit)
        if ledger is None:
            ledger = self._ledgers[limit] = Ledger(wanted.burst, now)
        return ledger.lease(wanted, now)

    async def close(self, limit: str, part: str, seconds: float) -> None:
        """Note until when the vendor closed a part."""
        if limit in self._ledgers:
            self._ledgers[limit].close(part, seconds, self._clock.now())
