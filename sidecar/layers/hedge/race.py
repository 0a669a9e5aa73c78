"""Race: two attempts of one call, side by side; every one of them ends, whatever becomes of the call."""

import asyncio
from collections.abc import Set as AbstractSet

from sidecar.core.call import Call, Handler, Reply
from sidecar.core.errors import Draining, SidecarError
from sidecar.core.outcome import Outcome
from sidecar.core.tasks import Tasks

_CANCELLED, _FAILURE = Outcome.CANCELLED, Outcome.FAILURE


class Runner:
    """One attempt, in a task of its own."""

    __slots__ = ("_call", "_race", "child", "error", "is_dropped", "is_kept", "reply", "task")

    def __init__(self, race: "Race", call: Call) -> None:
        self._race = race
        self._call = call
        self.child = call.attempt()
        self.reply: Reply | None = None
        self.error: Exception | None = None
        self.is_kept = False  # Its answer is the call's; it ends with it.
        self.is_dropped = False  # The call does not want it any more.
        self.task: asyncio.Task[None] | None = None

    @property
    def is_in(self) -> bool:
        """Whether it has an answer or an error."""
        return self.reply is not None or self.error is not None

    async def run(self, inner: Handler) -> None:
        """Make the attempt."""
        try:
            self.reply = await inner(self.child)
        except SidecarError as error:
            self.error = error
        except Exception as fault:  # Whoever waits for the race raises it; if nobody does, the task tells of it.
            if self.is_dropped:
                raise
            self.error = fault

    def ended(self, task: "asyncio.Task[None]") -> None:
        """Tell the race; or end the attempt, when it is not wanted and its task is really gone."""
        if self.is_dropped:
            if self.child.outcome is None:  # Else it was done already when it was dropped.
                self._discard()
        elif task.cancelled():  # By the process that stops, for nobody else has it.
            self.error = Draining("this pod is shutting down", retry_after=1.0)
        self._race.wake()

    def keep(self) -> None:
        """Have its answer for the call's."""
        self.is_kept = True
        self._call.keep(self.child)

    def drop(self) -> None:
        """Have no use for it: it is cancelled if it still runs, and ends with its task."""
        self.is_dropped = True
        assert self.task is not None
        if self.task.done():
            self._discard()
        else:
            self.task.cancel()

    def _discard(self) -> None:
        error = self.error
        outcome = _CANCELLED
        if isinstance(error, SidecarError):
            outcome = error.outcome
        elif error is not None or (self.reply is not None and not self._race.is_good(self.reply)):
            outcome = _FAILURE
        self._call.discard(self.child, outcome)


class Race:
    """Up to two runners, and what the call that waits for them is woken by."""

    __slots__ = ("_call", "_failures", "_inner", "_tasks", "_waiter", "is_ringing", "runners")

    def __init__(self, call: Call, failures: AbstractSet[int], tasks: Tasks, inner: Handler) -> None:
        self._call = call
        self._tasks = tasks
        self._inner = inner
        self._waiter: asyncio.Future[None] | None = None
        self._failures = failures
        self.is_ringing = False
        self.runners: list[Runner] = []

    def is_good(self, reply: Reply) -> bool:
        """Whether an answer wins as soon as it is there."""
        return reply.status not in self._failures and not (reply.advice is not None and reply.advice.is_throttled)

    def start(self) -> None:
        """Start an attempt."""
        assert len(self.runners) < 2
        runner = Runner(self, self._call)
        runner.task = self._tasks.spawn(runner.run(self._inner), "attempt")
        self.runners.append(runner)
        runner.task.add_done_callback(runner.ended)

    def ring(self) -> None:
        """Hear the timer."""
        self.is_ringing = True
        self.wake()

    def wake(self) -> None:
        """Have the one who waits look at the race."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def news(self) -> None:
        """Wait until an attempt came in, or the timer rang."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def winner(self) -> Runner | None:
        """Give the one that counts: the first good answer; when all failed, the first attempt; None: not yet known.

        A fault of ours counts at once, so that it is told and not outrun.
        """
        for runner in self.runners:
            if runner.error is not None and not isinstance(runner.error, SidecarError):
                return runner
        for runner in self.runners:
            if runner.reply is not None and self.is_good(runner.reply):
                return runner
        return self.runners[0] if all(runner.is_in for runner in self.runners) else None

    def settle(self, winner: Runner) -> Reply | None:
        """Keep the winner's answer for the call and drop the other; None when it has an error instead."""
        reply = winner.reply
        if reply is not None:
            winner.keep()
        self._drop_others()
        return reply

    async def clear(self) -> None:
        """Drop what was not settled, an answer in hand included, and wait until what was dropped is gone.

        Who is cancelled while it waits may go: every attempt ends with its task, and these have an owner.
        """
        self._drop_others()
        running = [runner.task for runner in self.runners if runner.task is not None and not runner.task.done()]
        if running:
            await asyncio.wait(running)

    def _drop_others(self) -> None:
        for runner in self.runners:
            if not runner.is_kept and not runner.is_dropped:
                runner.drop()
