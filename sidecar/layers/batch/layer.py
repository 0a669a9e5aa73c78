"""Batch: of a request with many items, only those that failed are sent again, and the app gets one answer for all.

It stands outside of `retry`: each sending is a call to all below, with its own permit, slot and verdict.
"""

import hashlib
from collections.abc import Callable

from sidecar.core.advice import Advice
from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import BatchNote, Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import SidecarError
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.layers.batch.batch import Batch, Verdicts
from sidecar.layers.batch.config import BatchConfig
from sidecar.layers.idempotency.places import Place
from sidecar.layers.pieces import Misfit, Pieces, path_of
from sidecar.layers.retry.backoff import backoff, told
from sidecar.layers.retry.budget import Budget
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.whole import NotWhole, answer_json, asking_plainly, remade, request_json
from sidecar.telemetry.metrics import Counter

FAILED = b"Sidecar-Batch-Failed"
_STEP = "waiting to send again what failed of a batch"
_SUCCESS, _FAILURE, _CANCELLED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.CANCELLED


class BatchRules:
    """What the layer needs of the sections: `batch`'s own, and of `retry` how often and after what waits."""

    __slots__ = (
        "answer_path", "attempts_max", "backoff", "backoff_max", "body_max", "items_max", "request_path", "verdicts",
    )  # fmt: skip

    def __init__(self, config: BatchConfig, retry: RetryConfig | None) -> None:
        retry = retry or RetryConfig(attempts_max=1)
        self.verdicts = Verdicts(config)
        self.request_path = path_of(config.request_items)
        self.answer_path = path_of(config.answer_items)
        self.items_max = config.items_max
        self.body_max = int(config.body_max)
        self.attempts_max = retry.attempts_max
        self.backoff = float(retry.backoff)
        self.backoff_max = float(retry.backoff_max)


class BatchParts:
    """What the layer stands on."""

    __slots__ = ("budget", "clock", "count_retry", "failed", "jitter", "key_max", "place", "recent", "sent_again")

    def __init__(
        self,
        place: Place,
        key_max: int,
        budget: Budget | None,
        recent: Recent,
        clock: Clock,
        jitter: Callable[[], float],
        count_retry: Callable[[str], None],
        sent_again: Counter,
        failed: Counter,
    ) -> None:
        self.place = place  # Where this vendor looks for idempotency keys.
        self.key_max = key_max
        self.budget = budget  # None without `retry`: then nothing is sent again.
        self.recent = recent
        self.clock = clock
        self.jitter = jitter
        self.count_retry = count_retry
        self.sent_again = sent_again  # Items.
        self.failed = failed  # Items, for good.


class BatchLayer:
    """The handler around the sendings of one batch."""

    __slots__ = ("_inner", "_parts", "_rules")

    def __init__(self, rules: BatchRules, parts: BatchParts, inner: Handler) -> None:
        self._rules = rules
        self._parts = parts
        self._inner = inner

    async def __call__(self, call: Call) -> Reply:
        """Send the batch, then what failed of it; what is not as described passes as it is, with a note."""
        if call.body is NO_BODY or call.upgrade is not None:
            return await self._inner(call)
        note = call.batch = BatchNote()
        try:
            request, batch = await self._cut(call)
        except (NotWhole, Misfit) as reason:
            note.why = f"not read: {reason}"
            return await self._inner(call)
        note.items = len(batch.items)
        call.headers = asking_plainly(call.headers)
        mark = call.mark()
        reply = await self._inner(call)
        if not batch.items:
            return reply
        try:
            answer = await self._take(batch, reply, call.deadline_at)
        except (NotWhole, Misfit) as reason:
            note.why = f"the answer passed as it came: {reason}"
            return reply
        if batch.due or not batch.is_in_order:
            reply.body.take_all()  # It is in our hands: what the call held for it is free.
            call.end_since(mark, _SUCCESS)
            await self._send_again(call, request, batch, reply.advice)
            reply = remade(reply, answer.with_items(batch.answers))
        note.failed = batch.failed
        self._parts.failed.value += batch.failed
        reply.headers = [*reply.headers, (FAILED, b"%d" % batch.failed)]
        return reply

    async def _cut(self, call: Call) -> tuple[Pieces, Batch]:
        rules = self._rules
        content = await request_json(call, rules.body_max, self._parts.clock, "for its items", "batch.body_max")
        pieces = Pieces(content, rules.request_path)
        if len(pieces.items) > rules.items_max:
            raise Misfit(f"the request has {len(pieces.items)} items, over batch.items_max = {rules.items_max}")
        return pieces, Batch(rules.verdicts, pieces.items)

    async def _take(self, batch: Batch, reply: Reply, deadline_at: float) -> Pieces:
        """Judge an answer, in turns with other calls. Raises NotWhole, Misfit."""
        rules, clock = self._rules, self._parts.clock
        if not 200 <= reply.status < 300:
            raise Misfit(f"the vendor answered {reply.status} to all of it")
        content = await answer_json(reply, rules.body_max, deadline_at, clock, "batch.body_max")
        pieces = Pieces(content, rules.answer_path)
        for _ in batch.take(pieces.items):
            await clock.sleep(0)
        return pieces

    async def _send_again(self, call: Call, request: Pieces, batch: Batch, advice: Advice | None) -> None:
        """Send what is due until nothing is, or something speaks against it; what is known by then stays known."""
        note = call.batch
        assert note is not None
        number = 1
        while batch.due:
            wait = self._wait(call, note, number, advice)
            if wait < 0:
                return
            await self._pause(call, wait)
            number += 1
            again = self._again(call, request, batch, number)
            note.sent_again += len(batch.due)
            self._parts.sent_again.value += len(batch.due)
            try:
                reply = await self._inner(again)
                advice = reply.advice
                await self._take(batch, reply, again.deadline_at)
            except SidecarError as error:
                note.why = f"sending {len(batch.due)} items again failed: {error.code}: {error.detail}"
                self._end(call, again, error.outcome)
                return
            except (NotWhole, Misfit) as reason:
                note.why = f"sending {len(batch.due)} items again failed: {reason}"
                self._end(call, again, _FAILURE)
                return
            except BaseException as error:
                self._end(call, again, _FAILURE if isinstance(error, Exception) else _CANCELLED)
                raise
            self._end(call, again, _SUCCESS)

    def _again(self, call: Call, request: Pieces, batch: Batch, number: int) -> Call:
        """Make the call that sends what is due."""
        again = call.attempt()
        again.attempts = []  # Its own, so that it counts its own; they join the call's when it ends.
        again.attempts_max = self._most(call) - len(call.attempts)
        again.expects_continue = False
        again.body = Body.of(request.with_items(batch.to_send()))
        if call.idempotency_key is not None:
            again.idempotency_key = derived(call.idempotency_key, number, self._parts.key_max)
            self._parts.place.put(again, again.idempotency_key)
        return again

    @staticmethod
    def _end(call: Call, again: Call, outcome: Outcome) -> None:
        call.attempts.extend(again.attempts)
        call.discard(again, outcome)

    def _most(self, call: Call) -> int:
        most = self._rules.attempts_max
        return most if call.attempts_max is None else min(most, call.attempts_max)

    def _wait(self, call: Call, note: BatchNote, number: int, advice: Advice | None) -> float:
        """Give the seconds until the next sending, or -1, with the reason noted why there is none."""
        rules, parts = self._rules, self._parts
        most = self._most(call)
        if number >= most or len(call.attempts) >= most:
            note.why = f"attempts_max = {most}"
            return -1.0
        if advice is not None and (advice.is_final or advice.should_retry is False):
            note.why = "the vendor asks not to be tried again"
            return -1.0
        if advice is not None and advice.retry_after is not None:
            wait = told(advice.retry_after, rules.backoff, parts.jitter())
        else:
            wait = backoff(number, rules.backoff, rules.backoff_max, parts.jitter())
        now = parts.clock.now()
        usual = parts.recent.quantile(0.5) or 0.0
        left = max(0.0, call.deadline_at - now)
        if wait + usual >= left:
            note.why = f"a wait of {wait:.3g} s and an attempt of usually {usual:.3g} s do not fit into {left:.3g} s"
            parts.count_retry("deadline")
            return -1.0
        assert parts.budget is not None, "without retry one attempt is all"
        if not parts.budget.spend(now):
            note.why = "the service's retry budget is used up"
            parts.count_retry("budget")
            return -1.0
        parts.count_retry("started")
        return wait

    async def _pause(self, call: Call, wait: float) -> None:
        call.step = _STEP
        clock = self._parts.clock
        began_at = clock.now()
        try:
            while (left := began_at + wait - clock.now()) > 0:
                await clock.sleep(left)
        finally:
            call.backoff_s += clock.now() - began_at


def derived(key: bytes, number: int, key_max: int) -> bytes:
    """Give the key of sending `number` (from 2): the same one with another body would be refused by the vendor.

    It follows from the call's key alone, so an app that repeats the whole call repeats each sending of it.
    """
    made = b"%b-%d" % (key, number)
    return made if len(made) <= key_max else hashlib.sha256(made).hexdigest()[:key_max].encode()


def batch(rules: BatchRules, parts: BatchParts) -> Layer:
    """Send again what failed of a batch."""
    return lambda inner: BatchLayer(rules, parts, inner)
