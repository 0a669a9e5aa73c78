"""World: an event loop whose time is simulated: it jumps to the next timer, so a minute takes as long as its work."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

WALL_AHEAD = 1_767_225_600.0 - 1000.0  # Unix seconds at the loop's zero.

LATE_S = 1e-5  # The loop runs timers up to its resolution too early; a clock never does.


class _Jump(selectors.SelectSelector):
    """Does not wait for sockets: it moves the time by as long as it was asked to wait."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Jump."""
        assert timeout is not None, "everything waits, and nothing is due"
        self._world.moved += max(0.0, timeout)
        return super().select(0)


class World(asyncio.SelectorEventLoop):
    """The loop, and a `Clock` that reads its time."""

    def __init__(self) -> None:
        self.moved = 1000.0  # Not zero, so that an instant mistaken for a length shows.
        super().__init__(_Jump(self))

    def time(self) -> float:
        """Simulated monotonic seconds."""
        return self.moved


class WorldClock:
    """The `Clock` of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> float:
        """Monotonic seconds."""
        return self._world.moved

    def wall(self) -> float:
        """Unix seconds."""
        return self._world.moved + WALL_AHEAD

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await wait_until(self._world, self._world.moved + seconds)

    def call_at(self, at: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run `callback` at `at`."""
        return self._world.call_at(at + LATE_S, callback)

    def timeout_at(self, at: float) -> AbstractAsyncContextManager[Any]:
        """Bound a block."""
        return asyncio.timeout_at(at)


async def wait_until(world: World, at: float) -> None:
    """Wait until an instant of the world."""
    woken: asyncio.Future[None] = world.create_future()
    world.call_at(at, _wake, woken)
    await woken


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def run(make: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run a story in a world of its own."""
    world = World()
    try:
        world.run_until_complete(make(world))
    finally:
        world.close()
