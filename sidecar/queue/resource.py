"""Resource: `/_sidecar/jobs/{id}` on the app's doors: how a job stands, and the vendor's answer once it is there.

The same for a batch that was not waited for; what came of its items is at `/_sidecar/jobs/{id}/items`.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from sidecar.core.body import Body
from sidecar.core.call import Call, Reply
from sidecar.core.errors import BadRequest, MethodNotAllowed
from sidecar.core.tasks import Tasks
from sidecar.queue.batch.progress import Progress
from sidecar.queue.batch.telling import Telling
from sidecar.queue.job import is_batch
from sidecar.queue.queue import Queue
from sidecar.store.base import Store

PREFIX = b"/_sidecar/jobs/"
_ITEMS = "/items"
_DIGITS_MAX = 9


class JobResource:
    """Answers the app's questions for jobs and batches."""

    def __init__(self, queue: Queue, store: Callable[[], Store], tasks: Tasks, fault: Callable[..., None]) -> None:
        self._queue = queue
        self._progress = Progress(store, queue.register, tasks)
        self._store = store
        self._tasks = tasks
        self._fault = fault

    async def handle(self, call: Call) -> Reply:
        """Show a job (GET), or cancel it (DELETE). Raises UnknownJob, JobState, StoreUnavailable, MethodNotAllowed."""
        path, _, query = call.target.removeprefix(PREFIX).decode("latin-1").partition("?")
        name = path.removesuffix(_ITEMS)
        if path != name and is_batch(name):
            if call.method != "GET":
                raise MethodNotAllowed("the results of a batch are read by GET", allow=b"GET")
            return await self._results(call, name, _after(query) + 1)
        if call.method not in {"GET", "HEAD", "DELETE"}:
            raise MethodNotAllowed("a job is shown by GET and cancelled by DELETE", allow=b"GET, HEAD, DELETE")
        if is_batch(path):
            if call.method == "DELETE":
                await self._progress.cancel(path)
            return _json(await self._progress.show(path))
        if call.method == "DELETE":
            await self._queue.cancel(path)
        return _json(await self._queue.job(path))

    async def _results(self, call: Call, name: str, first: int) -> Reply:
        record = await self._progress.record(name)
        return Telling(name, range(first, record.count), self._store, self._tasks).begin(call, self._fault)


def _after(query: str) -> int:
    """Read `?after=41`; -1: from the first item on. Raises BadRequest."""
    if not query:
        return -1
    pairs = parse_qsl(query, keep_blank_values=True)
    text = pairs[0][1] if len(pairs) == 1 and pairs[0][0] == "after" else ""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise BadRequest("the query is nothing, or the index of the last item that is known, such as ?after=41")
    return int(text)


def _json(content: Any) -> Reply:
    text = msgspec.json.encode(content)
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(text))]
    return Reply(200, b"OK", headers, Body.of(text), "sidecar")
