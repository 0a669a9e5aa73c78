"""Later: a batch that the app does not wait for; each item becomes a job, and the app is told where to look."""

import hashlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import NamedTuple

import msgspec

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import BadRequest, BodyTooLarge, SidecarError
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.defer.layer import bare
from sidecar.layers.defer.storing import storing
from sidecar.layers.defer.when import objection
from sidecar.layers.idempotency.key import uuid
from sidecar.layers.service import ServiceConfig
from sidecar.queue.batch.asked import read_asked, wrong
from sidecar.queue.batch.config import BatchConfig
from sidecar.queue.batch.intake import Intake
from sidecar.queue.batch.item import Item
from sidecar.queue.batch.listed import Listed, ListedItems
from sidecar.queue.batch.register import BatchRecord, Register
from sidecar.queue.batch.sending import Sender
from sidecar.queue.batch.whole import read_whole
from sidecar.queue.job import ITEMS, Head, encode, instant, item_name
from sidecar.store.backlog import WAITING, NewEntry
from sidecar.store.base import Store

YIELD_EVERY = 50  # Items that are read before others have a turn in between.


class LaterMeans(NamedTuple):
    """What batches that are not waited for stand on."""

    store: Callable[[], Store]
    register: Register
    ids: Ids
    tasks: Tasks
    clock: Clock
    wake: Callable[[str], None]  # Is told of a line that has new jobs.


class LaterBatch:
    """Makes jobs of the items of one batch."""

    def __init__(self, call: Call, sender: Sender, queue: QueueConfig, config: BatchConfig, means: LaterMeans) -> None:
        self._call = call
        self._sender = sender
        self._queue = queue
        self._config = config
        self._means = means
        self._line = sender.service.name + ITEMS
        self._name = f"{self._line}.{means.ids.take(32)}"

    async def accept_whole(self) -> Reply:
        """Accept a batch in JSON. Raises BadRequest with all that is wrong in it, BodyTooLarge, and as `_accept`."""
        content = await read_whole(self._call.body, int(self._config.request_max))
        asked = read_asked(content, self._config.items_max, self._config.concurrency_max)
        entries, problems = [], []
        for index, item in enumerate(asked.items):
            try:
                entries.append(await self._entry(item, index))
            except SidecarError as error:
                problems.append(f"items[{index}]: {error.detail}")
            if index % YIELD_EVERY == 0:
                await self._means.clock.sleep(0.0)
        if problems:
            raise wrong(problems)

        async def given() -> AsyncIterator[NewEntry]:
            for entry in entries:
                yield entry

        return await self._accept(given())

    async def accept_lines(self) -> Reply:
        """Accept a batch in lines, once the last is stored; one that is no item fails by itself. Raises as `_accept`.

        BodyTooLarge for too many, and what the body fails with: nothing of the batch is kept then.
        """
        if self._call.body is NO_BODY:
            raise BadRequest("the batch is empty: send an item on each line")
        return await self._accept(self._listed())

    async def _listed(self) -> AsyncIterator[NewEntry]:
        items = ListedItems(self._call.body, self._config)
        while (listed := await items.next()) is not None:
            yield await self._made(listed)
            if listed.number % YIELD_EVERY == 0:
                await self._means.clock.sleep(0.0)

    async def _made(self, listed: Listed) -> NewEntry:
        try:
            if isinstance(listed.item, SidecarError):
                raise listed.item
            return await self._entry(listed.item, listed.number)
        except SidecarError as error:
            return self._broken(error, listed.id, listed.number)

    async def _accept(self, entries: AsyncIterator[NewEntry]) -> Reply:
        """Store them. Raises QueueFull, StoreUnavailable."""
        means = self._means
        intake = Intake(self._name, self._queue, means.store, means.register, means.tasks, means.clock)
        record = await intake.take(entries)
        means.wake(self._line)
        return self._accepted(record)

    async def _entry(self, item: Item, index: int) -> NewEntry:
        """Make the job of an item. Raises SidecarError for what is wrong with it whenever it is made."""
        sender = self._sender
        call = sender.call_of(index)
        sender.enter(call, item)
        config, means = _config_of(sender, call), self._means
        rules = storing(config, means.clock, partial(uuid, means.ids))
        why_not = objection(call, rules.forward, rules.replaced.header)
        if config.queue is False:
            why_not = "calls of its route are not made later (queue = false)"
        if why_not:
            raise BadRequest(f"the item cannot be made later: {why_not}")
        if call.body.received_bytes > self._queue.body_max:
            raise BodyTooLarge(f"a job's body is at most {int(self._queue.body_max)} bytes (queue.body_max)")
        if rules.give_key is not None:  # Here, so that every turn has the same.
            call.idempotency_key = await rules.give_key(call)
        bare(call, rules.replaced)
        content = call.body.take_all()
        assert content is not None, "it is in hand"
        head = self._head(call, content)
        head.item = item.id
        return NewEntry(item_name(self._name, index), call.queue_key, encode(head), content)

    def _broken(self, error: SidecarError, name: str | None, index: int) -> NewEntry:
        """Make what stands for a line that is no item: its turn says what was wrong, and makes no call."""
        head = self._head(self._sender.call_of(index), b"")
        head.method, head.item, head.error = "", name, f"{error.code}: {error.detail}"
        return NewEntry(item_name(self._name, index), "", encode(head))

    def _head(self, call: Call, content: bytes) -> Head:
        return Head(
            call.method, call.target, call.headers, call.address, call.app, call.request_id, call.trace_id,
            call.trace_flags, call.idempotency_key, call.has_user_agent, hashlib.sha256(content).digest(), "batch",
        )  # fmt: skip

    def _accepted(self, record: BatchRecord) -> Reply:
        place = f"/_sidecar/jobs/{self._name}"
        text = msgspec.json.encode(
            {
                "id": self._name, "state": WAITING, "service": record.service,
                "created_at": instant(record.created_at), "items": record.count, "results": f"{place}/items",
            }
        )  # fmt: skip
        headers: Headers = [
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(text)),
            (b"Location", place.encode()),
            (b"Preference-Applied", b"respond-async"),
        ]
        return Reply(202, b"Accepted", headers, Body.of(text), "queue")


def _config_of(sender: Sender, call: Call) -> ServiceConfig:
    """Give what holds for a call: its route's settings, or the service's."""
    entry, path = sender.service.entry, call.target.partition(b"?")[0] or b"/"
    return next((route.config for route in entry.routes if route.match.matches(call.method, path)), entry.config)
