"""Sending: gives an item to the layers once, as a call of its own, and keeps what came back."""

from collections.abc import Callable

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import AnswerTooLarge, DeadlineExceeded, InternalError, SidecarError
from sidecar.core.headers import find
from sidecar.core.outcome import Outcome
from sidecar.core.problem import encode
from sidecar.layers.running import Service
from sidecar.queue.batch.item import Fields, Item
from sidecar.queue.batch.result import Result, written

_ID_START_MAX = 116  # Characters of the batch's request id in those of its items, so that these stay within 128.
_BODILESS = frozenset({204, 304})
_FAILURE_FROM = 500

FindService = Callable[[bytes], Service]  # By its name; raises UnknownService.
Admit = Callable[[Call, Service, str, str, Fields], None]  # Passes a call with method, path and fields in, or raises.


class Work:
    """An item, and how far it came."""

    def __init__(self, item: Item | SidecarError, name: str | None, index: int, deadline_at: float) -> None:
        self.item = item  # An error: what should be an item is none.
        self.id = name
        self.index = index
        self.deadline_at = deadline_at
        self.began_at = 0.0  # When it was sent first.
        self.idempotency_key: bytes | None = None  # As the vendor saw it: the same on every sending.
        self.attempts = 0
        self.sendings = 0  # In which an attempt was made.


class Sent:
    """What came of one sending."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.reply: Reply | None = None
        self.error: SidecarError | None = None
        self.content = b""


class Sender:
    """Sends the items of one batch."""

    def __init__(
        self,
        batch: Call,
        name: bytes,
        find_service: FindService,
        admit: Admit,
        body_max: int,
        clock: Clock,
        fault: Callable[..., None],
    ) -> None:
        self._batch = batch
        self._name = name
        self._find_service = find_service
        self._admit = admit
        self._body_max = body_max
        self._clock = clock
        self._fault = fault
        self.service = find_service(name)  # The last one of this name: a reload may bring another, or take it.

    async def send(self, work: Work) -> Sent:
        """Send it once. Raises nothing but CancelledError."""
        call = self.call_of(work.index)
        sent = Sent(call)
        outcome = Outcome.CANCELLED
        try:
            try:
                await self._exchange(work, sent)
                assert sent.reply is not None
                outcome = Outcome.FAILURE if sent.reply.status >= _FAILURE_FROM else Outcome.SUCCESS
            except SidecarError as error:
                sent.error, outcome = error, error.outcome
            except Exception as error:  # noqa: BLE001 - a fault of ours ends one item, and is told in the log
                self._fault("internal", error, request_id=call.request_id)
                sent.error = InternalError("the sidecar failed at this item; its log tells where, by the request id")
                outcome = Outcome.FAILURE
            self._note(work, sent)
        finally:
            if not call.is_observed:
                self.service.observer.watch(call)
            call.end(outcome)
        return sent

    def call_of(self, index: int) -> Call:
        """Make the call of an item, with what it has of its batch."""
        batch = self._batch
        call = Call(self.service.name, "", b"", [], NO_BODY)
        call.started_at = self._clock.now()
        call.peer = batch.peer
        call.app = batch.app
        call.request_id = f"{batch.request_id[:_ID_START_MAX]}-{index}"
        call.trace_id, call.trace_flags = batch.trace_id, batch.trace_flags
        call.address = b"%b/%b" % (batch.address, self._name)
        return call

    async def _exchange(self, work: Work, sent: Sent) -> None:
        """Have it answered, whole. Raises SidecarError."""
        call, item = sent.call, work.item
        if isinstance(item, SidecarError):
            raise item
        left = work.deadline_at - self._clock.now()
        if left <= 0:
            raise DeadlineExceeded("the time of the batch is used up; the step was: waiting for its turn", is_ours=True)
        work.began_at = work.began_at or call.started_at
        self.enter(call, item)
        if work.idempotency_key is not None:
            call.idempotency_key = work.idempotency_key
        if call.timeout_asked is not None:  # The item's own: for all its sendings, from the first on.
            work.deadline_at = min(work.deadline_at, work.began_at + call.timeout_asked)
            left = max(0.0, work.deadline_at - call.started_at)
        if call.attempts_max is not None:
            call.attempts_max = max(1, call.attempts_max - work.attempts)
        call.timeout_asked = left
        sent.reply = reply = await self.service.handle(call)
        call.status, call.source = reply.status, reply.source
        if call.method != "HEAD" and reply.status not in _BODILESS:
            call.step = "reading the answer"
            sent.content = await self._read(reply.body, work.deadline_at)
            call.response_bytes = len(sent.content)

    def enter(self, call: Call, item: Item) -> None:
        """Put an item on its call, which is for the service as it is now. Raises SidecarError."""
        self.service = service = self._find_service(self._name)
        content, is_json = item.content()
        if content is not None:
            call.body = Body.of(content)
        self._admit(call, service, item.method, item.path, item.fields())
        self._put_defaults(call, is_json=is_json)

    def _put_defaults(self, call: Call, *, is_json: bool) -> None:
        """Say that JSON is JSON, and ask for an answer that can be put into JSON; unless the item says otherwise."""
        added: Headers = []
        if is_json and find(call.headers, b"content-type") is None:
            added.append((b"Content-Type", b"application/json"))
        if find(call.headers, b"accept-encoding") is None:
            added.append((b"Accept-Encoding", b"identity"))
        state = find(self._batch.headers, b"tracestate")
        if state is not None and call.trace_id == self._batch.trace_id:
            added.append((b"tracestate", state))
        call.headers = [*call.headers, *added]

    async def _read(self, body: Body, deadline_at: float) -> bytes:
        """Read an answer's body, within its bound and the batch's time."""
        pieces = []
        size = 0
        if body.length is not None and body.length > self._body_max:
            raise self._too_large()
        try:
            async with self._clock.timeout_at(deadline_at):
                while piece := await body.read():
                    size += len(piece)
                    if size > self._body_max:
                        raise self._too_large()
                    pieces.append(piece)
        except TimeoutError:
            raise DeadlineExceeded("the time of the batch is used up; the step was: reading the answer") from None
        return b"".join(pieces)

    def _too_large(self) -> AnswerTooLarge:
        return AnswerTooLarge(f"the answer's body is over batch.body_max = {self._body_max} bytes")

    @staticmethod
    def _note(work: Work, sent: Sent) -> None:
        """Keep of the call what is told in the end, and what the next sending must know."""
        call, error = sent.call, sent.error
        work.idempotency_key = call.idempotency_key or work.idempotency_key
        work.attempts += len(call.attempts)
        work.sendings += bool(call.attempts)
        if error is not None:
            call.error_code, call.error_detail = error.code, error.detail
            if sent.reply is None:
                call.status, call.source = error.status, "sidecar"


def result_of(work: Work, sent: Sent) -> Result:
    """Tell what came of an item, by its last sending."""
    call, reply, error = sent.call, sent.reply, sent.error
    assert call.outcome is not None
    outcome = call.outcome
    if outcome is Outcome.REJECTED and work.sendings:
        outcome = Outcome.FAILURE  # The last sending was refused, but the vendor has seen an earlier one.
    result = Result(work.id, work.index, call.request_id, call.status, outcome.value, work.attempts, {})
    if error is not None:
        result.code = error.code
    if reply is not None:
        result.headers = written(reply.headers)
        if error is None:
            result.put(sent.content, reply.headers)
        return result
    assert error is not None
    headers: Headers = [(b"Content-Type", b"application/problem+json"), (b"Sidecar-Error", error.code.encode())]
    if error.retry_after is not None:
        headers.append((b"Retry-After", b"%d" % -(-error.retry_after // 1)))
    result.headers = written(headers)
    result.put(encode(error, call.request_id, call.service, work.attempts), headers)
    return result
