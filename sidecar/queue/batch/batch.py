"""Batch: `POST /_sidecar/batch/{service}`, many calls to one service in one request."""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qsl

from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import BadRequest, MethodNotAllowed, Shed, UnsupportedMediaType
from sidecar.core.headers import find
from sidecar.core.outcome import Outcome
from sidecar.core.tasks import Tasks
from sidecar.queue.batch.config import BatchConfig
from sidecar.queue.batch.later import LaterBatch, LaterMeans
from sidecar.queue.batch.sending import Admit, FindService, Sender
from sidecar.queue.batch.streamed import StreamedBatch
from sidecar.queue.batch.whole import answer_whole

PREFIX = b"/_sidecar/batch/"
_JSON = b"application/json"
_LINES = frozenset({b"application/x-ndjson", b"application/ndjson", b"application/jsonl"})


class Means(NamedTuple):
    """What batches stand on."""

    clock: Clock
    jitter: Callable[[], float]
    tasks: Tasks
    fault: Callable[..., None]  # Writes a line about a fault of ours.
    find_service: FindService
    admit: Admit
    later: LaterMeans


class Batches:
    """Answers batches; `use` for each new config."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._config = BatchConfig()
        self._time_max = 0.0
        self._running = 0

    def use(self, config: BatchConfig, time_max: float) -> None:
        """Take over the bounds of a new generation; `time_max` is how long a call of the app may take altogether."""
        self._config = config
        self._time_max = time_max

    async def handle(self, call: Call) -> Reply:
        """Answer a batch. Raises SidecarError for what is wrong with the whole."""
        means, config = self._means, self._config
        path, _, query = call.target.partition(b"?")
        call.path_template = "/_sidecar/batch/{service}"
        if call.method != "POST":
            raise MethodNotAllowed("a batch is sent with POST", allow=b"POST")
        name, body_max = path[len(PREFIX) :], int(config.body_max)
        sender = Sender(call, name, means.find_service, means.admit, body_max, means.clock, means.fault)
        kind = (find(call.headers, b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind != _JSON and kind not in _LINES:
            raise UnsupportedMediaType("a batch is application/json, or application/x-ndjson with an item on each line")
        concurrency = self._concurrency(query)
        if self._running >= config.batches_max:
            raise Shed(f"{self._running} batches are under way in this pod (batch.batches_max)", retry_after=1.0)
        self._running += 1
        call.on_end(self._leave)
        # A service keeps jobs where the store does, and where it does not say queue = false.
        queue, _ = sender.service.lines.get(sender.service.name, (None, None))
        if call.prefers_async and queue is not None:
            later = LaterBatch(call, sender, queue, config, means.later)
            return await (later.accept_whole() if kind == _JSON else later.accept_lines())
        if kind == _JSON:
            return await answer_whole(call, sender, concurrency, config, self._time_max, means.clock, means.jitter)
        batch = StreamedBatch(call, sender, concurrency, config, self._time_max, means.clock, means.jitter)
        return batch.begin(means.tasks, means.fault)

    def _leave(self, outcome: Outcome) -> None:  # noqa: ARG002 - the signature of an ending
        self._running -= 1

    def _concurrency(self, query: bytes) -> int | None:
        """Read `?concurrency=16`; None: it does not say. Raises BadRequest."""
        if not query:
            return None
        pairs, most = parse_qsl(query.decode("latin-1"), keep_blank_values=True), self._config.concurrency_max
        if len(pairs) != 1 or pairs[0][0] != "concurrency":
            raise BadRequest("the query of a batch is nothing, or concurrency alone, such as ?concurrency=16")
        text = pairs[0][1]
        if not (text.isascii() and text.isdigit() and len(text) < len(str(most)) + 1 and 1 <= int(text) <= most):
            raise BadRequest(f"concurrency is a number from 1 to {most} (batch.concurrency_max)")
        return int(text)
