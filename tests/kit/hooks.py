"""Webhooks: a vendor that signs, and an app that takes what is delivered.

async with Taking() as app:
    app.url                      # for deliver_to
    app.says = lambda request: 503
vendor = Sender(address, "stripe")
assert await vendor.send("evt_1", b"{}") == 200
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from aiohttp import web

WAIT_MAX = 20.0
SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
DELIVER_SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


class Taken(NamedTuple):
    """What the app got."""

    headers: dict[str, str]
    body: bytes
    path: str

    @property
    def id(self) -> str:
        """The event's."""
        return self.headers["Sidecar-Event-Id"]


Says = Callable[[Taken], "int | web.Response | Awaitable[int | web.Response]"]


class Taking:
    """An app that takes events, and answers as it is told; `got` are those that it said 2xx to."""

    def __init__(self, says: Says = lambda _: 204, port: int = 0, socket: Path | None = None) -> None:
        self.says = says
        self.got: list[Taken] = []
        self.asked: list[Taken] = []
        self._port = port
        self._socket = socket
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}/hooks"

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until what it got is so."""
        try:
            async with asyncio.timeout(WAIT_MAX):
                while not is_so():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come; got {[taken.id for taken in self.got][-20:]}") from None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{tail:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        if self._socket is not None:
            await web.UnixSite(self._runner, str(self._socket)).start()
        else:
            site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
            await site.start()
            self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        taken = Taken(dict(request.headers), await request.read(), request.path)
        self.asked.append(taken)
        said = self.says(taken)
        if not isinstance(said, int | web.Response):
            said = await said
        response = web.Response(status=said) if isinstance(said, int) else said
        if 200 <= response.status < 300:
            self.got.append(taken)
        self._changed.set()
        return response


def signed(name: str, body: bytes, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """Sign as Standard Webhooks has it; written here anew, so that it is not the code under test that signs."""
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, b".".join([name.encode(), stamp.encode(), body]), hashlib.sha256).digest()
    return {
        "webhook-id": name,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


class Sender:
    """A vendor that sends its events to one webhook."""

    def __init__(self, address: str, webhook: str = "stripe") -> None:
        self._url = f"http://{address}/{webhook}"
        self._session: aiohttp.ClientSession | None = None

    async def send(self, name: str, body: bytes, headers: dict[str, str] | None = None, **changes: str) -> int:
        """Send one event, and give the status; 0 when there was no answer."""
        assert self._session is not None
        try:
            async with self._session.post(
                self._url, data=body, headers={**signed(name, body), **(headers or {}), **changes}
            ) as answer:
                await answer.read()
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_MAX))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()


def hook_config(folder: Path, target: str, more: str = "", store: str = "", name: str = "stripe") -> str:
    """Give a whole config with one webhook, and write its secrets."""
    place = folder / "secrets"
    place.mkdir(mode=0o700, exist_ok=True)
    for file, value in (("vendor", SECRET), ("deliver", DELIVER_SECRET)):
        (place / file).touch(mode=0o600)
        (place / file).write_text(value)
    lines = [
        store or f'[store]\nkind = "sqlite"\npath = "{folder}/state.db"',
        f'[secrets.files]\nkind = "file"\npath = "{place}"' if "[secrets.files]" not in store else "",
        f'[webhooks.{name}]\nprovider = "standard-webhooks"\nsecret = "files:vendor"',
        f'deliver_to = "{target}"\ndeliver_secret = "files:deliver"' if target else "",
        more,
    ]
    return "\n".join(lines) + "\n"
