"""Item turns: one attempt at an item of a batch that was not waited for; like a job's, once its batch is accepted."""

from sidecar.queue.batch.register import Register
from sidecar.queue.job import CANCELLED, DEAD, FAILED, Head, batch_of, encode, head_of
from sidecar.store.backlog import WAITING, Entry, Settlement
from sidecar.store.base import StoreFailed
from sidecar.working.verdict import Ended, Verdict
from sidecar.working.worker import Runs

OPEN_WAIT_MAX = 16.0  # Seconds between two looks at an item of a batch that the app is still sending.
STORE_WAIT = 1.0
_NOT_ACCEPTED = "its batch was not accepted: the request did not come to its end, so it was not made"
_TOO_LATE = "nothing could be made of its batch for so long that it is not known any more"


class ItemTurns:
    """Runs the items of one service's batches."""

    def __init__(self, turns: Runs, life: float, register: Register) -> None:
        self._turns = turns
        self._life = life
        self._register = register
        self.concurrency = turns.concurrency
        self.is_busy = turns.is_busy

    async def run(self, entry: Entry, age: float) -> Ended:
        """Make the item's call, if it may be made."""
        head = head_of(entry)
        if not head.is_accepted:
            ended = await self._unaccepted(entry, head, age)
            if ended is not None:
                return ended
            head.is_accepted = True
            entry = entry._replace(head=encode(head))
        if not head.method:  # A line that was no item.
            return Ended(Settlement(FAILED), Verdict("refused", error=head.error))
        return await self._turns.run(entry, age)

    async def _unaccepted(self, entry: Entry, head: Head, age: float) -> Ended | None:
        """Say what becomes of an item whose batch is not accepted; None: it is."""
        try:
            standing = await self._register.standing(batch_of(entry.id))
        except StoreFailed as failed:
            return _later(STORE_WAIT, str(failed))
        if standing == "accepted":
            return None
        if standing == "open":
            return _later(min(2.0 ** (entry.attempts - 1), OPEN_WAIT_MAX), "its batch is not whole yet")
        if age < self._life:
            head.error = _NOT_ACCEPTED
            return Ended(Settlement(CANCELLED, head=encode(head), frees_body=True), Verdict("unaccepted"))
        # A batch that was accepted is not on record any more: people may have its items made, and nobody else.
        head.error, head.is_accepted = _TOO_LATE, True
        return Ended(Settlement(DEAD, head=encode(head)), Verdict("given_up", error=head.error))


def _later(seconds: float, why: str) -> Ended:
    return Ended(Settlement(WAITING, seconds), Verdict("put_off", seconds, why))
