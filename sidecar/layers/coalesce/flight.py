"""Flight: one shared call, and those who wait for its answer, in order of arrival."""

import asyncio
import copy

from sidecar.core.body import Body
from sidecar.core.call import Call, Reply
from sidecar.core.errors import DeadlineExceeded, Draining, SidecarError
from sidecar.core.outcome import Outcome
from sidecar.layers.coalesce.likeness import Key

# What a waiting call is told: its answer, the error that it is to raise, or to ask anew.
Told = Reply | Exception | None
Waiter = asyncio.Future[Told]

_FAILURE_FROM = 500


class Flight:
    """A call that is shared. Once it landed nobody waits any more, and its child has ended or belongs to one of them.

    The attempts show on the call that began it (the leader); the others count none, though their source is upstream.
    If the leader left and another one has to stream the answer, they show there, too.
    """

    __slots__ = ("_has_landed", "_waiting", "child", "is_outlived", "key", "leader", "shared", "task")

    def __init__(self, key: Key, leader: Call) -> None:
        self.key = key
        self.leader = leader
        self.child = leader.attempt()
        self.task: asyncio.Task[None] | None = None
        self.is_outlived = False  # It ended with the leader's time, and others have time for another one.
        self.shared = 0  # Answers given to others than the leader.
        self._waiting: dict[Call, Waiter] = {}
        self._has_landed = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def join(self, call: Call) -> Waiter:
        """Wait for the answer; it is a future of the caller's own, so that cancelling it touches nobody else."""
        waiter = self._waiting[call] = asyncio.get_running_loop().create_future()
        return waiter

    def leave(self, call: Call) -> bool:
        """Wait no longer; tells whether that leaves nobody to fly for."""
        return self._waiting.pop(call, None) is not None and not self._waiting

    # Landing. Each tells everybody, and none of them waits for anything.

    def share(self, reply: Reply, content: bytes) -> None:
        """Give everybody the answer, each a copy; what the call held is free now."""
        for call, waiter in self._landed():
            _tell(waiter, _copy(reply, content))
            self.shared += call is not self.leader
        self.leader.discard(self.child, Outcome.FAILURE if reply.status >= _FAILURE_FROM else Outcome.SUCCESS)

    def hand_over(self, reply: Reply) -> None:
        """Give the answer to the first in line alone, to be streamed; the call ends with theirs."""
        waiting = self._landed()
        if not waiting:
            self.leader.discard(self.child, Outcome.CANCELLED)
            return
        (first, firsts), *others = waiting
        first.attempts = self.child.attempts
        first.keep(self.child)  # Before it is told: it may be cancelled in this moment.
        _tell(firsts, reply)
        for _, waiter in others:
            _tell(waiter, None)

    def fail(self, error: SidecarError, now: float) -> None:
        """Give everybody the error, each one of its own, for a raised one collects what it passed.

        When it was the leader's time that was used up, those who have time left share another call: a crowd that
        asked each for itself would be let loose by one impatient app.
        """
        is_leaders = isinstance(error, DeadlineExceeded) and now >= self.child.deadline_at
        for call, waiter in self._landed():
            if is_leaders and call.deadline_at > now:
                self.is_outlived = True
                _tell(waiter, None)
                continue
            _tell(waiter, copy.copy(error))
            self.shared += call is not self.leader
        self.leader.discard(self.child, error.outcome)

    def break_off(self, fault: Exception) -> bool:
        """Give the first in line a fault of ours, to be told once; the others try for themselves.

        Says whether there was somebody to take it.
        """
        told: Told = fault
        waiting = self._landed()
        for _, waiter in waiting:
            _tell(waiter, told)
            told = None
        self.leader.discard(self.child, Outcome.FAILURE)
        return bool(waiting)

    def give_up(self) -> None:
        """End what was cancelled before it landed: nobody waits any more, or the process stops."""
        if self._has_landed:
            return
        for _, waiter in self._landed():
            _tell(waiter, Draining("this pod is shutting down", retry_after=1.0))
        self.leader.discard(self.child, Outcome.CANCELLED)

    def _landed(self) -> list[tuple[Call, Waiter]]:
        assert not self._has_landed, "a flight lands once"
        self._has_landed = True
        waiting = list(self._waiting.items())
        self._waiting.clear()
        return waiting


def _tell(waiter: Waiter, told: Told) -> None:
    if not waiter.done():  # It was cancelled in this moment; what it was to get belongs to nobody.
        waiter.set_result(told)


def _copy(reply: Reply, content: bytes) -> Reply:
    body = Body.of(content)
    body.length = reply.body.length  # None when no field of the head tells it.
    body.trailers = list(reply.body.trailers)
    mine = Reply(reply.status, reply.reason, list(reply.headers), body, reply.source)
    mine.has_urls = reply.has_urls
    mine.notable = reply.notable
    mine.advice = reply.advice
    return mine
