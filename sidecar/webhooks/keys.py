"""Keys: what vendors have on their own hosts, by URL; fetched once for all who need it, and kept for a while.

Which URLs are asked is decided before, by the scheme: none but the vendor's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp
from yarl import URL

from sidecar.auth.network import Network
from sidecar.core.clock import Clock
from sidecar.core.tasks import Tasks

KEPT_FOR = 3600.0  # Seconds that a key is used before it is fetched again.
FAILED_FOR = 10.0  # Seconds for which nobody asks again for what could not be had.
KEYS_MAX = 64  # At hand. Full: the oldest is forgotten of those by which nothing was verified yet, else of all.
FETCHES_MAX = 4  # At once, of keys by which nothing was verified yet. Full: the webhook is answered with 503.
KEY_MAX = 64 * 1024  # Bytes. Longer: refused.
TIMEOUT = 3.0  # Seconds for one, as the vendor waits for our answer.

Fetch = Callable[[str], Awaitable[bytes]]


class KeyUnavailable(Exception):
    """The key could not be had; the sentence says why."""


class _Kept(NamedTuple):
    content: bytes  # Empty: it could not be had.
    until: float


class Keys:
    """The keys at hand."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._fetching: dict[str, asyncio.Task[bytes]] = {}
        self._proven: set[str] = set()  # Of what is kept: something was verified by it.
        self._tasks = Tasks()
        self._visiting = 0

    async def get(self, url: str) -> bytes:
        """Give what stands at a URL. Raises KeyUnavailable."""
        kept = self._kept.get(url)
        if kept is None or kept.until <= self._clock.now():
            fetching = self._fetching.get(url)
            if fetching is None:
                # Whoever calls may name URLs at the vendor's host: that keeps no key from being renewed.
                if url not in self._proven and len(self._fetching.keys() - self._proven) >= FETCHES_MAX:
                    raise KeyUnavailable("too many keys are being fetched")
                fetching = self._fetching[url] = self._tasks.spawn(self._renew(url), "key of a vendor")
            content = await asyncio.shield(fetching)  # Who hangs up does not take it from the others.
        else:
            content = kept.content
        if not content:
            raise KeyUnavailable("the vendor's key could not be fetched")
        return content

    def prove(self, url: str) -> None:
        """Note that something was verified by the key at a URL: what others only name does not drive it out."""
        if url in self._kept:
            self._proven.add(url)

    async def visit(self, url: str) -> None:
        """Ask a URL for what that does, and keep nothing of the answer. Raises KeyUnavailable."""
        if self._visiting >= FETCHES_MAX:
            raise KeyUnavailable("too many URLs of vendors are being asked")
        self._visiting += 1
        try:
            async with self._clock.timeout_at(self._clock.now() + TIMEOUT):
                await self._fetch(url)
        except (aiohttp.ClientError, OSError, ValueError):  # Which may repeat the URL, and that is a key of its own.
            raise KeyUnavailable("the URL by which the vendor has it confirmed did not answer as it should") from None
        finally:
            self._visiting -= 1

    async def stop(self) -> None:
        """Fetch no more."""
        await self._tasks.stop()

    async def _renew(self, url: str) -> bytes:
        try:
            async with self._clock.timeout_at(self._clock.now() + TIMEOUT):
                content = await self._fetch(url)
        except (aiohttp.ClientError, OSError, ValueError):  # A timeout is an OSError.
            content = b""
        finally:
            self._fetching.pop(url, None)
        self._kept.pop(url, None)
        while len(self._kept) >= KEYS_MAX:
            oldest = next((other for other in self._kept if other not in self._proven), None) or next(iter(self._kept))
            self._proven.discard(oldest)
            del self._kept[oldest]
        self._kept[url] = _Kept(content, self._clock.now() + (KEPT_FOR if content else FAILED_FOR))
        return content


def fetching_over(network: Callable[[], Network | None]) -> Fetch:
    """Give what fetches through the egress guard; each over a connection of its own, as there are few."""

    async def fetch(url: str) -> bytes:
        way = network()
        if way is None:
            raise ValueError("there is no network yet")
        context = await asyncio.to_thread(way.context, None)
        async with (
            aiohttp.ClientSession(
                connector=way.connect(allow_private=False, is_once=True), cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.get(
                URL(url, encoded=True), headers={"Accept-Encoding": "identity"}, allow_redirects=False, ssl=context
            ) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"it answered {answer.status}")
            content = bytearray()
            async for piece in answer.content.iter_any():
                content += piece
                if len(content) > KEY_MAX:
                    raise ValueError("the key is too long")
            return bytes(content)

    return fetch
