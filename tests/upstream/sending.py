"""What the tests of connection and transport share: one service's way to a vendor, without an app in front of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.clock import Clock, SystemClock
from sidecar.core.ids import Ids
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.core.tasks import Tasks
from sidecar.upstream.connection import Connection
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.pool import Pool, PoolConfig
from sidecar.upstream.tls import ClientContext
from sidecar.upstream.transport import Timeouts, Transport
from tests.upstream.dialing import dialer

WAIT_MAX = 10.0  # Seconds of real time for one answer.
DEADLINE = 30.0  # Seconds that a call has, of the clock in use.


@dataclass
class Answer:
    """An answer read to its end."""

    status: int
    headers: Headers
    body: bytes
    trailers: Headers
    call: Call
    reason: bytes = b""

    def values(self, name: str) -> list[bytes]:
        """Give all values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]


def call_of(method: str = "GET", target: bytes = b"/", body: Body = NO_BODY, headers: Headers | None = None) -> Call:
    """Make a call as the layers hand it to the transport."""
    call = Call("crm", method, target, headers or [], body)
    call.request_id, call.trace_id = "request-1", "0" * 31 + "1"
    return call


class Way:
    """Pool, dialer and transport of one service, over real sockets."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        pool: PoolConfig | None = None,
        first_byte: float | None = None,
        attempt: float | None = None,
        idle: float = 30.0,
        notable: frozenset[bytes] = frozenset(),
        tls: ClientContext | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.tasks = Tasks()
        self.connections: list[Connection] = []
        self.results: list[str] = []  # As counted for the metrics.
        self.recent = Recent()
        self.notable = notable
        self.on_dialled: Callable[[Connection], Awaitable[None]] | None = None
        self._dialer = dialer(url, clock=self.clock, tls=tls)
        self.pool = Pool(pool or PoolConfig(), self._dial, self.clock)
        self.transport = Transport(
            BaseUrl.parse(url),
            self.pool,
            Timeouts(attempt, first_byte, idle),
            self.clock,
            Ids(),
            self._count,
            self.recent,
        )

    def _count(self, result: str, seconds: float) -> None:  # noqa: ARG002 - the signature of the metric
        self.results.append(result)

    async def _dial(self, record: AttemptRecord, deadline_at: float) -> Connection:
        _, connection = await self._dialer.dial(
            lambda: Connection(self.clock, self.tasks, self.pool.closed, lambda _: None, self.notable),
            record,
            deadline_at,
        )
        self.connections.append(connection)
        if self.on_dialled is not None:
            await self.on_dialled(connection)
        return connection

    async def begin(self, call: Call) -> Reply:
        """Send, and give the answer when its head is there. The caller ends the call."""
        call.started_at = self.clock.now()
        call.deadline_at = min(call.deadline_at, call.started_at + DEADLINE)
        try:
            async with asyncio.timeout(WAIT_MAX):
                return await self.transport(call)
        except BaseException:
            call.end(Outcome.FAILURE)
            raise

    async def finish(self, call: Call, reply: Reply) -> Answer:
        """Read the body to its end, and end the call. Raises what the body raises."""
        content = bytearray()
        outcome = Outcome.FAILURE
        try:
            async with asyncio.timeout(WAIT_MAX):
                while piece := await reply.body.read():
                    content += piece
            outcome = Outcome.SUCCESS
        finally:
            call.end(outcome)
        return Answer(reply.status, reply.headers, bytes(content), reply.body.trailers, call, reply.reason)

    async def ask(self, method: str = "GET", target: bytes = b"/", body: Body = NO_BODY) -> Answer:
        """Send a call and read its answer to the end."""
        call = call_of(method, target, body)
        return await self.finish(call, await self.begin(call))

    def counts(self) -> tuple[int, int, int]:
        """Give how many connections are idle, busy, and calls waiting."""
        seen = self.pool.snapshot()
        return seen["idle"], seen["busy"], seen["waiting"]

    async def until_counts(self, *counts: int) -> None:
        """Wait until the pool's counts are these: the loop needs its turns to tell of a close."""
        await until(lambda: self.counts() == counts, f"the pool's counts to be {counts}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.pool.retire()
        if error is None:
            assert self.counts() == (0, 0, 0), "a place was not given back"
        await self.tasks.stop()


async def until(is_so: Callable[[], bool], what: str = "a condition") -> None:
    """Wait until something is so that has no event: the loop looks at its sockets meanwhile."""
    ends_at = time.monotonic() + WAIT_MAX
    loop = asyncio.get_running_loop()
    while not is_so():
        assert time.monotonic() < ends_at, f"waited {WAIT_MAX:g} s in vain for {what}"
        turned = loop.create_future()
        loop.call_later(0.001, turned.set_result, None)
        await turned
