"""Several sidecars, each a process, share one limit through a real Valkey, in front of a vendor that counts."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from tests.kit.exchange import Exchange
from tests.kit.process import Process
from tests.kit.servers import Servers
from tests.kit.sharing import load, sharing_config
from tests.kit.valkey import Valkey
from tests.kit.vendor import Vendor, answer
from tests.simulations.shared_limit import worst

RATE, BURST, PODS = 60.0, 6.0, 3
LATE = 15.0  # Permits: what calls that took longer on their way than those before them make a window look fuller.
WAIT_MAX = 20.0


class Counting(Vendor):
    """Answers everything, and notes when it came."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.at: list[float] = []
        self._goal = 0
        self._is_there = asyncio.Event()
        self.says = answer(b"done")

    async def _answer(self, exchange: Exchange) -> None:
        self.at.append(time.monotonic())
        if len(self.at) >= self._goal:
            self._is_there.set()
        await exchange.send(self.says)

    async def wait_for(self, count: int) -> None:
        """Wait until so many more came."""
        self._goal = len(self.at) + count
        self._is_there.clear()
        async with asyncio.timeout(WAIT_MAX):
            await self._is_there.wait()


async def metric(sidecar: Process, name: str) -> float:
    """Read a gauge."""
    async with aiohttp.ClientSession() as session, session.get(f"{sidecar.telemetry_url}/metrics") as reply:
        (line,) = [line for line in (await reply.text()).splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])


async def test_three_sidecars_share_a_limit_lose_the_store_and_find_back(tmp_path: Path, servers: Servers) -> None:
    """With it, as one of them leaves, without it, and with it again, in no window is there more than the limit."""
    with Valkey.serving() as valkey:
        async with Counting() as vendor, AsyncExitStack() as stack:
            limit = f'rate = "{RATE:g}/s", burst = {BURST:g}, wait_max = "10s"'
            config = sharing_config(tmp_path, valkey, vendor.url, PODS, limit, 'timeout = "500ms"\n')
            pods: list[Process] = []
            statuses: list[int] = []
            for number in range(PODS):
                folder = tmp_path / f"pod{number}"
                folder.mkdir()
                pods.append(await stack.enter_async_context(Process(folder, config)))
            loads = [asyncio.create_task(load(pod.egress_url, 8, statuses)) for pod in pods]
            await vendor.wait_for(100)
            await pods[2].terminate()
            await vendor.wait_for(60)

            valkey.kill()
            await pods[0].wait_for_line(lambda line: line["msg"] == "store_down", "store_down")
            assert await metric(pods[0], "sidecar_store_up") == 0
            await vendor.wait_for(60)  # Each goes on with its fair share.
            await asyncio.to_thread(valkey.start)
            await pods[0].wait_for_line(lambda line: line["msg"] == "store_up", "store_up")
            assert await metric(pods[0], "sidecar_store_up") == 1
            await vendor.wait_for(60)
            for task in loads:
                task.cancel()
            await asyncio.gather(*loads, return_exceptions=True)

            assert worst(vendor.at, RATE) <= BURST + LATE
            seconds = vendor.at[-1] - vendor.at[0]
            assert len(vendor.at) <= RATE * seconds + BURST + LATE
            assert set(statuses) <= {200, 503}  # All wait for their turn; 503 is the one that leaves.
