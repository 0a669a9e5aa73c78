"""Floor: aiohttp's low-level `web.Server` in front of the sidecar's own pool, with no policy at all.

A contender of `side_by_side.py`. It shows what the same way towards the vendor costs behind aiohttp's server, so its
distance from the sidecar is what the egress door of our own saves, less what the policies cost. GET only.

    python -m bench.floor PORT BASE_URL CA_FILE
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
from sidecar.upstream.connection import Connection
from sidecar.upstream.dial import Dialer
from sidecar.upstream.limits import Limits
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.pool import Pool, PoolConfig
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import client_context, remember

PREFIX = "/bench"
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

    async def handle(self, request: Any) -> Any:
        """Answer one request."""
        due_at = self._clock.now() + TIMEOUT
        connection = self._pool.take_idle() or await self._pool.take(AttemptRecord(), due_at)
        try:
            target = request.message.path.removeprefix(PREFIX).encode()
            head = b"%b %b%b" % (request.message.method.encode(), target, self._after_target)
            reply = await connection.begin(head, None, Limits(due_at, None, TIMEOUT, UpstreamReset))
            request.transport.write(await _whole(reply))
        finally:
            self._pool.give_back(connection)
        return SENT

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


async def serve(port: int, base_url: str, ca_file: str) -> None:
    """Serve until cancelled."""
    floor = Floor(BaseUrl.parse(base_url), ca_file)
    factory: Any = LightRequest
    server = web.Server(floor.handle, request_factory=factory, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port)
    await listener.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="aiohttp's web.Server before the sidecar's pool, without policies.")
    parser.add_argument("port", type=int)
    parser.add_argument("base_url")
    parser.add_argument("ca_file")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arguments.port, arguments.base_url, arguments.ca_file))


if __name__ == "__main__":
    main()
