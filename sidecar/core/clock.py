"""Time: machines take `now`; shells take a `Clock`, so that tests can move it by hand."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Timer(Protocol):
    """A callback that is due; it may be cancelled until it ran."""

    def cancel(self) -> None:
        """Forget the callback; harmless when it already ran."""


class Clock(Protocol):
    """Where shells get time from; `SystemClock` in production, a `ManualClock` in tests."""

    def now(self) -> float:
        """Monotonic seconds: for deadlines and lengths."""

    def wall(self) -> float:
        """Unix seconds: for people, logs and dates from vendors."""

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""

    def call_at(self, at: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` at the monotonic instant `at`, never before it."""

    def timeout_at(self, at: float) -> AbstractAsyncContextManager[Any]:
        """Raise `TimeoutError` out of the block when the instant `at` passes."""


class SystemClock:
    """The machine's own clocks.

    `loop.time()` lags behind under uvloop (it is read once per turn of the loop), so `now` reads the clock itself
    and `call_at` converts by the difference of the two; a timer of uvloop's has whole milliseconds, so it is
    rounded up.
    """

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sleep = staticmethod(asyncio.sleep)

    def call_at(self, at: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` at `at`; up to 2 ms late, not early."""
        return asyncio.get_running_loop().call_later(max(0.0, at - time.monotonic()) + 0.001, callback)

    def timeout_at(self, at: float) -> AbstractAsyncContextManager[Any]:
        """Bound a block on a cold path; it costs 4 to 6 µs, so the hot path uses an `Alarm` instead."""
        return asyncio.timeout(max(0.0, at - time.monotonic()))
