"""Floor: aiohttp's low-level `web.Server`, or the sidecar's own door, before the sidecar's pool; with no policy at all.

Two contenders of `side_by_side.py`, both from the sources. Their distance is what the egress door of our own saves. GET
only.

    python -m bench.floor PORT BASE_URL CA_FILE [--own-door]
"""

import argparse
import asyncio
from functools import partial
from typing import Any

import uvloop
from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from sidecar.core.call import AttemptRecord, Reply
from sidecar.core.clock import SystemClock
from sidecar.core.errors import UpstreamReset
from sidecar.core.tasks import Tasks
from sidecar.downstream.connection import AppConnection
from sidecar.downstream.listener import ListenConfig
from sidecar.downstream.request import Request
from sidecar.upstream.connection import Connection
from sidecar.upstream.dial import Dialer
from sidecar.upstream.limits import Limits
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.pool import Pool, PoolConfig
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import client_context, remember

PREFIX = b"/bench"
TIMEOUT = 10.0  # Seconds for a call.
_CREDENTIAL = b"Authorization: Bearer abc\r\nUser-Agent: floor\r\n\r\n"
_HEAD = b"HTTP/1.1 %d %b\r\n"


class LightRequest:
    """What aiohttp's protocol asks of a request, and no more; its BaseRequest costs several microseconds."""

    __slots__ = ("_task", "message", "transport")

    def __init__(self, message: RawRequestMessage, _payload: object, protocol: Any, _writer: object, task: Any) -> None:
        self.message = message
        self.transport = protocol.transport
        self._task = task

    def _finish(self) -> None:
        """Nothing was opened."""


class Sent:
    """A response that is written already."""

    __slots__ = ()

    status = 200
    keep_alive = True

    async def prepare(self, _request: object) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self) -> None:
        """Nothing is left to write."""


SENT = Sent()


class Floor:
    """Passes each request on, and answers it with one write."""

    def __init__(self, origin: BaseUrl, ca_file: str) -> None:
        self._clock = SystemClock()
        self._tasks = Tasks()
        self._after_target = b" HTTP/1.1\r\nHost: " + origin.authority + b"\r\n" + _CREDENTIAL
        self._pool = Pool(PoolConfig(), self._dial, self._clock)
        self._dialer = Dialer(
            origin,
            Resolver(self._clock),
            self._clock,
            dns_timeout=2.0,
            connect_timeout=2.0,
            tls_timeout=3.0,
            allow_private=True,
            tls=client_context(ca_file) if origin.is_tls else None,
        )

    async def behind_web_server(self, request: Any) -> Any:
        """Answer one request of aiohttp's."""
        request.transport.write(await self._answer(request.message.method.encode(), request.message.path.encode()))
        return SENT

    async def behind_own_door(self, connection: AppConnection, request: Request) -> None:
        """Answer one request of the sidecar's door."""
        connection.write(await self._answer(request.method.encode(), request.url))

    async def _answer(self, method: bytes, path: bytes) -> bytes:
        due_at = self._clock.now() + TIMEOUT
        connection = self._pool.take_idle() or await self._pool.take(AttemptRecord(), due_at)
        try:
            head = b"%b %b%b" % (method, path.removeprefix(PREFIX), self._after_target)
            reply = await connection.begin(head, None, Limits(due_at, None, TIMEOUT, UpstreamReset))
            return await _whole(reply)
        finally:
            self._pool.give_back(connection)

    async def _dial(self, record: AttemptRecord, deadline_at: float) -> Connection:
        factory = partial(Connection, self._clock, self._tasks, self._pool.closed, _remember)
        _, connection = await self._dialer.dial(factory, record, deadline_at)
        return connection


def _remember(connection: Connection) -> None:
    if connection.transport is not None:
        remember(connection.transport.get_extra_info("ssl_object"))


async def _whole(reply: Reply) -> bytes:
    content = reply.body.take_all()
    if content is None:
        content = b""
        while piece := await reply.body.read():
            content += piece
    fields = b"".join([b"%b: %b\r\n" % field for field in reply.headers if field[0].lower() != b"content-length"])
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (_HEAD % (reply.status, reply.reason), fields, len(content), content)


async def serve(port: int, base_url: str, ca_file: str, *, is_own_door: bool) -> None:
    """Serve until cancelled."""
    floor = Floor(BaseUrl.parse(base_url), ca_file)
    light: Any = LightRequest
    server: Any = web.Server(floor.behind_web_server, request_factory=light, access_log=None)
    if is_own_door:
        limits, clock, tasks = ListenConfig().limits(), SystemClock(), Tasks()
        server = partial(AppConnection, floor.behind_own_door, limits, clock, tasks, lambda _: None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port)
    await listener.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A door before the sidecar's pool, without policies.")
    parser.add_argument("port", type=int)
    parser.add_argument("base_url")
    parser.add_argument("ca_file")
    parser.add_argument("--own-door", action="store_true", help="the sidecar's door instead of aiohttp's web.Server")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arguments.port, arguments.base_url, arguments.ca_file, is_own_door=arguments.own_door))


if __name__ == "__main__":
    main()
