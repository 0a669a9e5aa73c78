"""Run: the items of one batch, so many at once, until each has its result."""

import asyncio
from collections.abc import Awaitable, Callable

from sidecar.core.clock import Clock
from sidecar.core.errors import SidecarError
from sidecar.core.tasks import Tasks
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.running import Service
from sidecar.queue.batch.again import Again, again
from sidecar.queue.batch.config import BatchConfig
from sidecar.queue.batch.result import Result
from sidecar.queue.batch.sending import Sender, Sent, Work, result_of

CONCURRENCY = 8  # Unless the batch says otherwise.


def places(asked: int | None, config: BatchConfig) -> int:
    """Say how many items go on at once."""
    return asked or min(CONCURRENCY, config.concurrency_max)


class Run:
    """Takes items from a source as it has places for them, and delivers each result once.

    At most `concurrency` are under way. At most `held_max` were taken and have no result yet: those under way, and
    those that wait to be sent again without a place. Full: nothing more is taken.
    """

    def __init__(
        self,
        sender: Sender,
        concurrency: int,
        held_max: int,
        deliver: Callable[[Result], Awaitable[None]],
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        assert 1 <= concurrency <= held_max
        self._sender = sender
        self._places = asyncio.Semaphore(concurrency)
        self._held = asyncio.Semaphore(held_max)
        self._deliver = deliver
        self._clock = clock
        self._jitter = jitter
        self._lives = Tasks()

    @property
    def held(self) -> int:
        """Items that were taken and have no result yet."""
        return len(self._lives)

    async def all(self, take: Callable[[], Awaitable[Work | None]]) -> SidecarError | None:
        """Do everything that `take` gives, up to None; gives the error if `take` broke off. Cancelled: all is."""
        broke_off: SidecarError | None = None
        try:
            try:
                while True:
                    await self._held.acquire()
                    work = await take()
                    if work is None:
                        break
                    await self._places.acquire()
                    self._lives.spawn(self._live(work), "batch item")
            except SidecarError as error:
                broke_off = error
            await self._lives.all_done()
        finally:
            await self._lives.stop()
        return broke_off

    async def _live(self, work: Work) -> None:
        """Send one item until it has its result. It comes with a place, and keeps it while it is under way."""
        has_place = True
        try:
            sent = await self._sender.send(work)
            while (turn := self._again(work, sent)) is not None:
                if not turn.keeps_place:
                    self._places.release()
                    has_place = False
                await self._clock.sleep(turn.wait)
                if not has_place:
                    await self._places.acquire()
                    has_place = True
                sent = await self._sender.send(work)
            await self._deliver(result_of(work, sent))
        finally:
            if has_place:
                self._places.release()
            self._held.release()

    def _again(self, work: Work, sent: Sent) -> Again | None:
        """Say when it goes again; None if never, or not within its time."""
        if isinstance(work.item, SidecarError):
            return None
        turn = again(
            sent.call,
            sent.reply,
            sent.error,
            _rules(self._sender.service, sent.call.route),
            sendings=work.sendings,
            chance=self._jitter(),
        )
        return turn if turn is not None and self._clock.now() + turn.wait < work.deadline_at else None


def _rules(service: Service, name: str) -> RetryConfig | None:
    """Give what may be tried again on a route; None: nothing that reached the vendor."""
    entry = service.entry
    config = next((route.config for route in entry.routes if route.name == name), entry.config)
    return config.retry or None
