"""Webhooks: all of this process: received, delivered, counted, and led by people.

Each pod receives, and each delivers what lies in its store. What works a webhook off lives on over reloads; the events
of one that is no longer configured stay in the store.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aiolimiter import AsyncLimiter

from sidecar.auth.network import Network
from sidecar.auth.oauth.pace import Pace
from sidecar.core.clock import Clock
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.store.backlog import WAITING, Backlog, Entry, Tally
from sidecar.store.base import StoreFailed
from sidecar.telemetry.metrics import Metrics
from sidecar.webhooks.batching import Batches
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.delivery import UNREACHED_PAUSE, Deliveries, Means
from sidecar.webhooks.event import DEAD, DELIVERED, ENDED, STATES, attempts_of, head_of, line_of
from sidecar.webhooks.failing import Failing
from sidecar.webhooks.keys import Keys, fetching_over
from sidecar.webhooks.receiver import HookSpec, Receiver
from sidecar.webhooks.taker import Taker
from sidecar.working.clearing import age, purged, used_ratio
from sidecar.working.verdict import Ended
from sidecar.working.worker import Runs, Worker

COUNT_EVERY = 5.0  # Seconds between two counts of the lines, for metrics and pages.
PURGE_EVERY = 60.0


class Hook:
    """A webhook at work."""

    def __init__(self, spec: HookSpec, receiver: Receiver) -> None:
        self.spec = spec
        self.receiver = receiver
        self.worker: Worker | None = None  # None: the app fetches its events.
        self.waiting: set[asyncio.Event] = set()  # Of the fetches that wait for one.
        self.tally = Tally({}, 0, None)
        self.failing = Failing()


class Webhooks:
    """All of them, by name."""

    def __init__(
        self,
        backlog: Callable[[], Backlog],
        clock: Clock,
        jitter: Callable[[], float],
        ids: Ids,
        tell: Callable[..., None],
        metrics: Metrics,
        make_pace: Callable[[float, float], Pace] = AsyncLimiter,
    ) -> None:
        self.backlog = backlog
        self.clock = clock
        self._jitter = jitter
        self.tell = tell
        self._metrics = metrics
        self._make_pace = make_pace
        self._holder = ids.take(32)
        self.hooks: dict[str, Hook] = {}
        self.is_draining = False  # We end.
        self._taker = Taker(clock)
        self.tasks = Tasks()
        self._network: Network | None = None
        self._keys = Keys(fetching_over(lambda: self._network), clock)
        metrics.watch_series("sidecar_webhook_events", self._counts, self)
        metrics.watch_series("sidecar_webhook_oldest_seconds", self._ages, self)
        metrics.watch_series("sidecar_webhook_used_ratio", self._ratios, self)

    def use(self, specs: Mapping[str, HookSpec], network: Network | None) -> None:
        """Receive and deliver these from now on; `network` leads to where vendors have their keys."""
        self._network = network
        if not self.tasks and specs:
            self.tasks.spawn(self._look_after(), "webhooks")
        for name in [name for name in self.hooks if name not in specs]:
            self._end(name, self.hooks.pop(name))
        for name, spec in specs.items():
            hook = self.hooks.get(name)
            receiver = Receiver(
                name, spec, self.backlog, self.clock, self.tell, self._metrics, partial(self.wake, name), self._keys
            )  # fmt: skip
            if hook is None:
                hook = self.hooks[name] = Hook(spec, receiver)
            hook.spec, hook.receiver = spec, receiver
            self._work(name, hook)

    def receiver(self, name: str) -> Receiver | None:
        """Give who takes the events of a webhook."""
        hook = self.hooks.get(name)
        return hook.receiver if hook is not None else None

    def wake(self, name: str) -> None:
        """Look at once: something was appended, or moved."""
        hook = self.hooks.get(name)
        if hook is None:
            return
        if hook.worker is not None:
            hook.worker.wake()
        for woken in hook.waiting:
            woken.set()

    async def stop(self, seconds: float) -> None:
        """Deliver no more; let deliveries end within `seconds`, and give the others back."""
        self.is_draining = True
        for name in self.hooks:  # Who waits for an event waits no longer.
            self.wake(name)
        workers = [hook.worker for hook in self.hooks.values() if hook.worker is not None]
        stopping = [self.tasks.spawn(worker.stop(seconds), "stopping a webhook") for worker in workers]
        if stopping:
            await asyncio.wait(stopping)
        await self.tasks.stop()
        await self._keys.stop()
        await self._taker.close()

    def snapshot(self) -> dict[str, Any]:
        """Show them, for people."""
        return {"webhooks": {name: self._shown(hook) for name, hook in self.hooks.items()}} if self.hooks else {}

    # Work.

    def _work(self, name: str, hook: Hook) -> None:
        """Have the events of a webhook delivered as its config says now."""
        config = hook.spec.config
        if config.deliver_to is None:
            self._end(name, hook)
            return
        runs, pace = self._runs(name, hook), self._make_pace(max(1.0, config.rate.count), config.rate.seconds)
        if hook.worker is None:
            hook.worker = Worker(
                line_of(name), self._holder, self.backlog, runs, pace, self.clock, self.tell,
                partial(self.ended, name), "event", UNREACHED_PAUSE,
            )  # fmt: skip
            hook.worker.start()
        else:
            hook.worker.runs, hook.worker.pace = runs, pace

    def _runs(self, name: str, hook: Hook) -> Runs:
        means = Means(self.clock, self._jitter, self._taker, partial(self.count_delivery, name))
        kind = Batches if hook.spec.config.deliver_batch > 1 else Deliveries
        return kind(hook.spec.config, hook.spec.deliver_secret, means)

    def _end(self, name: str, hook: Hook) -> None:
        if hook.worker is not None:
            self.tasks.spawn(hook.worker.stop(0.0), f"stopping {name}")
            hook.worker = None

    def count_delivery(self, name: str, result: str) -> None:
        """Count a try to hand an event to the app."""
        self._metrics.counter("sidecar_deliveries_total", name, result).value += 1

    async def ended(self, name: str, entry: Entry, ended: Ended) -> None:
        """Tell how a try ended."""
        state, verdict = ended.settlement.state, ended.verdict
        level = {DEAD: "error", WAITING: "warning"}.get(state, "info")
        msg = "event_not_delivered" if state == WAITING else f"event_{state}"
        hook, now = self.hooks.get(name), self.clock.now()
        failing = Failing() if hook is None else hook.failing
        told: dict[str, float | str] = {} if state == DELIVERED else {"error": verdict.error}
        if state == WAITING:
            failed = failing.failed(now)
            if failed is None:
                return
            told |= {"next_in": round(verdict.delay, 3), **failed}
        self.tell(level, msg, webhook=name, event=entry.id, attempts=attempts_of(entry, head_of(entry)), **told)
        if state == DELIVERED and (recovered := failing.succeeded(now)) is not None:
            self.tell("info", "deliveries_succeed_again", webhook=name, **recovered)

    # Counting and clearing.

    async def _look_after(self) -> None:
        purge_at = self.clock.now()
        while True:
            is_time = self.clock.now() >= purge_at
            for name, hook in list(self.hooks.items()):
                try:
                    hook.tally = await self.backlog().tally(line_of(name))
                    if is_time:
                        await self._purge(name, hook.spec.config)
                except StoreFailed:  # The store's own line tells it.
                    continue
            if is_time:
                purge_at = self.clock.now() + PURGE_EVERY
            await self.clock.sleep(COUNT_EVERY)

    async def _purge(self, name: str, config: WebhookConfig) -> None:
        for state in ENDED:
            kept = float(config.dedupe_for if state == DELIVERED else max(config.dedupe_for, config.dead_for))
            gone = await purged(self.backlog(), line_of(name), state, kept)
            if gone and state == DEAD:
                self.tell("warning", "dead_events_dropped", webhook=name, events=gone)

    def _counts(self) -> list[tuple[tuple[str, ...], float]]:
        return [
            ((name, state), hook.tally.states.get(state, 0))
            for name, hook in list(self.hooks.items())
            for state in STATES
        ]

    def _ages(self) -> list[tuple[tuple[str, ...], float]]:
        return [((name,), age(hook.tally, self.clock.wall())) for name, hook in list(self.hooks.items())]

    def _ratios(self) -> list[tuple[tuple[str, ...], float]]:
        return [
            ((name,), used_ratio(hook.tally, hook.spec.config.length_max, int(hook.spec.config.bytes_max)))
            for name, hook in list(self.hooks.items())
        ]

    def _shown(self, hook: Hook) -> dict[str, Any]:
        counts = {state: count for state, count in hook.tally.states.items() if count}
        running = {"delivering_here": hook.worker.running} if hook.worker is not None else {"fetched": True}
        oldest = {"oldest_seconds": round(age(hook.tally, self.clock.wall()), 1)} if hook.tally.oldest_at else {}
        return {**running, **counts, **oldest}
