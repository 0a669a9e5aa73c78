"""ManualClock: time for tests, which moves only when it is told to."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

# How often the loop turns between two timers, so that what a timer woke comes to rest. A turn carries a result over
# one await; no chain of ours is near this long.
TURNS = 50

FIRED_MAX = 100_000  # In one advance. More: something re-arms itself without end, and the test is failed.

# A sum of decimal fractions misses its whole by less than this, so 0.49 + 0.01 reaches what is due after 0.5.
SLACK = 1e-9


async def settle(turns: int = TURNS) -> None:
    """Let the loop run what is ready. Sockets and threads take real time: wait for an event of theirs instead."""
    for _ in range(turns):
        await asyncio.sleep(0)  # noqa: TID251  # Zero seconds: one turn of the loop, no time passes.


class ManualTimer:
    """A callback that is due at `at`."""

    __slots__ = ("_callback", "at", "is_over")

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.is_over = False  # It ran, or was cancelled.
        self._callback = callback

    def cancel(self) -> None:
        """Forget the callback."""
        self.is_over = True

    def fire(self) -> None:
        """Run the callback, unless it is over."""
        if not self.is_over:
            self.is_over = True
            self._callback()


class ManualClock:
    """A `Clock` that stands still until `advance` or `tick`.

    It does not start at zero, so that an instant mistaken for a length shows. What is due at or before now runs on
    the next turn of the loop, as it would with a real clock.
    """

    def __init__(self, at: float = 1000.0, wall_at: float = 1_767_225_600.0) -> None:
        self._now = at
        self._wall_ahead = wall_at - at
        self._order = count()  # Timers of one instant fire in the order in which they were set.
        self._timers: list[tuple[float, int, ManualTimer]] = []

    # The protocol.

    def now(self) -> float:
        """Monotonic seconds."""
        return self._now

    def wall(self) -> float:
        """Unix seconds; 2026-01-01T00:00:00Z at the start."""
        return self._now + self._wall_ahead

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved by `seconds`."""
        if seconds <= 0:
            await settle(1)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_at(self._now + seconds, wake)
        try:
            await woken
        finally:
            timer.cancel()

    def call_at(self, at: float, callback: Callable[[], None]) -> ManualTimer:
        """Run `callback` when the clock reaches `at`."""
        timer = ManualTimer(at, callback)
        heapq.heappush(self._timers, (at, next(self._order), timer))
        if at <= self._now and (loop := _running_loop()) is not None:
            loop.call_soon(timer.fire)
        return timer

    @asynccontextmanager
    async def timeout_at(self, at: float) -> AsyncIterator[asyncio.Timeout]:
        """Raise `TimeoutError` out of the block when the clock passes `at`."""
        async with asyncio.timeout(None) as scope:
            timer = self.call_at(at, lambda: scope.reschedule(0.0))
            try:
                yield scope
            finally:
                timer.cancel()

    # The test's side.

    async def advance(self, seconds: float) -> None:
        """Move by `seconds`: each timer fires at its instant, in order, and what it woke comes to rest before the next.

        A timer or sleep that begins on the way, and ends on the way, is served too.
        """
        assert seconds >= 0, "time does not go back"
        await settle()
        end_at = self._now + seconds
        fired = 0
        while self._fire_next(end_at):
            await settle()
            fired += 1
            assert fired <= FIRED_MAX, "a timer re-arms itself without end"
        self._now = max(self._now, end_at)
        await settle()

    async def leap(self, seconds: float) -> None:
        """Move by `seconds` at once, as a machine does that slept: what was due on the way fires once, and late."""
        assert seconds >= 0, "time does not go back"
        await settle()
        self._now += seconds
        await self.advance(0.0)

    def tick(self, seconds: float) -> None:
        """Move by `seconds` and fire what is due, without a loop: for what has timers but no coroutines."""
        assert seconds >= 0, "time does not go back"
        end_at = self._now + seconds
        fired = 0
        while self._fire_next(end_at):
            fired += 1
            assert fired <= FIRED_MAX, "a timer re-arms itself without end"
        self._now = max(self._now, end_at)

    @property
    def next_at(self) -> float | None:
        """The instant of the next timer; None when nothing waits for time."""
        self._forget_what_is_over()
        return self._timers[0][0] if self._timers else None

    @property
    def pending(self) -> int:
        """How many timers and sleepers wait for time."""
        return sum(not timer.is_over for _, _, timer in self._timers)

    def _fire_next(self, end_at: float) -> bool:
        next_at = self.next_at
        if next_at is None or next_at > end_at + SLACK:
            return False
        _, _, timer = heapq.heappop(self._timers)
        self._now = max(self._now, next_at)
        timer.fire()
        return True

    def _forget_what_is_over(self) -> None:
        while self._timers and self._timers[0][2].is_over:
            heapq.heappop(self._timers)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
