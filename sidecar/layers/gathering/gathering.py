"""Gathering: one call for many, from the first who waits for others until each was told what became of it."""

import asyncio
import copy
from collections.abc import Callable

from sidecar.core.body import Body
from sidecar.core.call import BatchNote, Call, Reply
from sidecar.core.errors import Draining, NotInAnswer, SidecarError
from sidecar.core.outcome import Outcome
from sidecar.layers.gathering.basket import Basket

# What a waiting call is told: its answer, the error that it is to raise, or to ask for itself.
Told = Reply | Exception | None
Waiter = asyncio.Future[Told]

_FAILURE_FROM = 500


class Gathering:
    """Those who wait, and, once it went, the vendor call. It lands once; then nobody waits any more.

    The attempts show on the first of those who waited when it went; the others count none.
    """

    __slots__ = (
        "_has_landed", "_leader", "_waiters", "basket", "child", "closed", "key", "note", "shared", "task",
    )  # fmt: skip

    def __init__(self, key: tuple[object, ...], basket: Basket[Call]) -> None:
        self.key = key
        self.basket = basket
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # Nobody joins any more.
        self.task: asyncio.Task[None] | None = None
        self.child: Call | None = None  # The vendor call, once it went.
        self.note = BatchNote()
        self.shared = 0  # Calls that another one's attempts answered.
        self._leader: Call | None = None
        self._waiters: dict[Call, Waiter] = {}
        self._has_landed = False

    def join(self, call: Call, asked: str) -> Waiter:
        """Wait with the others; the future is the caller's own, so that cancelling it touches nobody else."""
        self.basket.put(call, asked)
        waiter = self._waiters[call] = asyncio.get_running_loop().create_future()
        return waiter

    def leave(self, call: Call) -> bool:
        """Wait no longer; tells whether that leaves nobody to go for."""
        if self._waiters.pop(call, None) is None:
            return False
        self.basket.drop(call)
        return not self._waiters

    def close(self) -> None:
        """Let nobody join any more: it goes."""
        if not self.closed.done():
            self.closed.set_result(None)

    def go(self) -> Call:
        """Give the vendor call, still without its question; it has as much time as the one who has most."""
        waiting = list(self.basket)
        self._leader = waiting[0]
        child = self.child = self._leader.attempt()
        child.deadline_at = max(call.deadline_at for call in waiting)
        asked = [call.timeout_asked for call in waiting if call.timeout_asked is not None]
        child.timeout_asked = max(asked) if len(asked) == len(waiting) else None
        self.note.items = len(self.basket.ids)
        for call in waiting:
            call.batch = self.note
        return child

    def is_longest(self, call: Call) -> bool:
        """Whether the vendor call ends no later than this one, so that it says better what used the time up."""
        return self.child is not None and call.deadline_at >= self.child.deadline_at

    # Landing. Each tells everybody, and none of them waits for anything.

    def share(self, answer: Callable[[str], Told]) -> None:
        """Tell each what the answer has for its id."""
        answers = [answer(asked) for asked in self.basket.asked()]  # First: a fault in it is told, and forgets nobody.
        for (call, _, waiter), told in zip(self._landed(), answers, strict=True):
            self._tell(call, waiter, told)
        self._end(Outcome.SUCCESS)

    def share_whole(self, reply: Reply, content: bytes) -> None:
        """Tell each the answer to the whole: a refusal or a failure; each gets a copy."""
        for call, _, waiter in self._landed():
            self._tell(call, waiter, _copy(reply, content))
        self._end(Outcome.FAILURE if reply.status >= _FAILURE_FROM else Outcome.SUCCESS)

    def fail(self, error: SidecarError) -> None:
        """Tell each the error, as one of its own: a raised one collects what it passed."""
        for call, _, waiter in self._landed():
            self._tell(call, waiter, copy.copy(error))
        self._end(error.outcome)

    def release(self, why: str = "") -> None:
        """Have each ask for itself: it waited alone, or nothing of the answer can be shared."""
        self.note.why = why
        for _, _, waiter in self._landed():
            _set(waiter, None)
        self._end(Outcome.FAILURE)

    def break_off(self, fault: Exception) -> bool:
        """Tell the first in line a fault of ours, once; the others ask for themselves. Says whether one took it."""
        told: Told = fault
        waiting = self._landed()
        for _, _, waiter in waiting:
            _set(waiter, told)
            told = None
        self._end(Outcome.FAILURE)
        return bool(waiting)

    def give_up(self) -> None:
        """End what was cancelled before it landed: nobody waits any more, or the process stops."""
        if self._has_landed:
            return
        for _, _, waiter in self._landed():
            _set(waiter, Draining("this pod is shutting down", retry_after=1.0))
        self._end(Outcome.CANCELLED)

    def _landed(self) -> list[tuple[Call, str, Waiter]]:
        assert not self._has_landed, "a gathering lands once"
        self._has_landed = True
        waiting = [(call, asked, self._waiters[call]) for call, asked in self.basket.empty()]
        assert len(waiting) == len(self._waiters)
        self._waiters.clear()
        return waiting

    def _tell(self, call: Call, waiter: Waiter, told: Told) -> None:
        if call is not self._leader and told is not None:
            assert self.child is not None
            call.credential, call.credential_version = self.child.credential, self.child.credential_version
            self.shared += 1
        _set(waiter, told)

    def _end(self, outcome: Outcome) -> None:
        if self._leader is not None and self.child is not None:
            self._leader.discard(self.child, outcome)


def not_in_answer(asked: int) -> NotInAnswer:
    """Make the error of one whose id is not in the answer."""
    return NotInAnswer(f"the vendor's answer to a call for {asked} ids does not have this one (gather)")


def _set(waiter: Waiter, told: Told) -> None:
    if not waiter.done():  # It was cancelled in this moment; what it was to get belongs to nobody.
        waiter.set_result(told)


def _copy(reply: Reply, content: bytes) -> Reply:
    body = Body.of(content)
    body.length = reply.body.length  # None when no field of the head tells it.
    mine = Reply(reply.status, reply.reason, list(reply.headers), body, reply.source)
    mine.has_urls = reply.has_urls
    return mine
