"""The circuit breaker around each attempt: refuses what the machine refuses, and judges what comes back."""

from sidecar.core.body import Body
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import CircuitOpen, DeadlineExceeded, SidecarError
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.layers.circuit_breaker.breaker import REFUSED, Breaker
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig

_SERVER_ERROR_FROM = 500
_TOO_MANY = 429
_OFTEN = 0.95  # Share of the last answers.


def circuit_breaker(config: CircuitBreakerConfig, breaker: Breaker, recent: Recent, clock: Clock) -> Layer:
    """Keep attempts from a vendor that is down; `recent` has the lengths of the answered ones."""
    return lambda inner: CircuitBreakerLayer(config, breaker, recent, clock, inner)


class CircuitBreakerLayer:
    """The shell of one route; routes of one service may share the machine."""

    __slots__ = ("_breaker", "_clock", "_inner", "_is_slowness_judged", "_recent", "_slow_after", "_statuses")

    def __init__(
        self, config: CircuitBreakerConfig, breaker: Breaker, recent: Recent, clock: Clock, inner: Handler
    ) -> None:
        self._breaker = breaker
        self._recent = recent
        self._clock = clock
        self._inner = inner
        self._statuses = config.statuses
        self._is_slowness_judged = config.slow_after is not None
        self._slow_after = 0.0 if config.slow_after is None else float(config.slow_after)

    async def __call__(self, call: Call) -> Reply:
        """Send one attempt, if the circuit lets it. Raises CircuitOpen, and what is raised within."""
        breaker, clock = self._breaker, self._clock
        admitted_at = clock.now()
        ticket = breaker.admit(admitted_at)
        if ticket == REFUSED:
            raise self._refusal(call, admitted_at)
        waited_s = call.waited_rate_s + call.waited_slot_s
        try:
            reply = await self._inner(call)
        except SidecarError as error:
            now = clock.now()
            ours_s = call.waited_rate_s + call.waited_slot_s - waited_s
            took_s = now - admitted_at - ours_s
            if error.blames_vendor and not self._is_time_ours(error, call, ours_s, took_s):
                breaker.record(ticket, now, is_failure=True, is_slow=self._is_slow(took_s))
            breaker.leave(ticket)
            raise
        except BaseException:
            # The app hung up, or a fault of ours: no verdict.
            breaker.leave(ticket)
            raise
        now = clock.now()
        is_failure = reply.status in self._statuses and not _is_throttled(reply)
        ours_s = call.waited_rate_s + call.waited_slot_s - waited_s
        is_slow = self._is_slow(now - admitted_at - ours_s)
        breaker.record(ticket, now, is_failure=is_failure, is_slow=is_slow)
        if reply.body.is_complete:
            breaker.leave(ticket)
        else:
            call.on_end(_Rest(breaker, clock, ticket, reply.body, now, is_failure, is_slow).end)
        return reply

    def _is_slow(self, took_s: float) -> bool:
        """Judge the time to the answer's head, or to the failure, without what was spent in lines of ours."""
        return self._is_slowness_judged and took_s > self._slow_after

    def _is_time_ours(self, error: SidecarError, call: Call, ours_s: float, took_s: float) -> bool:
        """Whether a time that ran out was none in which the vendor could have answered.

        Lines of ours left it less than half; or an impatient app (Sidecar-Timeout) less than an answer often takes.
        """
        if not isinstance(error, DeadlineExceeded):
            return False
        if ours_s > took_s:
            return True
        often = self._recent.quantile(_OFTEN) if call.timeout_asked is not None else None
        return often is not None and took_s < often

    def _refusal(self, call: Call, now: float) -> CircuitOpen:
        breaker = self._breaker
        wait = breaker.next_probe_in(now)
        if wait is None:
            return CircuitOpen(f"an operator opened the circuit of {call.service}, until it is set to auto")
        return CircuitOpen(
            f"{call.service} is not asked now: {breaker.why}; the next probe may go in {wait:.1f} s", retry_after=wait
        )


def _is_throttled(reply: Reply) -> bool:
    """Whether the vendor said "slow down" in a way that does not mean that it is broken; 429 is what the set says."""
    advice = reply.advice
    if advice is None or not advice.is_throttled:
        return False
    return reply.status < _SERVER_ERROR_FROM and reply.status != _TOO_MANY


class _Rest:
    """An answer whose body is still on its way: its last byte ends the probe, and may amend the verdict."""

    __slots__ = ("_body", "_breaker", "_clock", "_is_failure", "_is_slow", "_recorded_at", "_ticket")

    def __init__(
        self,
        breaker: Breaker,
        clock: Clock,
        ticket: int,
        body: Body,
        recorded_at: float,
        is_failure: bool,  # noqa: FBT001
        is_slow: bool,  # noqa: FBT001
    ) -> None:
        self._breaker = breaker
        self._clock = clock
        self._ticket = ticket
        self._body = body
        self._recorded_at = recorded_at
        self._is_failure = is_failure
        self._is_slow = is_slow

    def end(self, outcome: Outcome) -> None:  # noqa: ARG002 - the signature of an ending
        """Judge anew if the vendor broke off, and give the probe's place back."""
        breaker = self._breaker
        error = self._body.failure
        if not self._is_failure and isinstance(error, SidecarError) and error.blames_vendor:
            breaker.amend(self._ticket, self._recorded_at, self._clock.now(), is_slow=self._is_slow)
        breaker.leave(self._ticket)
