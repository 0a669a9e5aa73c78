"""Sharing: pods that share one limit through a Valkey, and apps that ask as soon as they are answered."""

import asyncio
from pathlib import Path

import aiohttp

from tests.kit.kept import valkey_store
from tests.kit.valkey import Valkey

_CONFIG = """
[sidecar]
replicas = {pods}
drain_timeout = "1s"
{store}
[log]
success = 0.0
[services.vendor]
base_url = "{vendor}"
allow_private = true
retry = false
rate_limit = {{ {limit}, shared = true }}
"""


def sharing_config(folder: Path, valkey: Valkey, vendor: str, pods: int, limit: str, more: str = "") -> str:
    """Give each pod's config, and write its secrets; `limit` are keys of `rate_limit`, `more` those of `[store]`."""
    return _CONFIG.format(pods=pods, store=valkey_store(valkey, folder, more), vendor=vendor, limit=limit)


async def load(url: str, connections: int, statuses: list[int] | None = None) -> None:
    """Call one sidecar from so many connections, each as soon as it has its answer, until it leaves or we end."""

    async def one() -> None:
        while True:
            try:
                async with session.get(f"{url}/vendor/x") as reply:
                    await reply.read()
            except aiohttp.ClientError:
                return  # It has left.
            if statuses is not None:
                statuses.append(reply.status)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
