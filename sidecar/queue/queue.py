"""Queue: the lines of jobs of this process: submitted to, worked off, shown, and led by people.

A line is worked off in each pod that has its service configured. Workers live on over reloads, with the service and
section of the new generation; those of a line that is no longer configured are stopped, and its jobs stay in the store.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from operator import methodcaller
from typing import Any

from aiolimiter import AsyncLimiter

from sidecar.auth.oauth.pace import Pace
from sidecar.core.clock import Clock
from sidecar.core.errors import JobState, StoreUnavailable, UnknownJob
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.layers.defer.layer import Submit
from sidecar.queue.batch.item_turns import ItemTurns
from sidecar.queue.batch.register import Register, life_of
from sidecar.queue.callback import CALLBACKS, Callbacks, note
from sidecar.queue.job import CANCELLED, DEAD, ENDED, ITEMS, line_of, service_of, shown, states_before
from sidecar.queue.line import Line, LineSpec, ages, counts, ratios
from sidecar.queue.submit import Submitter
from sidecar.queue.turn import TURN_MAX, Turns
from sidecar.store.backlog import UNFINISHED, WAITING, Backlog, Entry
from sidecar.store.base import Store, StoreFailed, StoreFull
from sidecar.telemetry.metrics import Metrics
from sidecar.working.clearing import purged
from sidecar.working.verdict import Ended
from sidecar.working.worker import Runs, Worker

COUNT_EVERY = 5.0  # Seconds between two counts of the lines, for metrics and pages.
QUIET_ROUNDS = 6  # A line with nothing to do is counted every so many rounds: other pods may have brought something.
PURGE_EVERY = 300.0
PAGE_MAX = 200  # Jobs in one list.


class Queue:
    """All lines."""

    def __init__(
        self,
        store: Callable[[], Store],
        clock: Clock,
        jitter: Callable[[], float],
        ids: Ids,
        tell: Callable[..., None],
        fault: Callable[..., None],
        holds_secret: Callable[[bytes], bool],
        metrics: Metrics,
        make_pace: Callable[[float, float], Pace] = AsyncLimiter,
    ) -> None:
        self._backlog: Callable[[], Backlog] = lambda: store().backlog
        self.register = Register(store, clock)  # Of batches.
        self._clock = clock
        self._jitter = jitter
        self._tell = tell
        self._fault = fault
        self._holds_secret = holds_secret
        self._make_pace = make_pace
        self._holder = ids.take(32)
        self._lines: dict[str, Line] = {}
        self._leaving: set[Worker] = set()  # Of lines that are gone; their turns end.
        self._tasks = Tasks()
        self._submitter = Submitter(self._backlog, ids, clock, jitter, self.wake)
        metrics.watch_series("sidecar_queue_jobs", lambda: counts(self._lines), self)
        metrics.watch_series("sidecar_queue_oldest_seconds", lambda: ages(self._lines, clock.wall()), self)
        metrics.watch_series("sidecar_queue_used_ratio", lambda: ratios(self._lines), self)

    @property
    def submit(self) -> Submit:
        """Store the job of a call, and answer 202."""
        return self._submitter.submit

    # For the generation.

    def use(self, specs: Mapping[str, LineSpec]) -> None:
        """Work these lines off from now on."""
        if not self._tasks and specs:
            self._tasks.spawn(self._look_after(), "queues")
        for name in [name for name in self._lines if name not in specs]:
            for worker in self._lines.pop(name).workers:
                self._let_go(worker)
            self._tasks.spawn(self._tell_left(name), f"what is left of {name}")
        for name, spec in specs.items():
            line = self._lines.get(name)
            if line is None:
                self._lines[name] = line = Line(name, spec)
                line.workers.append(self._worker(name, self._turns(name, spec), spec, partial(self._ended, line)))
                line.workers[0].start()
            self._renew(line, spec)

    @property
    def running(self) -> int:
        """Turns under way in this pod."""
        return sum(worker.running for worker in self._workers())

    async def stop(self, seconds: float) -> int:
        """Begin no more; let turns end within `seconds`, give the others back, and say how many these were."""
        stopping = [self._tasks.spawn(worker.stop(seconds), "stopping a queue") for worker in self._workers()]
        if stopping:
            await asyncio.wait(stopping)
        await self._tasks.stop()
        return sum(one.result() for one in stopping)

    def cut_short(self) -> None:
        """Wait no longer for the turns under way."""
        for worker in self._workers():
            worker.cut_short()

    def snapshot(self, service: str) -> dict[str, Any]:
        """Show the lines of a service, for people."""
        own = [line for line in self._lines.values() if service_of(line.name) == service]
        lines = [shown for line in own if (shown := line.shown(self._clock.wall()))]
        return {"queue": lines[0] if len(lines) == 1 else lines} if lines else {}

    # For the app and for people. All raise StoreUnavailable.

    async def job(self, name: str) -> dict[str, Any]:
        """Show a job with its answer. Raises UnknownJob."""
        entry = await self._ask(lambda backlog: backlog.get(line_of(name), name))
        if entry is None:
            raise self._unknown(name)
        return shown(line_of(name), entry, is_whole=True)

    async def jobs(self, service: str | None, state: str | None, after: str, count: int) -> list[dict[str, Any]]:
        """List jobs, line by line, the newest first of each; `after` is the last one of the page before."""
        first = line_of(after)  # The page goes on in this line, and then with those that come after it.
        names = {name for name in self._lines if (service is None or service_of(name) == service) and name >= first}
        found: list[dict[str, Any]] = []
        for name in sorted(names | ({first} if first else set())):
            left = min(count, PAGE_MAX) - len(found)
            if left > 0:
                entries = await self._ask(methodcaller("find", name, state, after if name == first else "", left))
                found += [shown(name, entry) for entry in entries]
        return found

    async def cancel(self, name: str) -> None:
        """Cancel a job that has not begun. Raises UnknownJob, JobState."""
        await self._move(name, states_before("cancelled"), CANCELLED, "only a job that waits can be cancelled")

    async def retry(self, name: str) -> None:
        """Have a job that ended badly tried again at once. Raises UnknownJob, JobState."""
        await self._move(name, states_before("retried"), WAITING, "only a job that ended badly is tried again")
        self.wake(line_of(name))

    async def discard(self, name: str) -> None:
        """Take a job away that has ended. Raises UnknownJob, JobState."""
        line = line_of(name)
        if not await self._ask(lambda backlog: backlog.discard(line, name, ENDED)):
            raise await self._why_not(name, "only a job that has ended can be discarded; cancel it first")
        self._tell("info", "job_discarded", service=service_of(line), job=name)

    async def _move(self, name: str, states: tuple[str, ...], to: str, rule: str) -> None:
        if not await self._ask(lambda backlog: backlog.move(line_of(name), name, states, to)):
            raise await self._why_not(name, rule)
        self._tell("info", "job_moved", service=service_of(name), job=name, to=to)

    async def _why_not(self, name: str, rule: str) -> UnknownJob | JobState:
        entry = await self._ask(lambda backlog: backlog.get(line_of(name), name))
        if entry is None:
            return self._unknown(name)
        return JobState(f"the job is {entry.state}; {rule}")

    async def _ask(self, question: Callable[[Backlog], Any]) -> Any:
        try:
            return await question(self._backlog())
        except StoreFailed as failed:
            raise StoreUnavailable(str(failed), retry_after=1.0) from None

    def _unknown(self, name: str) -> UnknownJob:
        return UnknownJob(f"there is no job {name[:128]!r}; what ended is kept for queue.keep_for")

    # Lines.

    def _renew(self, line: Line, spec: LineSpec) -> None:
        """Go on with another generation's service. What runs goes on: it may have been sent."""
        line.spec = spec
        line.workers[0].runs = self._turns(line.name, spec)
        line.workers[0].pace = self._pace(spec)
        has_callbacks = len(line.workers) > 1
        if spec.config.callback is None:
            if has_callbacks:
                self._let_go(line.workers.pop())
        elif has_callbacks:
            line.workers[1].runs = self._callbacks(line)
        else:
            told = partial(self._posted, line)
            line.workers.append(self._worker(line.name + CALLBACKS, self._callbacks(line), spec, told))
            line.workers[1].start()

    def _workers(self) -> list[Worker]:
        return [*self._leaving, *(worker for line in self._lines.values() for worker in line.workers)]

    async def _tell_left(self, name: str) -> None:
        """Tell of jobs whose line is not worked off any more."""
        with suppress(StoreFailed):  # The store's own line tells it.
            tally = await self._backlog().tally(name)
            if left := sum(tally.states.get(state, 0) for state in UNFINISHED):
                self._tell("warning", "jobs_left", service=service_of(name), jobs=left)

    def _let_go(self, worker: Worker) -> None:
        """Have it begin no more, and let its turns end: cut off here, a call would be made twice."""
        self._leaving.add(worker)
        stopping = self._tasks.spawn(worker.stop(TURN_MAX), "stopping a queue")
        stopping.add_done_callback(lambda _: self._leaving.discard(worker))

    def _callbacks(self, line: Line) -> Callbacks:
        return Callbacks(line.name, line.spec.config, line.spec.secret, self._clock, self._jitter)

    def _turns(self, name: str, spec: LineSpec) -> Runs:
        service, (config, statuses, handle, is_busy, _) = service_of(name), spec
        turns = Turns(
            service, config, statuses, handle, is_busy, self._clock, self._jitter, self._fault, self._holds_secret
        )
        return ItemTurns(turns, life_of(config), self.register) if name.endswith(ITEMS) else turns

    def _worker(self, name: str, runs: Runs, spec: LineSpec, ended: Any) -> Worker:
        tell = partial(self._tell, service=service_of(name))
        return Worker(name, self._holder, self._backlog, runs, self._pace(spec), self._clock, tell, ended)

    def _pace(self, spec: LineSpec) -> Pace:
        return self._make_pace(max(1.0, spec.config.rate.count), spec.config.rate.seconds)

    def wake(self, name: str) -> None:
        """Have a line looked at, for it has new jobs."""
        line = self._lines.get(name)
        if line is not None:
            line.is_quiet = False
            for worker in line.workers:
                worker.wake()

    async def _ended(self, line: Line, entry: Entry, ended: Ended) -> None:
        """Tell how a job's turn ended, and leave its result for the app before it is settled: none gets lost."""
        state, service = ended.settlement.state, service_of(line.name)
        if state == WAITING:
            return
        if line.spec.config.callback is not None and ended.verdict.event != "unaccepted":
            try:
                await note(self._backlog(), line.name, line.spec.config, entry, ended, self._clock)
            except StoreFull as full:  # Results that the app does not take hold no jobs up; the job itself has it.
                self._tell("error", "job_result_not_left", service=service, job=entry.id, error=str(full))
            self.wake(line.name)
        level = {DEAD: "error", "failed": "warning"}.get(state, "info")
        facts = {"attempts": entry.attempts, "error": ended.verdict.error or None}
        self._tell(level, f"job_{state}", service=service, job=entry.id, **facts)

    async def _posted(self, line: Line, entry: Entry, ended: Ended) -> None:
        """Tell of a result that the app did not take: at first, and when it is given up."""
        service, job, error = service_of(line.name), line_of(entry.id), ended.verdict.error
        if ended.settlement.state == DEAD:
            self._tell("error", "job_result_not_taken", service=service, job=job, error=error)
        elif error and entry.attempts == 1:
            self._tell("warning", "job_result_refused", service=service, job=job, error=error)

    # Counting and clearing.

    async def _look_after(self) -> None:
        purge_at = self._clock.now()
        for number in count():
            is_due = self._clock.now() >= purge_at
            for line in list(self._lines.values()):
                if line.is_quiet and number % QUIET_ROUNDS and not is_due:
                    continue
                try:
                    line.is_quiet = True  # Before the question: what comes meanwhile is counted the next time.
                    line.tally = await self._backlog().tally(line.name)
                    line.is_quiet &= not any(line.tally.states.get(state) for state in UNFINISHED)
                    if is_due:
                        await self._purge(line)
                except StoreFailed:  # The store's own line tells it.
                    line.is_quiet = False
            if is_due:
                purge_at = self._clock.now() + PURGE_EVERY
            await self._clock.sleep(COUNT_EVERY)

    async def _purge(self, line: Line) -> None:
        config, backlog = line.spec.config, self._backlog()
        for state in ENDED:
            kept = float(config.dead_for if state == DEAD else config.keep_for)
            if line.is_of_items:  # As long as their batch.
                kept = max(kept, life_of(config))
            gone = await purged(backlog, line.name, state, kept)
            if gone and state == DEAD:
                self._tell("warning", "dead_letters_dropped", service=service_of(line.name), jobs=gone)
            if config.callback is not None:
                await purged(backlog, line.name + CALLBACKS, state, kept)
