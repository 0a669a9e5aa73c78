"""Streamed: a batch in lines (NDJSON); each item is sent as its line arrives, and told as it ends.

Memory stays flat: a line is read when there is a place for it. An app that does not read the results keeps items in
their places, and so stops the reading of further lines.
"""

import asyncio
from collections.abc import Callable

import msgspec

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import BadRequest, InternalError
from sidecar.core.outcome import Outcome
from sidecar.core.tasks import Tasks
from sidecar.queue.batch.config import BatchConfig
from sidecar.queue.batch.listed import ListedItems
from sidecar.queue.batch.result import Counts, Result, Summary
from sidecar.queue.batch.run import Run, places
from sidecar.queue.batch.sending import Sender, Work


class StreamedBatch:
    """One batch in lines."""

    def __init__(
        self,
        call: Call,
        sender: Sender,
        concurrency: int | None,
        config: BatchConfig,
        time_max: float,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._time_max = time_max
        self._clock = clock
        # The answer flows while the batch goes on, so it has no end of its own: each item has the time of a call.
        self._deadline_at = call.started_at + (call.timeout_asked or float("inf"))
        self._call = call
        self.items = ListedItems(call.body, config)
        self._counts = Counts()
        self.out = Body(None, self._full, self._free)
        self._has_room = asyncio.Event()
        self._has_room.set()
        at_once = places(concurrency, config)
        self.run = Run(sender, at_once, 2 * at_once, self._deliver, clock, jitter)

    def begin(self, tasks: Tasks, fault: Callable[..., None]) -> Reply:
        """Start, as a task of `tasks`; it ends with the call at the latest."""
        if self._call.body is NO_BODY:
            raise BadRequest("the batch is empty: send an item on each line")
        self._call.body.want()  # Before the answer begins: a 100 inside of it would spoil it.
        task = tasks.spawn(self._go(fault), "batch")

        def stop(outcome: Outcome) -> None:  # noqa: ARG001 - the signature of an ending
            task.cancel()

        self._call.on_end(stop)
        return Reply(200, b"OK", [(b"Content-Type", b"application/x-ndjson")], self.out, "sidecar")

    async def _go(self, fault: Callable[..., None]) -> None:
        try:
            error = await self.run.all(self._take)
        except Exception as broken:  # noqa: BLE001 - the answer is under way, and must visibly break off
            fault("internal", broken, request_id=self._call.request_id)
            self.out.fail(InternalError("the sidecar failed at this batch; its log tells where, by the request id"))
            return
        summary = Summary(self._counts)
        if error is not None:
            summary.code, summary.detail = error.code, error.detail
        self.out.feed(msgspec.json.encode(summary) + b"\n")
        self.out.finish()

    async def _take(self) -> Work | None:
        """Read the next item. Raises what the request's body failed with, BodyTooLarge after the last one allowed."""
        listed = await self.items.next()
        if listed is None:
            return None
        deadline_at = min(self._deadline_at, self._clock.now() + self._time_max)
        return Work(listed.item, listed.id, listed.number, deadline_at)

    async def _deliver(self, result: Result) -> None:
        """Hand a result to the app as soon as it takes it."""
        await self._has_room.wait()
        self._counts.add(result)
        self.out.feed(result.line() + b"\n")

    def _full(self) -> None:
        self._has_room.clear()

    def _free(self) -> None:
        self._has_room.set()
