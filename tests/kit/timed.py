"""A pod whose time moves only when the test says so; its sockets are real ones, and work between two moves.

    async with Vendor.answering(down) as vendor, TimedPod(clock, tmp_path, vendor) as pod:
        reply = await pod.play(ask(pod))    # Time moves from timer to timer, until the answer is there.
        await pod.advance(30)

What waits for a thread (a reload, the log's lines, a scrape) is awaited without `play`: it needs no time of this clock.
"""

import asyncio
import random
import socket
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar
from unittest.mock import patch

import sidecar.app
from sidecar.upstream.resolve import AddrInfo
from tests.kit.clock import ManualClock, settle
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor

T = TypeVar("T")

MOVES_MAX = 10_000  # In one play. More: what is waited for does not come by time.
HOPS = 16  # From socket to socket, between two moves: connecting twice, a request and its answer take about ten.


class Loopback:
    """A connection to ourselves: when its byte is through, so is what was sent before it, however busy the machine."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._near = socket.create_connection(server.getsockname())
            self._far, _ = server.accept()
        for end in (self._near, self._far):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def hop(self) -> None:
        """Send a byte there and back."""
        loop = asyncio.get_running_loop()
        for sender, receiver in ((self._near, self._far), (self._far, self._near)):
            await loop.sock_sendall(sender, b"!")
            assert await loop.sock_recv(receiver, 1) == b"!"

    def close(self) -> None:
        """Close both ends."""
        self._near.close()
        self._far.close()


class TimedPod(Pod):
    """A `Pod` on a clock that is moved by hand; chance draws `chance` each time.

    It does not watch its files, and its vendors are called by address: a look-up takes real time, in a thread.
    """

    def __init__(self, clock: ManualClock, *args: Any, chance: float = 0.5, **options: Any) -> None:
        super().__init__(*args, **options)
        self.clock = clock
        self._chance = chance
        self._loopback = Loopback()
        self._patches = ExitStack()

    def write_config(self) -> None:
        """Write the config file anew."""
        for vendor in self._vendors.values():
            if isinstance(vendor, Vendor):
                vendor._host = "127.0.0.1"
        super().write_config()

    async def __aenter__(self) -> Self:
        self._patches.callback(self._loopback.close)
        self._patches.enter_context(patch.object(sidecar.app, "WATCH_EVERY", 1e9))  # A timer less for each second.
        with (
            patch.object(sidecar.app, "SystemClock", lambda: self.clock),
            patch.object(random, "random", lambda: self._chance),
        ):
            await super().__aenter__()
        self.sidecar._grounds.resolver._lookup = at_once
        return self

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
        await self._come_to_rest()
        while (next_at := clock.next_at) is not None and next_at <= ends_at:
            await clock.advance(max(0.0, next_at - clock.now()))
            await self._come_to_rest()
        await clock.advance(max(0.0, ends_at - clock.now()))
        await self._come_to_rest()

    async def play(self, work: Coroutine[Any, Any, T]) -> T:
        """Move time from timer to timer until `work` is done, and no further."""
        task = asyncio.create_task(work)
        clock = self.clock
        try:
            for _ in range(MOVES_MAX):
                await self._come_to_rest()
                if task.done():
                    return task.result()
                next_at = clock.next_at
                await clock.advance(0.0 if next_at is None else max(0.0, next_at - clock.now()))
        finally:
            task.cancel()
            await asyncio.wait([task])
        raise AssertionError(f"{MOVES_MAX} moves of time did not bring it: {task}")

    async def _come_to_rest(self) -> None:
        """Let what is on its way through the sockets of this process arrive, and what that sets off."""
        for _ in range(HOPS):
            await settle(4)
            await self._loopback.hop()
        await settle()


async def at_once(host: str, port: int) -> Sequence[AddrInfo]:
    """Look up an address, without the thread that a look-up of the system's takes."""
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
