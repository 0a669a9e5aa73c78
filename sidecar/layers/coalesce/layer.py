"""Coalesce: equal reads at the same time share one call, so that a crowd that wants one thing asks once.

The shared call is no caller's own: it runs in a task of the layer's, goes on when the app of the call that began it
hangs up, and is cancelled when all of them did.
"""

import asyncio
from functools import partial
from typing import Any

from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import DeadlineExceeded, SidecarError
from sidecar.core.tasks import Tasks
from sidecar.layers.coalesce.flight import Flight, Told, Waiter
from sidecar.layers.coalesce.likeness import Key, Likeness
from sidecar.layers.gather import has_whole_body
from sidecar.telemetry.metrics import Counter

_STEP = "waiting for the answer to an equal call"


class CoalesceLayer:
    """Knows the shared calls under way. There are no more of them than calls in this pod, which admission bounds."""

    __slots__ = ("_body_max", "_clock", "_counter", "_flights", "_inner", "_likeness", "_tasks", "_waiting_max")

    def __init__(
        self,
        likeness: Likeness,
        body_max: int,
        waiting_max: int,
        clock: Clock,
        tasks: Tasks,
        counter: Counter,
        inner: Handler,
    ) -> None:
        self._likeness = likeness
        self._body_max = body_max
        self._waiting_max = waiting_max
        self._clock = clock
        self._tasks = tasks
        self._counter = counter
        self._inner = inner
        self._flights: dict[Key, Flight] = {}

    async def __call__(self, call: Call) -> Reply:
        """Share the call if an equal one is under way; begin one to be shared if there is none."""
        key = self._likeness.key(call)
        if key is None:
            return await self._inner(call)
        while True:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = Flight(key, call)
                waiter = flight.join(call)
                flight.task = self._tasks.spawn(self._fly(flight), "shared call")
                flight.task.add_done_callback(partial(self._ended, flight))
            elif flight.waiting > self._waiting_max:
                return await self._inner(call)
            else:
                waiter = flight.join(call)
            told = await self._wait(flight, call, waiter)
            if isinstance(told, Exception):
                raise told
            if told is not None:
                return told
            if not flight.is_outlived:
                return await self._inner(call)

    def snapshot(self) -> dict[str, Any]:
        """Show what is shared now, for people."""
        waiting = sum(flight.waiting for flight in self._flights.values())
        return {"shared_calls": len(self._flights), "waiting": waiting, "coalesced": self._counter.value}

    async def _wait(self, flight: Flight, call: Call, waiter: Waiter) -> Told:
        call.step = _STEP
        try:
            if call is flight.leader:
                return await waiter  # The shared call has its deadline, and says better what used the time up.
            async with self._clock.timeout_at(call.deadline_at):
                return await waiter
        except TimeoutError:
            raise DeadlineExceeded(f"the call's time is used up; the step was: {_STEP}", is_ours=True) from None
        finally:
            if flight.leave(call):
                await self._abandon(flight)

    async def _abandon(self, flight: Flight) -> None:
        """Cancel a call that nobody waits for, and wait until it is gone."""
        self._forget(flight)
        assert flight.task is not None
        flight.task.cancel()
        await asyncio.wait([flight.task])

    def _forget(self, flight: Flight) -> None:
        """Let nobody join any more."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    async def _fly(self, flight: Flight) -> None:
        """Make the call, and tell those who wait."""
        try:
            reply = await self._inner(flight.child)
            is_whole = await has_whole_body(reply, self._body_max, flight.child.deadline_at, self._clock)
            content = reply.body.take_all() if is_whole else None
        except SidecarError as error:
            flight.fail(error, self._clock.now())
        except Exception as fault:  # The exchange of the call that takes it writes the line about it.
            if not flight.break_off(fault):
                raise
        else:
            if content is None:
                flight.hand_over(reply)
            else:
                flight.share(reply, content)
        finally:
            self._forget(flight)  # In the step in which it landed: who joined afterwards would wait for ever.

    def _ended(self, flight: Flight, task: "asyncio.Task[None]") -> None:  # noqa: ARG002 - what a task calls back with
        """End what is left of a call, also if its task was cancelled before its first step."""
        self._forget(flight)
        flight.give_up()
        self._counter.value += flight.shared


def coalesce(
    likeness: Likeness, body_max: int, waiting_max: int, clock: Clock, tasks: Tasks, counter: Counter
) -> Layer:
    """Share the calls that `likeness` finds equal, where the answer has at most `body_max` bytes."""
    return lambda inner: CoalesceLayer(likeness, body_max, waiting_max, clock, tasks, counter, inner)
