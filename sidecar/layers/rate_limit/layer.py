"""Rate limit: the layer. Takes permits for an attempt, waits for them in line, and listens to what the answer tells."""

from collections.abc import Callable

from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import RateLimited
from sidecar.core.outcome import Outcome
from sidecar.layers.rate_limit.ear import Ear
from sidecar.layers.rate_limit.gauge import Gauge
from sidecar.layers.rate_limit.line import Line
from sidecar.layers.rate_limit.near import Near


class Place:
    """What an attempt holds of a gauge; given back at its last byte."""

    __slots__ = ("_clock", "_ear", "_entered_at", "_gauge")

    def __init__(self, gauge: Gauge, ear: Ear | None, clock: Clock, entered_at: float) -> None:
        self._gauge = gauge
        self._ear = ear
        self._clock = clock
        self._entered_at = entered_at

    def end(self, outcome: Outcome) -> None:  # noqa: ARG002 - the signature of an ending
        """Give the place back, and have those in line look."""
        now = self._clock.now()
        self._gauge.leave(self._entered_at, now)
        if self._ear is not None:
            self._ear.changed(now, is_closed=False)


class RateLimitLayer:
    """Holds the attempts of one route to the limits of its section, and to the vendor's word."""

    __slots__ = (
        "_announced", "_clock", "_cost", "_count_wait", "_ear", "_inner", "_limiter", "_line", "_listened", "_near",
    )  # fmt: skip

    def __init__(
        self,
        line: Line,
        near: Near,
        ear: Ear | None,
        listened: frozenset[int],
        cost: float,
        clock: Clock,
        count_wait: Callable[[float], None],
        inner: Handler,
    ) -> None:
        self._line = line
        self._limiter = line.limiter
        self._announced = line.limiter.announced
        self._near = near
        self._ear = ear
        self._listened = listened
        self._cost = cost
        self._clock = clock
        self._count_wait = count_wait
        self._inner = inner

    async def __call__(self, call: Call) -> Reply:
        """Send an attempt as soon as its permits are there. Raises RateLimited when that is too late."""
        announced = self._announced
        cost = self._cost
        sent_at = self._clock.now()
        resource = "" if announced.is_silent else announced.resources.find(call.route, call.target)
        if self._line.count == 0 and self._limiter.may_take(sent_at, cost, resource):
            number = announced.sequence
        else:
            asked_at = sent_at
            call.step = "waiting for a permit"
            try:
                waiter = await self._line.enter(cost, resource, call.deadline_at)
            except BaseException as error:
                call.waited_rate_s += self._clock.now() - asked_at
                if isinstance(error, RateLimited) and asked_at >= self._near.look_at:
                    self._look()  # Nothing is answered any more once a limit is used up.
                raise
            sent_at = waiter.sent_at
            number = waiter.number
            call.waited_rate_s += sent_at - asked_at
            self._count_wait(sent_at - asked_at)
        gauge = announced.gauge
        if gauge is not None and announced.holds_place(number):
            call.on_end(Place(gauge, self._ear, self._clock, sent_at).end)
        tried = len(call.attempts)
        try:
            reply = await self._inner(call)
        except BaseException:
            self._failed(call, tried, number, sent_at, resource)
            raise
        now = self._clock.now()
        if announced.is_silent:
            announced.in_flight -= cost
        else:
            self._answered(number, sent_at, resource, now)
        ear = self._ear
        status = reply.status
        if ear is not None and (status in self._listened or (reply.notable is not None and ear.is_due(status, now))):
            body = await ear.start_of(call, reply) if ear.needs_body(reply) else None
            ear.listen(call, reply, body, sent_at, number, cost)
        if sent_at >= self._near.look_at:
            self._look()
        return reply

    def _answered(self, number: float, sent_at: float, resource: str, now: float) -> None:
        self._announced.done(number, sent_at, self._cost, resource, now)
        if self._line.count:
            self._line.drain(now)  # Who waited for an answer sees that it told nothing.

    def _failed(self, call: Call, tried: int, number: float, sent_at: float, resource: str) -> None:
        """Give the permits back when nothing was sent; what may have been sent stays spent."""
        now = self._clock.now()
        self._announced.done(number, sent_at, self._cost, resource, now)
        if not any(record.request_head for record in call.attempts[tried:]):
            self._limiter.give_back(number, sent_at, self._cost, resource, now)
        if self._line.count:
            self._line.drain(now)

    def _look(self) -> None:
        now = self._clock.now()
        near = self._near.look(self._limiter.ratios(now), now)
        if near and self._ear is not None:
            self._ear.tell_near(near)


def rate_limit(
    line: Line,
    near: Near,
    ear: Ear | None,
    listened: frozenset[int],
    cost: float,
    clock: Clock,
    count_wait: Callable[[float], None],
) -> Layer:
    """Hold attempts to the limits of `line`; `ear` (None: no hints) reads answers that tell or are `listened` to."""

    def around(inner: Handler) -> Handler:
        return RateLimitLayer(line, near, ear, listened, cost, clock, count_wait, inner)

    return around
