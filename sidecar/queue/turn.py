"""Turn: one attempt at a job: its call passes all layers of its service, and what comes back is judged and stored."""

import asyncio
from collections.abc import Callable

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call, Handler, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import DeadlineExceeded, Draining, InternalError, SidecarError
from sidecar.core.outcome import Outcome
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.retry.backoff import told
from sidecar.queue.job import DEAD, NEXT, UNREADABLE, Answer, Head, encode, head_or_none
from sidecar.queue.verdict import of_answer, of_error
from sidecar.store.backlog import RUNNING, WAITING, Entry, Settlement
from sidecar.working.verdict import Ended, Verdict, delay_of

_FAILURE_FROM = 500
TURN_MAX = 900.0  # Seconds. The layers have shorter limits; this one ends an answer without an end.


class Turns:
    """Runs the jobs of one line."""

    def __init__(
        self,
        service: str,
        config: QueueConfig,
        statuses: frozenset[int],
        handle: Handler,
        is_busy: Callable[[], bool],
        clock: Clock,
        jitter: Callable[[], float],
        fault: Callable[..., None],
        holds_secret: Callable[[bytes], bool],
    ) -> None:
        self._service = service
        self._config = config
        self._schedule = tuple(float(seconds) for seconds in config.schedule)
        self._statuses = statuses
        self._handle = handle
        self.is_busy = is_busy
        self.concurrency = config.concurrency
        self._clock = clock
        self._jitter = jitter
        self._fault = fault
        self._holds_secret = holds_secret

    async def run(self, entry: Entry, age: float) -> Ended:
        """Make the job's call, and say what becomes of it; `age` in seconds since it was accepted."""
        head = head_or_none(entry)
        if head is None:  # No turn would go better. People see it, and may discard it; its bytes stay.
            return Ended(Settlement(DEAD), Verdict("given_up", error=UNREADABLE))
        call = self._call(entry, head)
        delay = delay_of(self._schedule, entry.attempts, self._jitter())
        age_max = float(self._config.age_max)
        answer: Answer | None = None
        outcome = Outcome.CANCELLED
        try:
            try:
                async with self._clock.timeout_at(call.started_at + TURN_MAX):
                    reply = await self._handle(call)
                    call.status, call.source = reply.status, reply.source
                    answer = await self._take(call, reply)
                outcome = Outcome.FAILURE if reply.status >= _FAILURE_FROM else Outcome.SUCCESS
                wait = _retry_after(reply, self._jitter())
                verdict = of_answer(reply.status, self._statuses, wait, age, age_max, delay)
            except asyncio.CancelledError:
                call.error_code = Draining.code  # Nothing else cuts a turn off.
                raise
            except TimeoutError:
                late = DeadlineExceeded(f"the turn took over {TURN_MAX:g} s; the step was: {call.step}")
                call.error_code, call.error_detail, outcome = late.code, late.detail, late.outcome
                verdict = of_error(late, age, age_max, delay, was_sent=True)
            except SidecarError as error:
                call.error_code, call.error_detail, outcome = error.code, error.detail, error.outcome
                verdict = of_error(error, age, age_max, delay, was_sent=bool(call.attempts))
            except Exception as error:  # noqa: BLE001 - a fault of ours is told, and the job is tried again
                self._fault("internal", error, request_id=call.request_id)
                outcome = Outcome.FAILURE
                ours = InternalError("the sidecar failed at this job; its log tells where, by the request id")
                verdict = of_error(ours, age, age_max, delay, was_sent=True)
        finally:
            call.end(outcome)
        if self._holds_secret(verdict.error.encode("utf-8", "replace")):
            verdict = verdict._replace(error=verdict.error.partition(":")[0])
        head.error = verdict.error
        state = NEXT[RUNNING][verdict.event]
        result = None if answer is None else encode(answer)
        if answer is not None and result is not None and self._holds_secret(result):
            # The vendor repeated a credential: its status is kept, and what it said is not.
            result = encode(Answer(answer.status, [], b"", is_whole=False))
        # A dead letter keeps its body, since people may have it tried again; so does a refused one.
        return Ended(
            Settlement(state, verdict.delay if state == WAITING else 0.0, encode(head), result,
                       frees_body=verdict.event == "answered"),
            verdict,
        )  # fmt: skip

    def _call(self, entry: Entry, head: Head) -> Call:
        body = Body.of(entry.body) if entry.body else NO_BODY
        call = Call(self._service, head.method, head.target, list(head.headers), body)
        call.address, call.app, call.request_id = head.address, head.app, head.request_id
        call.trace_id, call.trace_flags = head.trace_id, head.trace_flags
        call.idempotency_key = head.idempotency_key
        call.has_user_agent = head.has_user_agent
        call.job = entry.id
        call.started_at = self._clock.now()
        return call

    async def _take(self, call: Call, reply: Reply) -> Answer:
        """Read the vendor's answer to its end, which is what frees its connection; keep what may be kept."""
        pieces, size, bytes_max = [], 0, int(self._config.answer_max)
        call.step = "receiving the answer"
        while piece := await reply.body.read():
            size += len(piece)
            if size <= bytes_max:
                pieces.append(piece)
        call.response_bytes = size
        is_whole = size <= bytes_max
        return Answer(reply.status, reply.headers, b"".join(pieces) if is_whole else b"", is_whole)


def _retry_after(reply: Reply, chance: float) -> float | None:
    advice = reply.advice
    if advice is None or advice.retry_after is None:
        return None
    return told(advice.retry_after, 0.0, chance)
