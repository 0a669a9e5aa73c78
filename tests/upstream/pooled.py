"""What the tests of the pool share: connections that only know whether they live, and a pool over them."""

import asyncio
from collections import deque
from typing import cast

from sidecar.core.call import AttemptRecord
from sidecar.core.clock import Clock
from sidecar.core.errors import ConnectFailed
from sidecar.upstream.connection import Connection
from sidecar.upstream.pool import Pool, PoolConfig


class Line:
    """Stands in for a connection: the part of it that the pool looks at."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_closed = False
        self.idle_until = 0.0
        self.keepalive_hint: float | None = None
        self.may_go_on = True

    def end(self) -> bool:
        """Finish the exchange."""
        if not self.may_go_on:
            self.close()
        return not self.is_closed

    def close(self) -> None:
        """Close."""
        self.is_closed = True


class Lines:
    """A pool, and the dialling of its connections by hand."""

    def __init__(self, clock: Clock, config: PoolConfig) -> None:
        self.clock = clock
        self.dialled: list[Line] = []
        self.open_max = 0
        self.failures: deque[BaseException] = deque()  # Each ends one dial.
        self.holds: deque[asyncio.Event] = deque()  # Each holds one dial up.
        self.pool = Pool(config, self._dial, clock)

    async def _dial(self, record: AttemptRecord, deadline_at: float) -> Connection:  # noqa: ARG002 - the pool's
        if self.holds:
            await self.holds.popleft().wait()
        if self.failures:
            raise self.failures.popleft()
        line = Line(len(self.dialled) + 1)
        self.dialled.append(line)
        self.open_max = max(self.open_max, self.open)
        return cast("Connection", line)

    @property
    def open(self) -> int:
        """How many connections stand."""
        return sum(not line.is_closed for line in self.dialled)

    def fail_next_dial(self) -> None:
        """Have the next dial fail."""
        self.failures.append(ConnectFailed("refused"))

    async def take(self, seconds: float = 60.0, *, insists: bool = False) -> Line:
        """Take as the transport does: an idle one (unless it insists on a new one), else a new one, else in line."""
        found = None if insists else self.pool.take_idle()
        if found is None:
            found = await self.pool.take(AttemptRecord(), self.clock.now() + seconds)
        return cast("Line", found)

    def ask(self, seconds: float = 60.0, *, insists: bool = False) -> asyncio.Task[Line]:
        """Take in a task of its own, as a call does."""
        return asyncio.create_task(self.take(seconds, insists=insists))

    def give_back(self, line: Line) -> None:
        """Give back at the end of an exchange."""
        self.pool.give_back(cast("Connection", line))

    def lose(self, line: Line) -> None:
        """Have the vendor close it."""
        line.is_closed = True
        self.pool.closed(cast("Connection", line))

    def counts(self) -> tuple[int, int, int]:
        """Give how many are idle, busy, waiting."""
        seen = self.pool.snapshot()
        return seen["idle"], seen["busy"], seen["waiting"]
