"""Submit: a call becomes a job; it is acknowledged once it is stored, and never before.

A job's id begins with its line, so that whoever is asked for it knows where it lies. With an idempotency key of the
app's the id follows from service, method, path, app and key: the same call submitted twice is one job, as long as that
is kept.
"""

import hashlib
from collections.abc import Callable

import msgspec

from sidecar.core.body import Body
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import IdempotencyMismatch, QueueFull, StoreUnavailable
from sidecar.core.ids import Ids
from sidecar.layers.defer.config import QueueConfig
from sidecar.queue.job import Head, encode, head_or_none, instant
from sidecar.store.backlog import WAITING, Backlog, Bounds, NewEntry
from sidecar.store.base import StoreFailed, StoreFull
from sidecar.working.verdict import delay_of

RETRY_AFTER = 5.0  # Seconds that a call is told to wait whose job cannot be stored now.


class Submitter:
    """Stores jobs; `wake` is told of a line that has a new one."""

    def __init__(
        self,
        backlog: Callable[[], Backlog],
        ids: Ids,
        clock: Clock,
        jitter: Callable[[], float],
        wake: Callable[[str], None],
    ) -> None:
        self._backlog = backlog
        self._ids = ids
        self._clock = clock
        self._jitter = jitter
        self._wake = wake

    async def submit(
        self, line: str, config: QueueConfig, call: Call, body: bytes, why: str, wait: float | None
    ) -> Reply:
        """Store the job of a call, and answer 202. Raises QueueFull, StoreUnavailable, IdempotencyMismatch."""
        delay = 0.0 if wait is None else max(wait, delay_of(config.schedule, 1, self._jitter()))
        head = Head(
            call.method, call.target, call.headers, call.address, call.app, call.request_id, call.trace_id,
            call.trace_flags, call.idempotency_key, call.has_user_agent, hashlib.sha256(body).digest(), why,
        )  # fmt: skip
        name = f"{line}.{self._number(call)}"
        entry = NewEntry(name, call.queue_key, encode(head), body, delay)
        try:
            there = await self._backlog().append(line, [entry], Bounds(config.length_max, int(config.bytes_max)))
            state = await self._hold_to(line, name, head) if there else WAITING
        except StoreFull as full:
            raise QueueFull(f"the job was not accepted: {full}", retry_after=RETRY_AFTER) from None
        except StoreFailed as failed:
            raise StoreUnavailable(f"the job was not accepted: {failed}", retry_after=RETRY_AFTER) from None
        self._wake(line)
        return self._accepted(call, name, state)

    def _number(self, call: Call) -> str:
        """Give what tells the job from others of its line."""
        if call.idempotency_key is None:
            return self._ids.take(32)
        parts = (call.service, call.method, call.target, call.app, call.idempotency_key)
        return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()[:32]

    async def _hold_to(self, line: str, name: str, head: Head) -> str:
        """See that a job which was there before is of the same call, and say how it stands.

        Raises IdempotencyMismatch.
        """
        entry = await self._backlog().get(line, name)
        there = None if entry is None else head_or_none(entry)
        if entry is not None and (there is None or there.body_hash != head.body_hash):
            raise IdempotencyMismatch("this idempotency key stands for a job with another body; use a new key")
        return WAITING if entry is None else entry.state

    def _accepted(self, call: Call, name: str, state: str) -> Reply:
        text = msgspec.json.encode(
            {
                "id": name, "state": state, "service": call.service, "method": call.method,
                "path": call.target.partition(b"?")[0].decode("latin-1"),
                "created_at": instant(self._clock.wall()),
            }
        )  # fmt: skip
        headers = [
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(text)),
            (b"Location", b"/_sidecar/jobs/" + name.encode()),
        ]
        if call.prefers_async:
            headers.append((b"Preference-Applied", b"respond-async"))
        if call.idempotency_key is not None:
            headers.append((b"Idempotency-Key", call.idempotency_key))
        return Reply(202, b"Accepted", headers, Body.of(text), "queue")
