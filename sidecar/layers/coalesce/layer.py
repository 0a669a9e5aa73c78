"""Coalesce: equal reads at the same time share one call, so that a crowd that wants one thing asks once.

The shared call is no caller's own: it runs in a task of the layer's, goes on when the app of the call that began it
hangs up, and is cancelled when all of them did.
"""

import asyncio
from functools import partial
from typing import Any

from sidecar.core.body import Headers
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import DeadlineExceeded, SidecarError
from sidecar.core.headers import find
from sidecar.core.tasks import Tasks
from sidecar.layers.coalesce.flight import Flight, Told, Waiter
from sidecar.layers.coalesce.likeness import Key, Likeness
from sidecar.telemetry.metrics import Counter

# Seconds that a body which does not say its length may take to end; after it, it is taken for a stream.
GATHER_MAX = 1.0
_STREAMS = (b"text/event-stream", b"application/x-ndjson", b"application/jsonl", b"multipart/x-mixed-replace")
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
            content = await self._gather(reply, flight.child.deadline_at)
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

    async def _gather(self, reply: Reply, deadline_at: float) -> bytes | None:
        """Give the whole body; None, with nothing taken, when it is a stream, too long, or broke off."""
        body = reply.body
        if reply.tunnel is not None or _is_stream(reply.headers):
            return None
        if body.length is not None and body.length > self._body_max:
            return None
        if not body.is_complete:
            until = deadline_at if body.length is not None else min(deadline_at, self._clock.now() + GATHER_MAX)
            try:
                async with self._clock.timeout_at(until):
                    await body.ahead(self._body_max + 1)
            except TimeoutError:
                return None
        return body.take_all() if body.received_bytes <= self._body_max else None


def _is_stream(headers: Headers) -> bool:
    kind = find(headers, b"content-type")
    return kind is not None and kind.lower().startswith(_STREAMS)


def coalesce(
    likeness: Likeness, body_max: int, waiting_max: int, clock: Clock, tasks: Tasks, counter: Counter
) -> Layer:
    """Share the calls that `likeness` finds equal, where the answer has at most `body_max` bytes."""
    return lambda inner: CoalesceLayer(likeness, body_max, waiting_max, clock, tasks, counter, inner)
