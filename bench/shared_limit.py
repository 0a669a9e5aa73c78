"""Shared limit: ten sidecar processes share 100/s on one Valkey for a minute, as some join and leave.

    python -m bench.shared_limit                     # --outage 10: Valkey is killed for as long in the middle

prints what the vendor counted: the most in any window beside rate x its length (the bound is the burst), the most in a
second, what was used of the rate, and the calls for one question to the store. It needs the tests' packages.
"""

import argparse
import asyncio
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bench.output import print_result
from tests.kit.process import Process
from tests.kit.sharing import load, sharing_config
from tests.kit.valkey import Valkey
from tests.simulations.shared_limit import most_in, worst

RATE, PODS = 100.0, 10
CONNECTIONS = 4  # Of each app: it calls as soon as it has an answer, so all together want more than there is.
COLUMNS = ("value",)
_QUESTIONS = re.compile(r'^sidecar_permit_leases_total\{.*result="(?!failed).*\} (\S+)$', re.MULTILINE)


class Fleet:
    """The processes, their apps, and what the vendor saw."""

    def __init__(self, folder: Path) -> None:
        self.at: list[float] = []
        self.questions = 0.0
        self._folder = folder
        self.config = ""
        self._pods: dict[int, tuple[Process, asyncio.Task[None]]] = {}
        self._made = 0

    async def answer(self, _: web.Request) -> web.Response:
        """Be the vendor: it only counts."""
        self.at.append(time.monotonic())
        return web.Response(body=b"done")

    async def join(self) -> None:
        """Start one more process, and its app."""
        number, self._made = self._made, self._made + 1
        folder = self._folder / f"pod{number}"
        folder.mkdir()
        process = await Process(folder, self.config).__aenter__()
        self._pods[number] = (process, asyncio.create_task(load(process.egress_url, CONNECTIONS)))

    async def leave(self, *, is_killed: bool = False) -> None:
        """Stop the one that is there for longest."""
        process, app = self._pods.pop(min(self._pods))
        self.questions += await _questions(process)
        await (process.kill() if is_killed else process.terminate())
        app.cancel()

    async def end(self) -> None:
        """Stop all."""
        while self._pods:
            await self.leave()


async def _questions(process: Process) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{process.telemetry_url}/metrics") as reply:
        return sum(map(float, _QUESTIONS.findall(await reply.text())))


async def _run(arguments: argparse.Namespace, folder: Path, valkey: Valkey) -> dict[str, dict[str, Any]]:
    vendor = web.Application()
    runner = web.AppRunner(vendor, access_log=None)
    fleet = Fleet(folder)
    vendor.router.add_get("/x", fleet.answer)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    limit = f'rate = "{RATE:g}/s", burst = {arguments.burst}, wait_max = "2s"'
    fleet.config = sharing_config(folder, valkey, f"http://127.0.0.1:{runner.addresses[0][1]}", PODS, limit)
    try:
        await asyncio.gather(*(fleet.join() for _ in range(PODS)))
        await asyncio.sleep(4)  # The ledger has begun, and all pods are in it.
        began_at = time.monotonic()
        turns = asyncio.create_task(_turns(fleet, valkey, arguments))
        await asyncio.sleep(arguments.seconds)
        ended_at = time.monotonic()
        await turns
    finally:
        await fleet.end()
        await runner.cleanup()
    counted = [at for at in fleet.at if began_at <= at < ended_at]
    return {
        "most beside rate x length, in any window": {"value": round(worst(fleet.at, RATE), 2)},
        "most in a second": {"value": most_in(fleet.at, 1.0)},
        "used": {"value": round(len(counted) / RATE / (ended_at - began_at), 4)},
        "calls a question": {"value": round(len(fleet.at) / max(1.0, fleet.questions), 1)},
    }


async def _turns(fleet: Fleet, valkey: Valkey, arguments: argparse.Namespace) -> None:
    """Have pods leave and join through the time, and the store go and come back in its middle."""
    step = arguments.seconds / 6
    await asyncio.sleep(step)
    await fleet.leave()
    await fleet.join()
    await asyncio.sleep(step)
    await fleet.leave(is_killed=True)
    await fleet.join()
    if arguments.outage:
        await asyncio.to_thread(valkey.kill)
        await asyncio.sleep(arguments.outage)
        await asyncio.to_thread(valkey.start)
    await asyncio.sleep(step)
    await fleet.join()
    await fleet.leave()


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run it, and give the figures."""
    with tempfile.TemporaryDirectory(prefix="shared-limit-") as folder, Valkey.serving() as valkey:
        rows = asyncio.run(_run(arguments, Path(folder), valkey))
    return {"seconds": arguments.seconds, "outage": arguments.outage, "burst": arguments.burst, "figures": rows}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--burst", type=int, default=10)
    parser.add_argument("--outage", type=float, default=0.0)
    parser.add_argument("--output", metavar="FILE")
    arguments = parser.parse_args()
    result = run(arguments)
    print_result(result, result["figures"], COLUMNS, arguments.output)


if __name__ == "__main__":
    main()
