"""A vendor whose mood changes, and a pod in front of it, in time that moves by hand.

async with Standing(clock, tmp_path, 'retry = { backoff = "1s" }') as it:
it.vendor.says = answer(status=503)
reply = await it.ask()
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.kit.app import Reply
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange, Request
from tests.kit.pod import Line
from tests.kit.timed import TimedPod
from tests.kit.vendor import Vendor, answer

Says = bytes | Callable[[Request], bytes]


class Moody(Vendor):
    """A vendor that answers as it is told to at the moment, and notes when each request came."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(self._answer)
        self.says: Says = answer(b"done")  # Empty: it breaks off.
        self.takes = 0.0  # Seconds until the answer.
        self.at: list[float] = []  # When each request came.
        self.under_way = 0
        self.under_way_max = 0
        self._clock = clock

    async def _answer(self, exchange: Exchange) -> None:
        assert exchange.request is not None
        self.at.append(self._clock.now())
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            says = self.says
            if self.takes:
                await self._clock.sleep(self.takes)
            raw = says if isinstance(says, bytes) else says(exchange.request)
            if raw:
                await exchange.send(raw)
            else:
                exchange.reset()
        finally:
            self.under_way -= 1


class Standing:
    """A pod with one service, `vendor`, in front of a moody vendor; it has its circuit if `service` says nothing."""

    def __init__(self, clock: ManualClock, tmp_path: Path, service: str = "", **options: Any) -> None:
        self.clock = clock
        self.vendor = Moody(clock)
        self.pod = TimedPod(clock, tmp_path, self.vendor, service=with_circuit(service), **options)

    async def __aenter__(self) -> Self:
        await self.vendor.__aenter__()
        await self.pod.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.pod.play(self.pod.assert_nothing_left())
        finally:
            await self.pod.__aexit__(kind, error, at)
            await self.vendor.__aexit__(kind, error, at)

    # What the app does.

    async def ask(self, target: str = "/vendor/x", method: str = "GET", *headers: str) -> Reply:
        """Ask on a connection of its own, and have time move until the answer is there."""
        return await self.pod.play(self.asking(target, method, *headers))

    async def asking(self, target: str = "/vendor/x", method: str = "GET", *headers: str) -> Reply:
        """Ask without moving time."""
        async with self.pod.app() as app:
            return await app.ask(method, target, *headers)

    async def begin(self, target: str = "/vendor/x", *headers: str) -> "asyncio.Task[Reply]":
        """Begin to ask; the request is as far as it gets in no time when this returns."""
        task = asyncio.create_task(self.asking(target, "GET", *headers))
        await self.pod.advance(0)
        return task

    async def ask_often(self, count: int, target: str = "/vendor/x") -> list[int]:
        """Ask one after the other; gives the statuses."""
        return [(await self.ask(target)).status for _ in range(count)]

    async def finish(self, tasks: "list[asyncio.Task[Reply]]") -> list[Reply]:
        """Have time move until all of them have their answers."""

        async def until_done() -> None:
            await asyncio.wait(tasks)

        await self.pod.play(until_done())
        return [task.result() for task in tasks]

    async def reload(self, service: str) -> None:
        """Have the service configured anew."""
        self.pod._service = with_circuit(service)
        self.pod.write_config()
        assert (await self.pod.sidecar.reload())["ok"]

    # What people see.

    @property
    def snapshot(self) -> dict[str, Any]:
        """Give the service's, as the admin API shows it."""
        shown: dict[str, Any] = self.pod.snapshot()["services"]["vendor"]
        return shown

    async def admin(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask the admin API; gives status and JSON."""
        async with (
            aiohttp.ClientSession(f"http://{self.pod.sidecar.address('admin')}") as session,
            session.request(method, path, json=body) as response,
        ):
            return response.status, await response.json()

    async def metrics(self) -> str:
        """Scrape."""
        async with (
            aiohttp.ClientSession(f"http://{self.pod.sidecar.address('telemetry')}") as session,
            session.get("/metrics") as response,
        ):
            return await response.text()

    async def lines(self, msg: str) -> list[Line]:
        """Give the lines of one kind."""
        return [line for line in await self.pod.log_lines() if line["msg"] == msg]

    async def calls(self, count: int = 1) -> list[Line]:
        """Give the canonical lines, once there are `count`."""
        return await self.pod.calls(count)

    def counted(self, metric: str, *labels: str) -> int:
        """Read a counter of the service."""
        return int(self.pod.sidecar._grounds.metrics.counter(metric, "vendor", *labels).value)


def with_circuit(service: str) -> str:
    """Write that a service has its circuit, which `Pod` leaves out if nothing is said."""
    return service if "circuit_breaker" in service else f"circuit_breaker = {{}}\n{service}"
