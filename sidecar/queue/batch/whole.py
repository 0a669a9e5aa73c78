"""Whole: a batch in JSON; all of it is read first, and its answer comes in one piece, in the order asked."""

from collections.abc import Callable

import msgspec

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import AnswerTooLarge, BodyTooLarge
from sidecar.core.outcome import Outcome
from sidecar.queue.batch.asked import read_asked
from sidecar.queue.batch.config import BatchConfig
from sidecar.queue.batch.result import Counts, Result
from sidecar.queue.batch.run import Run, places
from sidecar.queue.batch.sending import Sender, Work


class Answers:
    """The results as they come, each written in its own place, within a bound of bytes."""

    def __init__(self, count: int, bytes_max: int) -> None:
        self._lines = [b""] * count
        self._bytes_left = bytes_max
        self.counts = Counts()

    async def add(self, result: Result) -> None:
        """Keep a result; without headers and body when there is no room for these any more."""
        line = result.line()
        if len(line) > self._bytes_left:
            result.headers, result.body, result.body_base64 = {}, None, None
            if not result.code:
                result.outcome, result.code = Outcome.FAILURE.value, AnswerTooLarge.code
            line = result.line()
        self._bytes_left -= len(line)
        assert not self._lines[result.index], "an item has one result"
        self._lines[result.index] = line
        self.counts.add(result)

    def written(self) -> bytes:
        """Give the whole answer."""
        assert all(self._lines), "each item has a result"
        return b'{"items":[%b],"counts":%b}' % (b",".join(self._lines), msgspec.json.encode(self.counts))


async def answer_whole(
    call: Call,
    sender: Sender,
    concurrency: int | None,
    config: BatchConfig,
    time_max: float,
    clock: Clock,
    jitter: Callable[[], float],
) -> Reply:
    """Read a batch, do it within its time, and answer. Raises BadRequest, BodyTooLarge, and what the body fails with.

    Nobody sees a byte of the answer before the last item ended, so the time is that of a call, at most `time_max`.
    """
    content = await read_whole(call.body, int(config.request_max))
    asked = read_asked(content, config.items_max, config.concurrency_max)
    call.deadline_at = call.started_at + min(time_max, call.timeout_asked or time_max)
    answers = Answers(len(asked.items), int(config.answer_max))
    works = iter([Work(item, item.id, index, call.deadline_at) for index, item in enumerate(asked.items)])

    async def take() -> Work | None:
        return next(works, None)

    at_once = places(asked.concurrency or concurrency, config)
    call.step = "the items"
    # All are in memory already, so as many as there are may wait to be sent again.
    run = Run(sender, at_once, max(at_once, len(asked.items)), answers.add, clock, jitter)
    await run.all(take)
    body = Body.of(answers.written())
    headers: Headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % body.received_bytes)]
    return Reply(200, b"OK", headers, body, "sidecar")


async def read_whole(body: Body, bytes_max: int) -> bytes:
    """Read the whole request. Raises BodyTooLarge, and what the body fails with."""
    too_large = BodyTooLarge(f"the batch is over batch.request_max = {bytes_max} bytes; send it as lines (NDJSON)")
    if body.length is not None and body.length > bytes_max:
        raise too_large
    if body is not NO_BODY:
        body.bound(bytes_max, too_large)
    pieces = []
    while piece := await body.read():
        pieces.append(piece)
    return b"".join(pieces)
