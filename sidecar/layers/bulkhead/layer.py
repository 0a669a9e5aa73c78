"""The bulkhead around each attempt: the innermost wait, so that no slot is held while waiting for something else."""

from collections.abc import Awaitable

from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import BulkheadFull, DeadlineExceeded
from sidecar.core.outcome import Outcome
from sidecar.layers.bulkhead.bulkhead import Bulkhead

STEP = "waiting for a slot"
_FULL_RETRY_S = 1.0
_FAILURE_FROM = 500
_TOO_MANY = 429


def bulkhead(shared: Bulkhead, clock: Clock) -> Layer:
    """Let in as many attempts at once as there are slots."""
    return lambda inner: BulkheadLayer(shared, clock, inner)


class BulkheadLayer:
    """The shell of one route; the routes of a service share its slots."""

    __slots__ = ("_bulkhead", "_clock", "_inner", "_is_adaptive", "_slots", "_wait_max")

    def __init__(self, shared: Bulkhead, clock: Clock, inner: Handler) -> None:
        self._bulkhead = shared
        self._slots = shared.slots
        self._wait_max = shared.wait_max
        self._is_adaptive = shared.gradient is not None
        self._clock = clock
        self._inner = inner

    def __call__(self, call: Call) -> Awaitable[Reply]:
        """Send one attempt while it holds a slot, until its last byte.

        Raises BulkheadFull, DeadlineExceeded when the call's time ends in line, and what is raised within.
        """
        if not self._slots.take():
            return self._wait(call)
        call.on_end(self._leave)
        return self._learn(call) if self._is_adaptive else self._inner(call)

    async def _wait(self, call: Call) -> Reply:
        slots, clock = self._slots, self._clock
        if slots.is_line_full:
            raise BulkheadFull(
                f"all {slots.capacity} slots of {call.service} are in use, and {slots.waiting} calls wait already",
                retry_after=_FULL_RETRY_S,
            )
        call.step = STEP
        began_at = clock.now()
        until = min(call.deadline_at, began_at + self._wait_max)
        waiter = slots.stand_in_line()
        try:
            async with clock.timeout_at(until):
                await waiter
        except BaseException as error:
            slots.leave_line(waiter)
            if isinstance(error, TimeoutError):
                raise self._too_late(call, until) from None
            raise
        finally:
            call.waited_slot_s += clock.now() - began_at
        call.on_end(self._leave)
        return await (self._learn(call) if self._is_adaptive else self._inner(call))

    def _too_late(self, call: Call, until: float) -> BulkheadFull | DeadlineExceeded:
        capacity = self._slots.capacity
        if until >= call.deadline_at:
            return DeadlineExceeded(
                f"the call's time is used up; the step was: {STEP}, of which {call.service} has {capacity}",
                is_ours=True,
            )
        return BulkheadFull(
            f"none of the {capacity} slots of {call.service} came free within wait_max = {self._wait_max:g} s",
            retry_after=_FULL_RETRY_S,
        )

    async def _learn(self, call: Call) -> Reply:
        """Send the attempt, and note how long the vendor took for the head of its answer, if it says anything."""
        clock = self._clock
        began_at = clock.now()
        waited_s = call.waited_slot_s
        try:
            reply = await self._inner(call)
        except DeadlineExceeded as error:
            if error.blames_vendor:
                self._note(call, began_at, waited_s)
            raise
        # A refusal comes quickly just because nothing was done for it.
        if reply.status < _FAILURE_FROM and reply.status != _TOO_MANY:
            self._note(call, began_at, waited_s)
        return reply

    def _note(self, call: Call, began_at: float, waited_s: float) -> None:
        now = self._clock.now()
        self._bulkhead.learn(now - began_at - (call.waited_slot_s - waited_s), now)

    def _leave(self, outcome: Outcome) -> None:  # noqa: ARG002 - the signature of an ending
        self._slots.give_back()
