"""A pod whose time moves only when the test says so; its sockets are real ones, and work between two moves.

async with Vendor.answering(down) as vendor, TimedPod(clock, tmp_path, vendor) as pod:
    reply = await pod.play(ask(pod))    # Time moves from timer to timer, until the answer is there.
    await pod.advance(30)
"""

import asyncio
import random
from collections.abc import Coroutine
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar
from unittest.mock import patch

import sidecar.app
from tests.kit.clock import ManualClock, settle
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor

T = TypeVar("T")

MOVES_MAX = 10_000  # In one play. More: what is waited for does not come by time.


class TimedPod(Pod):
    """A `Pod` on a clock that is moved by hand; chance draws `chance` each time.

    Its vendors are called by address, since the look-up of a name takes real time; it does not watch its files.
    """

    def __init__(self, clock: ManualClock, *args: Any, chance: float = 0.5, **options: Any) -> None:
        super().__init__(*args, **options)
        self.clock = clock
        self._chance = chance
        self._patches = ExitStack()

    def write_config(self) -> None:
        """Write the config file anew."""
        for vendor in self._vendors.values():
            if isinstance(vendor, Vendor):
                vendor._host = "127.0.0.1"
        super().write_config()

    async def __aenter__(self) -> Self:
        self._patches.enter_context(patch.object(sidecar.app, "WATCH_EVERY", 1e9))  # A timer less for each second.
        with (
            patch.object(sidecar.app, "SystemClock", lambda: self.clock),
            patch.object(random, "random", lambda: self._chance),
        ):
            return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self.play(super().__aexit__(kind, error, at))
        finally:
            self._patches.close()

    async def advance(self, seconds: float) -> None:
        """Move time, from timer to timer; what each of them sets off over sockets is done before the next."""
        clock = self.clock
        ends_at = clock.now() + seconds
        await sockets()
        while (next_at := clock.next_at) is not None and next_at <= ends_at:
            await clock.advance(max(0.0, next_at - clock.now()))
            await sockets()
        await clock.advance(max(0.0, ends_at - clock.now()))
        await sockets()

    async def play(self, work: Coroutine[Any, Any, T]) -> T:
        """Move time from timer to timer until `work` is done, and no further."""
        task = asyncio.create_task(work)
        clock = self.clock
        try:
            for _ in range(MOVES_MAX):
                await sockets()
                if task.done():
                    return task.result()
                next_at = clock.next_at
                await clock.advance(0.0 if next_at is None else max(0.0, next_at - clock.now()))
        finally:
            task.cancel()
            await asyncio.wait([task])
        raise AssertionError(f"{MOVES_MAX} moves of time did not bring it: {task}")


async def sockets() -> None:
    """Let what is on its way through the sockets of this process arrive."""
    loop = asyncio.get_running_loop()
    for _ in range(2):
        await settle(30)
        turned = loop.create_future()
        loop.call_later(0.001, turned.set_result, None)
        await turned
    await settle(30)
