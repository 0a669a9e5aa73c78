"""Ear: reads what the vendor's answers tell, teaches it to the limiter, and writes what people should know of it."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from sidecar.core.advice import Advice
from sidecar.core.body import Headers
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.line import Line

CALM_S: Final = 0.005  # While there is plenty, answers are read so often at most ...
PLENTY: Final = 0.5  # ... where plenty is this share of a limit, ...
PLENTY_MIN: Final = 1000.0  # ... and so many calls, which nobody makes in that time.
_REFUSAL_FROM: Final = 400
AHEAD_MAX_S: Final = 1.0  # For a body that may hold a hint. Longer: it is passed on unread, as it comes.
DOUBT_EVERY_S: Final = 60.0  # A line about hints that were not believed, at most so often.


class Interpreter(Protocol):
    """Knows a vendor's dialect: upstream/hints."""

    def needs_body(self, status: int, headers: Headers | None = None) -> bool:
        """Whether such an answer tells something in its body."""

    def read(
        self, status: int, notable: Headers | None, headers: Headers, body: bytes | None, wall: float
    ) -> Advice | None:
        """Give what an answer tells, or None."""


class Ear:
    """Listens for one service; all its routes share one, with the `Announced` behind it.

    `tell(level, msg, **fields)` writes a line; `count_throttled` and `count_ignored` count one each.
    """

    def __init__(
        self,
        service: str,
        interpreter: Interpreter,
        announced: Announced,
        clock: Clock,
        *,
        is_heeded: bool = True,
        body_max: int,
        tell: Callable[..., None],
        count_throttled: Callable[[], None],
        count_ignored: Callable[[], None],
    ) -> None:
        self._service = service
        self._interpreter = interpreter
        self._announced = announced
        self._clock = clock
        self._is_heeded = is_heeded  # False: answers are read for `retry` only, and limit nothing.
        self._body_max = body_max  # Bytes of an answer's body that are read for the sake of a hint.
        self._tell = tell
        self._count_throttled = count_throttled
        self._count_ignored = count_ignored
        self._doubted_at: float | None = None
        self._calm_until = 0.0
        self._lines: list[Line] = []  # As many as there are sections; each is drained when something changed.

    def add(self, line: Line) -> None:
        """Have a line hear what changes."""
        self._lines = [known for known in self._lines if known.count or not known.is_retired]
        if line not in self._lines:
            self._lines.append(line)

    def is_due(self, status: int, now: float) -> bool:
        """Whether an answer is worth a look: of many good ones that tell of plenty, one now and then is enough."""
        return now >= self._calm_until or status >= _REFUSAL_FROM

    def needs_body(self, reply: Reply) -> bool:
        """Whether an answer tells something in its body."""
        return self._interpreter.needs_body(reply.status, reply.headers)

    async def start_of(self, call: Call, reply: Reply) -> bytes | None:
        """Give the first bytes of a body; None when they do not come in time: no hint delays a call for long."""
        began_at = self._clock.now()
        try:
            async with self._clock.timeout_at(min(call.deadline_at, began_at + AHEAD_MAX_S)):
                return await reply.body.ahead(self._body_max)
        except TimeoutError:
            return None
        finally:
            call.upstream_s += self._clock.now() - began_at

    def listen(self, call: Call, reply: Reply, body: bytes | None, sent_at: float, number: float, cost: float) -> None:
        """Read an answer, after the attempt's `done`."""
        status = reply.status
        advice = self._interpreter.read(status, reply.notable, reply.headers, body, self._clock.wall())
        reply.advice = advice
        if advice is None or not self._is_heeded:
            return
        now = self._clock.now()
        closed_s = self._announced.hear(
            advice, sent_at=sent_at, number=number, cost=cost, route=call.route, target=call.target, now=now
        )
        self._calm_until = now + CALM_S if _tells_of_plenty(advice) else 0.0
        if not self._calm_until:
            for line in self._lines:
                if line.heard is not None:
                    line.heard(advice, closed_s)
        if closed_s > 0 or advice.is_throttled or advice.doubts:
            self._report(advice, closed_s, status, now)
        self.changed(now, is_closed=closed_s > 0)

    def changed(self, now: float, *, is_closed: bool) -> None:
        """Have those in line look again."""
        for line in self._lines:
            if line.count:
                if is_closed:
                    line.review(now)
                else:
                    line.drain(now)

    def _report(self, advice: Advice, closed_s: float, status: int, now: float) -> None:
        if advice.is_throttled:
            self._count_throttled()
        if closed_s > 0:
            self._tell(
                "warning", "rate_limited_by_vendor", service=self._service, status=status, seconds=round(closed_s, 3)
            )
        if advice.doubts:
            self._count_ignored()
            if self._doubted_at is None or now - self._doubted_at >= DOUBT_EVERY_S:
                self._doubted_at = now
                self._tell("warning", "hint_ignored", service=self._service, why=list(advice.doubts))

    def tell_near(self, windows: list[tuple[str, float]]) -> None:
        """Write that limits are nearly used up."""
        for window, ratio in windows:
            fields: dict[str, Any] = {"service": self._service, "window": window, "used_ratio": round(ratio, 3)}
            self._tell("warning", "rate_limit_near", **fields)


def _tells_of_plenty(advice: Advice) -> bool:
    """Whether so much is left of everything that nothing can run out within a moment."""
    if advice.is_throttled or advice.is_near or not advice.told:
        return False
    for told in advice.told:
        if told.remaining is None or told.limit is None or told.remaining < max(PLENTY_MIN, told.limit * PLENTY):
            return False
    return True
