"""A strict server of the test's: notes each question, and answers as it is told to."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

Says = Callable[[web.BaseRequest, bytes], "web.StreamResponse | Awaitable[web.StreamResponse]"]


class Asked:
    """One question as it came."""

    def __init__(self, request: web.BaseRequest, body: bytes) -> None:
        self.method = request.method
        self.path = request.raw_path
        self.headers = request.headers
        self.body = body


class Scripted:
    """Listens on loopback; `says` is called for each question, and may be replaced at any time."""

    def __init__(self, says: Says) -> None:
        self.says = says
        self.asked: list[Asked] = []
        self.came = asyncio.Event()
        self.is_left = asyncio.Event()
        self.port = 0
        self._server = web.Server(self._answer)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)

    @property
    def host(self) -> str:
        """Address and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}"

    async def silence(self) -> web.StreamResponse:
        """Answer when the test is over."""
        await self.is_left.wait()
        return web.Response()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.is_left.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(Asked(request, body))
        self.came.set()
        said = self.says(request, body)
        return said if isinstance(said, web.StreamResponse) else await said
