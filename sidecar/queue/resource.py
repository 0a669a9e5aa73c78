"""Resource: `/_sidecar/jobs/{id}` on the app's doors: how a job stands, and the vendor's answer once it is there."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from sidecar.core.body import Body
from sidecar.core.call import Call, Reply
from sidecar.core.errors import MethodNotAllowed
from sidecar.queue.queue import Queue

PREFIX = b"/_sidecar/jobs/"


class JobResource:
    """Answers the app's questions for jobs."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def handle(self, call: Call) -> Reply:
        """Show a job (GET), or cancel it (DELETE). Raises UnknownJob, JobState, StoreUnavailable, MethodNotAllowed."""
        name = call.target.removeprefix(PREFIX).partition(b"?")[0].decode("latin-1")
        actions: dict[str, Callable[[str], Awaitable[Any]]] = {
            "GET": self._queue.job, "HEAD": self._queue.job, "DELETE": self._cancel
        }  # fmt: skip
        if call.method not in actions:
            raise MethodNotAllowed("a job is shown by GET and cancelled by DELETE")
        return _json(await actions[call.method](name))

    async def _cancel(self, name: str) -> Any:
        await self._queue.cancel(name)
        return await self._queue.job(name)


def _json(content: Any) -> Reply:
    text = msgspec.json.encode(content)
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(text))]
    return Reply(200, b"OK", headers, Body.of(text), "sidecar")
