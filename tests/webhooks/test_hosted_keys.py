"""Keys on the vendor's own host: fetched once for all, kept for a while, and never asked for in a hurry."""

import asyncio
import contextlib
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sidecar.auth.network import Network
from sidecar.webhooks.keys import (
    FAILED_FOR,
    FETCHES_MAX,
    KEPT_FOR,
    KEY_MAX,
    KEYS_MAX,
    Keys,
    KeyUnavailable,
    fetching_over,
)
from tests.kit.clock import ManualClock, settle

URL = "https://keys.example/one"


class Vendor:
    """What stands at URLs; held back until it may come."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.content = b"key"
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, url: str) -> bytes:
        """Give it."""
        self.asked.append(url)
        await self.may.wait()
        if not self.content:
            raise ValueError("it answered 500")
        return self.content


async def test_all_who_need_a_key_wait_for_one_fetch_and_it_is_kept() -> None:
    """Who hangs up does not take it from the others; after an hour it is fetched again."""
    clock, vendor = ManualClock(), Vendor()
    keys = Keys(vendor, clock)
    vendor.may.clear()
    waiting = [asyncio.create_task(keys.get(URL)) for _ in range(5)]
    await settle()
    waiting[0].cancel()
    vendor.may.set()
    assert await asyncio.gather(*waiting[1:]) == [b"key"] * 4
    await clock.advance(KEPT_FOR - 1)
    assert await keys.get(URL) == b"key"
    assert vendor.asked == [URL]
    await clock.advance(2)
    vendor.content = b"another"
    assert await keys.get(URL) == b"another"
    await keys.stop()


async def test_what_cannot_be_had_is_not_asked_for_again_at_once() -> None:
    """Nor does a flood of URLs make a flood of fetches, or grow what is kept."""
    clock, vendor = ManualClock(), Vendor()
    keys = Keys(vendor, clock)
    vendor.content = b""
    for _ in range(3):
        with pytest.raises(KeyUnavailable):
            await keys.get(URL)
    assert len(vendor.asked) == 1
    vendor.content = b"key"
    await clock.advance(FAILED_FOR + 1)
    assert await keys.get(URL) == b"key"
    for n in range(2 * KEYS_MAX):
        await keys.get(f"{URL}/{n}")
    assert len(keys._kept) == KEYS_MAX
    vendor.may.clear()
    slow = [asyncio.create_task(keys.get(f"{URL}/slow/{n}")) for n in range(FETCHES_MAX)]
    await settle()
    with pytest.raises(KeyUnavailable, match="too many"):
        await keys.get(f"{URL}/one-more")
    await clock.advance(5)
    assert all(isinstance(one, KeyUnavailable) for one in await asyncio.gather(*slow, return_exceptions=True))
    await keys.stop()


async def test_urls_that_somebody_only_names_drive_no_key_out_that_verified() -> None:
    """Nor do they keep it from being fetched again when its hour is over."""
    clock, vendor = ManualClock(), Vendor()
    keys = Keys(vendor, clock)
    await keys.get(URL)
    keys.prove(URL)
    for n in range(2 * KEYS_MAX):
        await keys.get(f"{URL}/{n}")
        keys.prove(f"{URL}/unknown")
    assert (vendor.asked.count(URL), len(keys._kept), keys._proven) == (1, KEYS_MAX, {URL})
    assert await keys.get(URL) == b"key"
    assert vendor.asked.count(URL) == 1
    await clock.advance(KEPT_FOR + 1)
    vendor.may.clear()
    waiting = [asyncio.create_task(keys.get(f"{URL}/slow/{n}")) for n in range(FETCHES_MAX)]
    await settle()
    waiting.append(asyncio.create_task(keys.get(URL)))
    await settle()
    with pytest.raises(KeyUnavailable, match="too many"):
        await keys.get(f"{URL}/one-more")
    vendor.may.set()
    assert await asyncio.gather(*waiting) == [b"key"] * (FETCHES_MAX + 1)
    await keys.stop()


async def test_the_keys_that_verified_are_bounded_too() -> None:
    """The oldest goes."""
    keys = Keys(Vendor(), ManualClock())
    for n in range(2 * KEYS_MAX):
        await keys.get(f"{URL}/{n}")
        keys.prove(f"{URL}/{n}")
    assert len(keys._kept) == KEYS_MAX
    assert keys._proven == set(keys._kept)
    await keys.stop()


async def test_a_fetch_takes_a_plain_answer_and_no_other() -> None:
    """A redirect leads nowhere, and what is too long is no key."""
    found: dict[str, Any] = {
        "/key": web.Response(body=b"pem"), "/gone": web.Response(status=404),
        "/long": web.Response(body=bytes(KEY_MAX + 1)),
        "/away": web.Response(status=302, headers={"Location": "/key"}),
    }  # fmt: skip

    async def take(request: web.Request) -> web.Response:
        response: web.Response = found[request.path]
        return response

    app = web.Application()
    app.router.add_get("/{tail:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        nobody: Any = None

        def connect(*, allow_private: bool, is_once: bool) -> aiohttp.BaseConnector:
            assert (allow_private, is_once) == (False, True)
            return aiohttp.TCPConnector()

        fetch = fetching_over(lambda: Network(connect, lambda _: ssl.create_default_context(), nobody))
        assert await fetch(address + "/key") == b"pem"
        for path in ("/gone", "/long", "/away"):
            with pytest.raises(ValueError, match=r"answered|too long"):
                await fetch(address + path)
