"""Line: those who wait for a permit, in order of arrival, with one timer for all of them."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from sidecar.core.advice import Advice
from sidecar.core.alarm import NEVER, Alarm
from sidecar.core.clock import Clock
from sidecar.core.errors import RateLimited
from sidecar.layers.rate_limit.limiter import Limiter

ROUNDING_S: Final = 1e-6  # Two sums of the same lengths differ by less.


class Waiter:
    """One attempt in line; then, with its permits, the proof of them."""

    __slots__ = ("cost", "future", "is_in_line", "latest_at", "number", "order", "resource", "sent_at")

    def __init__(self, cost: float, resource: str, latest_at: float) -> None:
        self.cost = cost
        self.resource = resource
        self.latest_at = latest_at  # Nobody waits longer.
        self.order = 0
        self.is_in_line = False
        self.future: asyncio.Future[None] | None = None
        self.sent_at = 0.0  # When the permits were taken.
        self.number = 0.0


class Line:
    """Hands the permits of a limiter out, first come, first served.

    A resource of the vendor's that is closed holds back its own calls only; for what all calls share nobody overtakes.
    """

    __slots__ = ("_alarm", "_arrived", "_clock", "_costs", "_earliest_at", "_lines", "_wait_max", "_waiting_max",
                 "count", "heard", "is_held", "is_retired", "limiter")  # fmt: skip

    def __init__(self, limiter: Limiter, clock: Clock, wait_max: float, waiting_max: int) -> None:
        self.limiter = limiter
        self.count = 0  # Of those who wait.
        self.heard: Callable[[Advice, float], None] | None = None  # Tells the fleet what the vendor told.
        self.is_retired = False  # A newer generation has another; who waits here goes all the same.
        self.is_held = False  # The first waits for what all calls share.
        self._clock = clock
        self._wait_max = wait_max
        self._waiting_max = waiting_max  # Full: refused at once.
        self._lines: dict[str, deque[Waiter]] = {}  # By resource; one that is empty is not there.
        self._costs = 0.0  # Permits that those in line ask for.
        self._arrived = 0
        self._earliest_at = NEVER  # Somebody's `latest_at` may be this early, none is earlier.
        self._alarm = Alarm(clock, self._ring)

    async def enter(self, cost: float, resource: str, deadline_at: float) -> Waiter:
        """Wait for permits, and take them. Raises RateLimited at once when the wait would be too long."""
        now = self._clock.now()
        waiter = Waiter(cost, resource, min(now + self._wait_max, deadline_at))
        if self.count:
            self.drain(now)
        if not self.is_held and resource not in self._lines and self._grant(waiter, now):
            return waiter
        wait = self.limiter.predict(now, cost, self._costs, resource)
        if self.count >= self._waiting_max:
            raise self._refusal(waiter, now, wait, f"and {self.count} wait already (rate_limit.waiting_max)")
        if now + wait > waiter.latest_at + ROUNDING_S:
            raise self._refusal(waiter, now, wait, self._why_not(waiter, now))
        self._append(waiter)
        self.drain(now)  # Sets the alarm; and whoever could go did not get here.
        try:
            assert waiter.future is not None
            await waiter.future
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        return waiter

    def drain(self, now: float) -> None:
        """Let go who may go, and see when the next may."""
        held: set[str] = set()
        due_at = NEVER
        self.is_held = False
        while (waiter := self._first(held)) is not None:
            if self._grant(waiter, now):
                self._remove(waiter)
                if waiter.future is not None and not waiter.future.done():
                    waiter.future.set_result(None)
                continue
            wait = self.limiter.wait(now, waiter.cost, 0.0, waiter.resource)
            if now + wait > waiter.latest_at + ROUNDING_S:
                self._refuse(waiter, now, wait)
                continue
            due_at = min(due_at, now + wait)
            if self.limiter.own_wait(now, waiter.cost, 0.0):
                self.is_held = True
                break
            held.add(waiter.resource)
        if self.count:
            self._alarm.set(min(due_at, self._earliest_at))
        else:
            self._earliest_at = NEVER
            self._alarm.clear()

    def review(self, now: float) -> None:
        """Refuse those who cannot make it any more, after the vendor closed; then as `drain`."""
        ahead = 0.0
        earliest_at = NEVER
        for waiter in sorted((waiter for line in self._lines.values() for waiter in line), key=_order):
            wait = self.limiter.predict(now, waiter.cost, ahead, waiter.resource)
            if now + wait > waiter.latest_at + ROUNDING_S:
                self._refuse(waiter, now, wait)
            else:
                ahead += waiter.cost
                earliest_at = min(earliest_at, waiter.latest_at)
        self._earliest_at = earliest_at
        self.drain(now)

    @property
    def costs(self) -> float:
        """Permits that those in line ask for."""
        return self._costs

    def stop(self) -> None:
        """Take the timer down: whoever waits still is let go by what changes, or gives up."""
        self._alarm.stop()

    def snapshot(self) -> dict[str, Any]:
        """Show it for people."""
        return {"waiting": self.count, "waiting_max": self._waiting_max}

    def _ring(self) -> None:
        now = self._clock.now()
        self.drain(now)
        if now >= self._earliest_at:
            self._expire(now)

    def _expire(self, now: float) -> None:
        """Refuse those whose time is up though it had looked as if they could make it."""
        waiters = [waiter for line in self._lines.values() for waiter in line]
        for waiter in waiters:
            if waiter.latest_at <= now:
                wait = self.limiter.wait(now, waiter.cost, 0.0, waiter.resource)
                self._refuse(waiter, now, wait)
        self._earliest_at = min((waiter.latest_at for waiter in waiters if waiter.is_in_line), default=NEVER)
        self.drain(now)

    def _grant(self, waiter: Waiter, now: float) -> bool:
        """Take the permits for one, if they are there."""
        if not self.limiter.may_take(now, waiter.cost, waiter.resource):
            return False
        waiter.sent_at = now
        waiter.number = self.limiter.announced.sequence
        return True

    def _first(self, held: set[str]) -> Waiter | None:
        """Give the one who came first, of the resources that are not held back."""
        first: Waiter | None = None
        for resource, line in self._lines.items():
            if resource not in held and (first is None or line[0].order < first.order):
                first = line[0]
        return first

    def _append(self, waiter: Waiter) -> None:
        waiter.future = asyncio.get_running_loop().create_future()
        waiter.order = self._arrived
        self._arrived += 1
        self._lines.setdefault(waiter.resource, deque()).append(waiter)
        waiter.is_in_line = True
        self.count += 1
        self._costs += waiter.cost
        self._earliest_at = min(self._earliest_at, waiter.latest_at)
        assert self.count <= self._waiting_max

    def _remove(self, waiter: Waiter) -> None:
        line = self._lines[waiter.resource]
        line.remove(waiter)
        waiter.is_in_line = False
        if not line:
            del self._lines[waiter.resource]
        self.count -= 1
        self._costs = self._costs - waiter.cost if self.count else 0.0
        assert self.count >= 0

    def _leave(self, waiter: Waiter) -> None:
        """Take one who gave up out of the line; had it been let go in the same moment, its permits go back."""
        now = self._clock.now()
        if waiter.number:
            announced = self.limiter.announced
            if announced.gauge is not None and announced.holds_place(waiter.number):
                announced.gauge.leave(waiter.sent_at, now)
            announced.done(waiter.number, waiter.sent_at, waiter.cost, waiter.resource, now)
            self.limiter.give_back(waiter.number, waiter.sent_at, waiter.cost, waiter.resource, now)
        elif waiter.is_in_line:
            self._remove(waiter)
        elif waiter.future is not None and not waiter.future.cancelled():
            waiter.future.exception()  # It was refused in the same moment; nobody is left to hear it.
        self.drain(now)

    def _refuse(self, waiter: Waiter, now: float, wait: float) -> None:
        self._remove(waiter)
        if waiter.future is not None and not waiter.future.done():
            waiter.future.set_exception(self._refusal(waiter, now, wait, self._why_not(waiter, now)))

    def _refusal(self, waiter: Waiter, now: float, wait: float, why_not: str) -> RateLimited:
        self.limiter.refuse(waiter.cost)
        limit = self.limiter.why(now, waiter.cost, self._costs, waiter.resource)
        return RateLimited(f"{limit} is reached; a permit is free in {wait:.2f} s, {why_not}", retry_after=wait)

    def _why_not(self, waiter: Waiter, now: float) -> str:
        left = max(0.0, waiter.latest_at - now)
        return f"and the call may wait {left:.2f} s for it at most (rate_limit.wait_max, its deadline)"


def _order(waiter: Waiter) -> int:
    return waiter.order
