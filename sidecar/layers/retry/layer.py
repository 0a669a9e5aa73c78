"""Retry: makes the attempts of a call, one after the other; each is a child call that ends before the next begins."""

from collections.abc import Callable

from sidecar.core.body import NO_BODY
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import SidecarError
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.layers.retry.backoff import backoff, told
from sidecar.layers.retry.budget import Budget
from sidecar.layers.retry.replay import Replay

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110 section 9.2.2; TRACE does not get here.
_FAILURE, _CANCELLED = Outcome.FAILURE, Outcome.CANCELLED

_REFUSAL_FROM = 400


class RetryRules:
    """What the layer needs of `retry`'s section."""

    __slots__ = ("attempts_max", "backoff", "backoff_max", "replay_max", "statuses", "unprocessed")

    def __init__(
        self,
        attempts_max: int,
        backoff: float,
        backoff_max: float,
        statuses: frozenset[int],
        unprocessed: frozenset[int],
        replay_max: int,
    ) -> None:
        self.attempts_max = attempts_max
        self.backoff = backoff
        self.backoff_max = backoff_max
        self.statuses = statuses
        self.unprocessed = unprocessed
        self.replay_max = int(replay_max)  # A plain number of bytes for sentences, whatever type the config has.


class Retry:
    """The handler around the attempts of one route."""

    __slots__ = ("_budget", "_clock", "_count", "_inner", "_jitter", "_recent", "_rules")

    def __init__(
        self,
        rules: RetryRules,
        budget: Budget,
        recent: Recent,
        clock: Clock,
        jitter: Callable[[], float],
        count: Callable[[str], None],
        inner: Handler,
    ) -> None:
        self._rules = rules
        self._budget = budget
        self._recent = recent
        self._clock = clock
        self._jitter = jitter
        self._count = count  # Called with what became of a wish to try again: started, budget, deadline.
        self._inner = inner

    async def __call__(self, call: Call) -> Reply:
        """Answer with the first attempt that went well, or the last that was allowed."""
        self._budget.count(self._clock.now())
        replay = Replay(call.body, self._rules.replay_max) if self._may_keep(call) else None
        number = 1
        while True:
            attempt = call.attempt()
            if replay is not None:
                attempt.body = replay.fresh()
            try:
                reply = await self._inner(attempt)
            except SidecarError as error:
                call.discard(attempt, error.outcome)
                if not error.blames_vendor:
                    if number > 1:
                        _after_failure(error, number)
                    raise
                if error.is_final:
                    call.not_retried = "another attempt would end the same way, until this is repaired"
                    raise
                wait = self._wait(call, replay, number, None, is_unprocessed=error.is_unsent)
                if wait < 0:
                    raise
            except BaseException as error:
                call.discard(attempt, _FAILURE if isinstance(error, Exception) else _CANCELLED)
                raise
            else:
                if self._is_good(reply):
                    call.keep(attempt)
                    return reply
                wait = self._wait(call, replay, number, reply, is_unprocessed=reply.status in self._rules.unprocessed)
                if wait < 0:
                    call.keep(attempt)
                    return reply
                call.discard(attempt, _FAILURE)
            await self._pause(call, wait)
            number += 1

    def _may_keep(self, call: Call) -> bool:
        """Whether the body is kept; one that says it is longer is not even tried."""
        body = call.body
        return body is not NO_BODY and (body.length is None or body.length <= self._rules.replay_max)

    def _is_good(self, reply: Reply) -> bool:
        """Whether nothing about the answer asks for another attempt."""
        if reply.status in self._rules.statuses:
            return False
        advice = reply.advice
        if advice is None:
            return True
        return not (advice.is_throttled or (advice.should_retry is True and reply.status >= _REFUSAL_FROM))

    def _wait(
        self, call: Call, replay: Replay | None, number: int, reply: Reply | None, *, is_unprocessed: bool
    ) -> float:
        """Give the seconds until the next attempt, or -1 and the reason on the call why there is none."""
        call.not_retried = self._objection(call, replay, number, reply, is_unprocessed=is_unprocessed)
        if call.not_retried:
            return -1.0
        rules = self._rules
        advice = reply.advice if reply is not None else None
        if advice is not None and advice.retry_after is not None:
            wait = told(advice.retry_after, rules.backoff, self._jitter())
        else:
            wait = backoff(number, rules.backoff, rules.backoff_max, self._jitter())
        now = self._clock.now()
        usual = self._recent.quantile(0.5) or 0.0
        left = max(0.0, call.deadline_at - now)
        if wait + usual >= left:
            call.not_retried = (
                f"a wait of {wait:.3g} s and an attempt of usually {usual:.3g} s do not fit into the {left:.3g} s left"
            )
            self._count("deadline")
            return -1.0
        if not self._budget.spend(now):
            call.not_retried = "the service's retry budget is used up"
            self._count("budget")
            return -1.0
        self._count("started")
        return wait

    def _objection(
        self, call: Call, replay: Replay | None, number: int, reply: Reply | None, *, is_unprocessed: bool
    ) -> str:
        """Say what speaks against another attempt, whatever time there is; empty: nothing."""
        most = self._rules.attempts_max
        if call.attempts_max is not None and call.attempts_max < most:
            most = call.attempts_max
        if number >= most:
            return f"attempts_max = {most}" if most > 1 else "one attempt is all that is allowed"
        advice = reply.advice if reply is not None else None
        if advice is not None and advice.is_final:
            return "the vendor's answer says that another attempt would end the same way"
        if advice is not None and advice.should_retry is False:
            return "the vendor asks not to be tried again"
        if not is_unprocessed and not _is_repeatable(call):
            return f"{call.method} without an idempotency key might be done twice"
        if call.body.is_failed:
            return "the app broke off its request, so it cannot be sent again"
        if call.body is not NO_BODY and (replay is None or not replay.may_repeat):
            return f"the request's body is over replay_max = {self._rules.replay_max} bytes, so it was sent once only"
        return ""

    async def _pause(self, call: Call, wait: float) -> None:
        """Wait, and not a moment less."""
        call.step = "waiting to try again"
        clock = self._clock
        began_at = clock.now()
        due_at = began_at + wait
        try:
            while (left := due_at - clock.now()) > 0:
                await clock.sleep(left)
        finally:
            call.backoff_s += clock.now() - began_at


def _is_repeatable(call: Call) -> bool:
    """Whether doing it twice is as good as once."""
    return call.method in IDEMPOTENT or call.idempotency_key is not None or call.is_read


def _after_failure(error: SidecarError, number: int) -> None:
    """Say in a refusal of our own that the call was sent before, and failed."""
    error.outcome = _FAILURE
    error.detail = f"attempt {number - 1} failed, and the next was refused: {error.detail}"


def retry(
    rules: RetryRules,
    budget: Budget,
    recent: Recent,
    clock: Clock,
    jitter: Callable[[], float],
    count: Callable[[str], None],
) -> Layer:
    """Try again what failed, where that is safe and there is time."""
    return lambda inner: Retry(rules, budget, recent, clock, jitter, count, inner)
