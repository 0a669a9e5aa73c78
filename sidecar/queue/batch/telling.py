"""Telling: what came of the items of a batch that was not waited for, a line each, in the order asked.

Memory stays flat: a few items are read at once, and no more before the app has taken what is there.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from sidecar.core.body import Body
from sidecar.core.call import Call, Reply
from sidecar.core.errors import InternalError
from sidecar.core.outcome import Outcome
from sidecar.core.tasks import Tasks
from sidecar.queue.batch.progress import DISCARDED, unavailable
from sidecar.queue.batch.result import members_of, written
from sidecar.queue.batch.together import together
from sidecar.queue.job import answer_of, head_of, item_name, line_of
from sidecar.store.backlog import Entry
from sidecar.store.base import Store, StoreFailed

IN_HAND = 4  # Items that are read at once, each whole.

_encode = msgspec.json.Encoder().encode


class ItemResult(msgspec.Struct, omit_defaults=True):
    """What the app is told of one item; the members and their order are the contract."""

    id: str | None  # The app's own; None: the line was no item, or it was discarded.
    index: int
    state: str
    request_id: str = ""
    status: int = 0
    attempts: int = 0
    headers: dict[str, str | list[str]] = {}
    error: str = ""
    body: Any = None
    body_base64: str | None = None


class Telling:
    """The results of one batch on their way to the app."""

    def __init__(self, name: str, items: range, store: Callable[[], Store], tasks: Tasks) -> None:
        self._name = name
        self._items = items
        self._store = store
        self._tasks = tasks
        self._body = Body(None, self._full, self._free)
        self._has_room = asyncio.Event()
        self._has_room.set()

    def begin(self, call: Call, fault: Callable[..., None]) -> Reply:
        """Start; it ends with the call at the latest."""
        task = self._tasks.spawn(self._go(call.request_id, fault), "results of a batch")

        def stop(outcome: Outcome) -> None:  # noqa: ARG001 - the signature of an ending
            task.cancel()

        call.on_end(stop)
        return Reply(200, b"OK", [(b"Content-Type", b"application/x-ndjson")], self._body, "queue")

    async def _go(self, request_id: str, fault: Callable[..., None]) -> None:
        try:
            for start in self._items[::IN_HAND]:
                await self._tell(range(start, min(start + IN_HAND, self._items.stop)))
        except StoreFailed as failed:  # The head is out: the answer visibly breaks off.
            self._body.fail(unavailable(failed))
        except Exception as broken:  # noqa: BLE001 - the same
            fault("internal", broken, request_id=request_id)
            self._body.fail(InternalError("the sidecar failed at these results; its log tells where"))
        else:
            self._body.finish()

    async def _tell(self, items: range) -> None:
        backlog, line = self._store().backlog, line_of(self._name)
        entries = await together(self._tasks, [backlog.get(line, item_name(self._name, index)) for index in items])
        for index, entry in zip(items, entries, strict=True):
            await self._has_room.wait()
            self._body.feed(_encode(result_of(index, entry)) + b"\n")

    def _full(self) -> None:
        self._has_room.clear()

    def _free(self) -> None:
        self._has_room.set()


def result_of(index: int, entry: Entry | None) -> ItemResult:
    """Tell of one item; None: it was discarded."""
    if entry is None:
        return ItemResult(None, index, DISCARDED)
    head, answer = head_of(entry), answer_of(entry)
    result = ItemResult(
        head.item, index, entry.state, head.request_id, attempts=entry.attempts, error=head.error
    )  # fmt: skip
    if answer is not None:
        result.status, result.headers = answer.status, written(answer.headers)
        result.body, result.body_base64 = members_of(answer.body, answer.headers)
        if not answer.is_whole:
            result.error = "the answer is not kept: it is over queue.answer_max, or repeats a credential"
    return result
