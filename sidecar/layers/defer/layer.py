"""Defer: a call that may happen later becomes a job, before the vendor is asked, or after it could not be had.

It stands outside of what shapes the call, so a job is the call as the app made it, and its turn passes all layers as
the call would have: access rules, headers and credentials are those of that moment. What is in the store is the app's
request without any credential.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from sidecar.core import query
from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import BadRequest, BodyTooLarge, DeadlineExceeded, SidecarError
from sidecar.core.outcome import Outcome
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.defer.when import is_refusal, is_unavailable, may_repeat, objection
from sidecar.layers.retry.replay import Replay

_STEP = "receiving the request's body for a job"


class Submit(Protocol):
    """Makes jobs of calls; handed over by the queue."""

    async def __call__(
        self, line: str, config: QueueConfig, call: Call, body: bytes, why: str, wait: float | None
    ) -> Reply:
        """Store the job, and answer 202. Raises QueueFull, StoreUnavailable, IdempotencyMismatch.

        `wait`: None where its first turn may come at once; else the seconds that it has to wait at least, since the
        vendor could not be had just now.
        """


# Gives the idempotency key under which a call goes to the vendor, however often: the app's, wherever it stands, or a
# made one; None where none is due, or none can be put. Raises BadRequest for one that the vendor would not take.
GiveKey = Callable[[Call], Awaitable[bytes | None]]


class Replaced(NamedTuple):
    """Where the service's own credential stands: what the app has there is replaced in each turn."""

    header: bytes = b""  # A lower-case name.
    parameter: bytes = b""  # Of the query, as it is written there.


class Defer:
    """The handler before the calls of one route."""

    __slots__ = (
        "_body_max", "_clock", "_config", "_forward", "_give_key", "_inner", "_is_asked", "_line", "_replaced",
        "_statuses", "_submit", "_when",
    )  # fmt: skip

    def __init__(
        self,
        config: QueueConfig,
        line: str,
        statuses: frozenset[int],
        forward: frozenset[str],
        replaced: "Replaced",
        give_key: GiveKey | None,
        submit: Submit,
        clock: Clock,
        inner: Handler,
    ) -> None:
        self._config = config
        self._when = config.when
        self._is_asked = config.when == "asked"
        self._body_max = int(config.body_max)
        self._line = line
        self._statuses = statuses  # After which the vendor is tried again.
        self._forward = forward
        self._replaced = replaced
        self._give_key = give_key  # Where the vendor knows keys.
        self._submit = submit
        self._clock = clock
        self._inner = inner

    def __call__(self, call: Call) -> Awaitable[Reply]:
        """Pass the call on, which costs no frame of its own, or make it a job."""
        if call.job or (self._is_asked and not call.prefers_async):  # Its turn; or nobody asked.
            return self._inner(call)
        return self._defer(call)

    async def _defer(self, call: Call) -> Reply:
        wants_job = call.prefers_async or self._when == "always"
        why_not = objection(call, self._forward, self._replaced.header)
        if why_not:
            if self._when == "always":
                raise BadRequest(f"calls of this route are made later, and this one cannot be: {why_not}")
            return await self._inner(call)
        if self._give_key is not None:  # Here, so that every turn has the same.
            call.idempotency_key = await self._give_key(call)
        if wants_job:
            return await self._now(call)
        return await self._after(call)

    async def _now(self, call: Call) -> Reply:
        """Make it a job before anybody is asked."""
        body = call.body
        if body.length is not None and body.length > self._body_max:
            raise self._too_large()
        content = await self._whole(call, body)
        bare(call, self._replaced)
        return await self._submit(self._line, self._config, call, content, "asked", None)

    async def _after(self, call: Call) -> Reply:
        """Make it a job if the vendor cannot be had; what was sent to the app or done once is not repeated."""
        source, headers, mark = call.body, call.headers, call.mark()
        target = call.target
        replay = None
        if source is not NO_BODY and (source.length is None or source.length <= self._body_max):
            replay = Replay(source, self._body_max)
            call.body = replay.fresh()
        error: SidecarError | None = None
        reply: Reply | None = None
        try:
            reply = await self._inner(call)
        except SidecarError as failed:
            error = failed
        if reply is not None and not is_refusal(reply, self._statuses):
            return reply
        is_later = error is None or is_unavailable(error)
        is_whole = source is NO_BODY or (replay is not None and replay.may_repeat)
        if not (is_later and is_whole and may_repeat(call, error)):
            if error is not None:
                raise error
            assert reply is not None
            return reply
        advice = None if reply is None else reply.advice
        wait = (error.retry_after if error is not None else advice and advice.retry_after) or 0.0
        failure = error.code if error is not None else str(reply.status if reply is not None else 0)
        try:
            content = b"" if replay is None else await self._whole(call, replay.fresh())
            call.headers, call.target = headers, target
            bare(call, self._replaced)
            accepted = await self._submit(self._line, self._config, call, content, failure, wait)
        except SidecarError:
            # There is no room for the job, or the app is slow: what the vendor said is the better answer.
            if error is not None:
                raise error from None
            assert reply is not None
            return reply
        call.end_since(mark, Outcome.FAILURE)  # The answer that is not given to the app.
        return accepted

    async def _whole(self, call: Call, body: Body) -> bytes:
        """Give the whole body. Raises BodyTooLarge, DeadlineExceeded, and what the app's side failed with."""
        content = body.take_all()
        if content is None:
            call.step = _STEP
            pieces, size = [], 0
            try:
                async with self._clock.timeout_at(call.deadline_at):
                    while piece := await body.read():
                        pieces.append(piece)
                        size += len(piece)
                        if size > self._body_max:
                            raise self._too_large()
            except TimeoutError:
                raise DeadlineExceeded(f"the call's time is used up; the step was: {_STEP}", is_ours=True) from None
            content = b"".join(pieces)
        if len(content) > self._body_max:
            raise self._too_large()
        return content

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"a job's body is at most {self._body_max} bytes (queue.body_max)")


def bare(call: Call, replaced: Replaced) -> None:
    """Take off what the app put where the service's credential goes: it is not the vendor's, and not stored."""
    if replaced.header:
        call.headers = [field for field in call.headers if field[0].lower() != replaced.header]
    if replaced.parameter:
        call.target = query.without(call.target, replaced.parameter)


def defer(
    config: QueueConfig,
    line: str,
    statuses: frozenset[int],
    forward: frozenset[str],
    replaced: Replaced,
    give_key: GiveKey | None,
    submit: Submit,
    clock: Clock,
) -> Layer:
    """Have calls become jobs in `line`; `statuses` are the answers after which a vendor is tried again."""
    return lambda inner: Defer(config, line, statuses, forward, replaced, give_key, submit, clock, inner)
