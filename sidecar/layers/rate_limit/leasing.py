"""Leasing: asks the store for the permits of a limit that the fleet shares, in the background, ahead of their end."""

from collections.abc import Callable
from typing import Final

from sidecar.core.advice import Advice
from sidecar.core.alarm import Alarm
from sidecar.core.clock import Clock
from sidecar.core.tasks import Tasks
from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.haste import RETRY_S
from sidecar.layers.rate_limit.leased import PATIENCE_S, Leased
from sidecar.layers.rate_limit.line import Line
from sidecar.store.base import Block, Store, StoreFailed

TELL_MIN_S: Final = 0.5  # A shorter closing is over before the others hear of it.


class Leasing:
    """The shell around one `Leased`: its questions, one at a time, their timer, and what they tell of the vendor."""

    def __init__(
        self,
        limit: str,
        pod: str,
        store: Store,
        announced: Announced | None,
        clock: Clock,
        tasks: Tasks,
        count: Callable[[str], None],
    ) -> None:
        self._limit = limit  # Its name in the store.
        self._pod = pod
        self._store = store
        self._announced = announced  # What the vendor told; None where it is not listened to.
        self._clock = clock
        self._tasks = tasks
        self._count = count
        self._alarm = Alarm(clock, self._ring)
        self._lines: list[Line] = []  # As many as there are sections.
        self._is_closed = False
        self._told_until: dict[str, float] = {}  # What was told of the vendor, by part; as many as are closed.
        self.leased: Leased | None = None

    def use(self, leased: Leased) -> None:
        """Ask for this one."""
        self.leased = leased

    def add(self, line: Line) -> None:
        """Have a line hear of new permits."""
        self._lines = [known for known in self._lines if known.count or not known.is_retired]
        if line not in self._lines:
            self._lines.append(line)

    def start(self) -> None:
        """Reckon from now on with a store that is away as the process begins."""
        if not self._store.is_up and self.leased is not None and self.leased.needs_none:
            self.leased.failed(self._clock.now())
            self._alarm.set(self._clock.now() + RETRY_S)

    def ask(self) -> None:
        """Ask for a block; the answer comes by itself."""
        if not self._is_closed:
            self._tasks.spawn(self._lease(), f"permits of {self._limit}")
            self._alarm.set(self._clock.now() + PATIENCE_S)

    async def close(self) -> None:
        """Give back what is in hand, as the process ends."""
        self._is_closed = True
        self._alarm.stop()
        if self.leased is not None and not self.leased.needs_none and self._store.is_up:
            await self._give_back(self.leased)

    def heard(self, advice: Advice, closed_s: float) -> None:
        """Tell the fleet what an answer said: the vendor closed for so long, or nothing is left of a window."""
        now = self._clock.now()
        parts = {told.resource for told in advice.told}
        found = {parts.pop() if len(parts) == 1 else "": closed_s} if closed_s > 0 else {}
        for told in advice.told:
            if told.kind == "window" and told.remaining == 0 and told.reset_in is not None:
                found[told.resource] = max(found.get(told.resource, 0.0), told.reset_in)
        self._told_until = {part: until for part, until in self._told_until.items() if until > now}
        for part, seconds in found.items():
            if seconds >= TELL_MIN_S and now + seconds > self._told_until.get(part, 0.0) + TELL_MIN_S:
                self._told_until[part] = now + seconds
                if self._store.is_up and not self._is_closed:
                    self._tasks.spawn(self._tell(part, seconds), f"permits of {self._limit}")

    def _ring(self) -> None:
        """Do what is due: the next question, or giving back what nobody used."""
        leased, now = self.leased, self._clock.now()
        if leased is None or self._is_closed:
            return
        if leased.is_asked:
            for line in self._lines:
                if line.count:
                    line.drain(now)  # The answer takes long: it may go on without.
            self._alarm.set(now + PATIENCE_S)
        elif leased.demand.is_none(self._waiting) and not leased.is_away:
            if not leased.needs_none:
                leased.begin(now)  # Nobody asks meanwhile: the two might overtake each other.
                self._tasks.spawn(self._give_back(leased), f"permits of {self._limit}")
        elif self._store.is_up:
            leased.begin(now)
            self.ask()
        else:
            leased.failed(now)
            self._drain(now)
            self._alarm.set(now + RETRY_S)

    async def _lease(self) -> None:
        leased, clock = self.leased, self._clock
        assert leased is not None
        wanted = leased.wanted(self._pod, clock.now(), self._waiting)
        try:
            block = await self._store.permits.lease(self._limit, wanted)
        except StoreFailed:
            now = clock.now()
            leased.failed(now)
            self._count("failed")
            self._alarm.set(now + RETRY_S)
        else:
            now = clock.now()
            leased.use_block(block, wanted.held, now)
            self._count("granted" if block.rate > 0 else "none")
            self._hear(block, now)
            self._alarm.set(max(now, leased.asked_at + block.again))
        self._drain(now)

    async def _give_back(self, leased: Leased) -> None:
        try:
            await self._store.permits.lease(self._limit, leased.returned(self._pod, self._clock.now()))
            self._count("returned")
        except StoreFailed:
            self._count("failed")  # It ends by itself.
        leased.is_asked = False
        self._drain(self._clock.now())
        if leased.is_alone:
            self._alarm.set(self._clock.now() + RETRY_S)

    async def _tell(self, part: str, seconds: float) -> None:
        try:
            await self._store.permits.close(self._limit, part, seconds)
        except StoreFailed:
            self._told_until.pop(part, None)  # The next answer of the vendor tells it again.

    def _hear(self, block: Block, now: float) -> None:
        """Close what another pod was told is closed."""
        if self._announced is None:
            return
        is_closed = False
        for part, seconds in block.closed:
            self._told_until[part] = max(self._told_until.get(part, 0.0), now + seconds)
            is_closed = self._announced.close(part, now + seconds, now) or is_closed
        if is_closed:
            for line in self._lines:
                if line.count:
                    line.review(now)

    def _drain(self, now: float) -> None:
        for line in self._lines:
            if line.count:
                line.drain(now)

    @property
    def _waiting(self) -> float:
        return sum(line.costs for line in self._lines)
