"""Pool: the connections to one vendor, kept alive between calls, bounded, never more than the vendor was promised."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from sidecar.core.alarm import Alarm
from sidecar.core.call import AttemptRecord
from sidecar.core.clock import Clock
from sidecar.core.errors import DeadlineExceeded, Shed
from sidecar.core.section import Section
from sidecar.core.units import Duration
from sidecar.upstream.connection import Connection

Dial = Callable[[AttemptRecord, float], Awaitable[Connection]]
Waiter = asyncio.Future[Connection | None]  # None: a place is free, dial for yourself.


class PoolConfig(Section, kw_only=True):
    """`services.<name>.pool`: the bounds of the connections to one vendor."""

    connections_max: int = 100  # Full: calls wait in line, up to waiting_max.
    idle_max: int = 32  # Full: the oldest idle connection is closed.
    idle_timeout: Duration = Duration(30)  # Shorter if the vendor says so in Keep-Alive: timeout=.
    waiting_max: int = 1000  # Full: the call is shed with 503.


class Pool:
    """Lends connections: newest idle first, else a new one, else in order of arrival.

    `_places` counts every connection that is idle, lent or being dialled; each is given back exactly once.
    """

    def __init__(self, config: PoolConfig, dial: Dial, clock: Clock) -> None:
        self._config = config
        self._dial = dial
        self._clock = clock
        self._idle: deque[Connection] = deque()  # Oldest left. Idle ones only: lent ones do not count here.
        self._places = 0
        self._waiting: deque[Waiter] = deque()
        self._is_retired = False
        self._turn = 0  # Counts the client certificates; a connection keeps to the one it was dialled with.
        self._alarm = Alarm(clock, self._close_overdue)

    def snapshot(self) -> dict[str, int]:
        """Show the counts: for people, metrics, and tests that nothing is left behind."""
        # Copied in one step: a scrape reads in a thread of its own, while the line moves.
        waiting = sum(1 for waiter in tuple(self._waiting) if not waiter.done())
        return {"idle": len(self._idle), "busy": self._places - len(self._idle), "waiting": waiting}

    def take_idle(self) -> Connection | None:
        """Give the connection that was used last, or None: the hot path, without a wait."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.is_closed and connection.idle_until > self._clock.now():
                return connection
            self._forget(connection)
        return None

    async def take(self, record: AttemptRecord, deadline_at: float) -> Connection:
        """Give a new connection, or, if all places are taken, the next that is given back; in order of arrival.

        Raises Shed when the line is full, DeadlineExceeded when the wait is too long, and what dialling raises.
        """
        if self._places < self._config.connections_max:
            self._places += 1
        elif not self._drop_oldest_idle():
            began_at = self._clock.now()
            try:
                connection = await self._wait_in_line(deadline_at)
            finally:
                record.waited_s += self._clock.now() - began_at
            if connection is not None and not connection.is_closed:
                record.is_reused = True
                return connection
            # Closed on its way here: its place is ours all the same.
        assert self._places <= self._config.connections_max
        turn = self._turn  # Before the handshake: one that was under way shows the certificate before.
        try:
            connection = await self._dial(record, deadline_at)
        except BaseException:
            self._free_place()
            raise
        connection.turn = turn
        return connection

    async def _wait_in_line(self, deadline_at: float) -> Connection | None:
        config = self._config
        if len(self._waiting) >= config.waiting_max:
            raise Shed(
                f"all {config.connections_max} connections are in use and {config.waiting_max} calls wait already; "
                "raise pool.connections_max if the vendor allows more",
                retry_after=1.0,
            )
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with self._clock.timeout_at(deadline_at):
                return await waiter
        except BaseException as error:
            self._leave_line(waiter)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(
                    f"the time was used up waiting for one of {config.connections_max} connections", is_ours=True
                ) from None
            raise

    def _leave_line(self, waiter: Waiter) -> None:
        """Leave without what was waited for; what was handed over in the same moment goes to the next."""
        if not waiter.done() or waiter.cancelled():
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            return
        connection = waiter.result()
        if connection is None:
            self._free_place()
        else:
            self._offer(connection)

    def give_back(self, connection: Connection) -> None:
        """Take a connection back at the end of its exchange, whatever state it is in."""
        if connection.end():
            self._offer(connection)
        else:
            self._free_place()

    def _offer(self, connection: Connection) -> None:
        if connection.turn != self._turn:
            self._forget(connection)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        keep_for = float(self._config.idle_timeout)
        if connection.keepalive_hint is not None:
            # One second earlier than the vendor, whose clock started when it sent the answer.
            keep_for = min(keep_for, connection.keepalive_hint - 1.0)
        if keep_for <= 0 or connection.is_closed or self._is_retired:
            self._forget(connection)
            return
        connection.idle_until = self._clock.now() + keep_for
        self._idle.append(connection)
        if len(self._idle) > self._config.idle_max:
            self._forget(self._idle.popleft())
        if len(self._idle) == 1:
            self._alarm.set(connection.idle_until)
        elif connection.keepalive_hint is not None and self._idle:
            # Only a hint can make a later one end sooner.
            self._alarm.set(min(idle.idle_until for idle in self._idle))

    def closed(self, connection: Connection) -> None:
        """Hear that a connection is gone; a lent one is still given back by its borrower."""
        try:
            self._idle.remove(connection)
        except ValueError:
            return
        self._free_place()

    def _drop_oldest_idle(self) -> bool:
        """Close the oldest idle connection, whose place goes to a caller that insists on a fresh one."""
        if not self._idle:
            return False
        self._idle.popleft().close()
        return True

    def _forget(self, connection: Connection) -> None:
        connection.close()
        self._free_place()

    def _free_place(self) -> None:
        """Hand a free place to the first in line, who dials, or count it free."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._places -= 1
        assert self._places >= len(self._idle) >= 0

    def _close_overdue(self) -> None:
        now = self._clock.now()
        overdue = [connection for connection in self._idle if connection.idle_until <= now]
        for connection in overdue:
            self._idle.remove(connection)
            self._forget(connection)
        if self._idle:
            self._alarm.set(min(connection.idle_until for connection in self._idle))

    def turn_over(self) -> None:
        """Close the idle connections, and every other one as it comes back: new ones show another certificate."""
        self._turn += 1
        while self._idle:
            self._forget(self._idle.pop())

    def retire(self) -> None:
        """Close the idle connections, and every other one as it comes back: a newer generation took over."""
        self._is_retired = True
        self._alarm.stop()
        while self._idle:
            self._forget(self._idle.pop())
