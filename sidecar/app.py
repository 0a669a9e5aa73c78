"""App: the composition root; it starts, reloads and drains what the other rooms built."""

import asyncio
import random  # noqa: TID251 - the composition root is where chance comes from
from io import FileIO
from pathlib import Path
from typing import Any

from sidecar import __version__
from sidecar.admin.health import health_app
from sidecar.auditing import Auditing
from sidecar.auth.oauth.pace import Paces
from sidecar.config.changes import Fingerprint, authorities, fingerprint, sources
from sidecar.config.load import load
from sidecar.config.problem import ConfigError
from sidecar.core.clock import Clock, SystemClock
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.doors import Doors
from sidecar.downstream.exchange import Exchange
from sidecar.generation import Generation, Grounds, references, share
from sidecar.layers.observe import Observer
from sidecar.own import Own
from sidecar.people import People
from sidecar.process import settle_memory, warn
from sidecar.queue.queue import Queue
from sidecar.storing import Storing
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.quiet import quiet_hooks, quiet_libraries
from sidecar.telemetry.redact import Redactor
from sidecar.telemetry.writer import Writer
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import Trust
from sidecar.webhooks.door import Door as HookDoor
from sidecar.webhooks.events import Events
from sidecar.webhooks.webhooks import Webhooks

WATCH_EVERY = 1.0  # Seconds between two looks at the config's and the secrets' files.
FLUSH_MAX = 2.0  # Seconds that the last log lines may take; a reader that is stuck longer loses them.
FLUSH_MAX_HURRIED = 0.1  # The same when the reader was found to be stuck, or the drain was cut short.


class App:
    """One sidecar. `start` and `stop` once each; `reload` as often as the config changes."""

    def __init__(self, config_path: Path, log_stream: FileIO | None = None) -> None:
        self._path = config_path
        self._clock: Clock = SystemClock()
        clock = self._clock
        metrics = Metrics()
        fd = 1 if log_stream is None else log_stream.fileno()
        self._writer = Writer(metrics.counter("sidecar_log_lines_dropped_total"), fd)
        self._log = Log(LogConfig(), self._writer, Redactor(), clock.wall, random.random)
        self._tasks = Tasks()
        self._auditing = Auditing(metrics, clock, self._log, self._writer)
        audit, self._tell = self._auditing.audit, self._auditing.tell
        self._storing = Storing(clock, random.random, self._tell, metrics)
        self._queue = Queue(
            lambda: self._storing.store, clock, random.random, Ids(), self._tell, self._log.fault,
            self._log.redactor.holds, metrics,
        )  # fmt: skip
        self._webhooks = Webhooks(lambda: self._storing.store.backlog, clock, random.random, Ids(), self._tell, metrics)
        self._grounds = Grounds(
            clock, random.random, Ids(), self._tasks, metrics, self._log, self._tell, audit, Resolver(clock), Trust(),
            Paces(), self._storing, self._queue,
        )  # fmt: skip
        observer = Observer(metrics.for_service(""), self._log, clock, audit)
        self._exchange = Exchange(clock, self._grounds.ids, self._tasks, observer, self._log.fault)
        self._own = Own(
            self._exchange, clock, random.random, self._grounds.ids, self._tasks, self._log.fault, self._queue,
            lambda: self._storing.store, self._webhooks,
        )  # fmt: skip
        people = People(
            self._current, self.snapshot, self.reload, self._queue, Events(self._webhooks), audit, self._log.fault
        )
        self._doors = Doors(
            self._exchange.run,
            clock,
            {
                "telemetry": lambda _: health_app(lambda: self._not_ready, metrics.exposition),
                "admin": people.app,
                "webhooks": HookDoor(self._webhooks, clock, Ids(), self._log.fault).app,
            },
        )
        self._generation: Generation | None = None
        metrics.watch_series("sidecar_admission_used_ratio", self._admitted, self)
        self._seen = Fingerprint(())  # The files when they were last read, whether they were good or not.
        self._problems: list[str] = []  # Of the config read last, when it was refused.
        self._not_ready: str | None = "starting"
        self._reloading = asyncio.Lock()
        self._flush_max = FLUSH_MAX
        self._is_cut_short = False

    @property
    def egress_addresses(self) -> list[str]:
        """Where the app is served."""
        return [listener.url for listener in self._doors.egress]

    def address(self, door: str) -> str:
        """Where `admin`, `telemetry` or `webhooks` listens."""
        return self._doors.bound(door)

    def snapshot(self) -> dict[str, Any]:
        """Show what goes on, for people."""
        assert self._generation is not None
        return {
            "version": __version__,
            "ready": self._not_ready is None,
            "connections": sum(listener.connections for listener in self._doors.egress),
            "store": self._storing.store.snapshot(),
            **self._generation.snapshot(self._queue.snapshot),
            **self._webhooks.snapshot(),
        }

    # Start.

    def take_hooks(self) -> None:
        """Have what nobody in this process catches told without its words; for the one App of a process."""
        quiet_hooks(self._log)

    async def start(self) -> None:
        """Load the config and open the doors. Raises ConfigError; nothing is left open then."""
        quiet_libraries(self._log, self._clock.now)
        self._writer.start()
        try:
            await self._load()
        except BaseException:
            await self._close()
            raise
        self._not_ready = None
        settle_memory()
        self._tasks.spawn(self._watch(), "watch")
        self._log.event("info", "ready", version=__version__, egress=self.egress_addresses, **self._doors.others)

    async def _load(self) -> None:
        """Read the config and make it the current generation. Raises ConfigError, with nothing changed."""
        # Each file is looked at before it is read: one that changes in between is seen as changed the next time.
        read = self._seen = await asyncio.to_thread(sources, self._path)
        config = await asyncio.to_thread(load, self._path)
        trusted = await asyncio.to_thread(fingerprint, authorities(config))
        mark = self._seen = Fingerprint(read.files + trusted.files)
        previous = self._generation
        await self._storing.use(config, self._path.parent)
        number = previous.number + 1 if previous is not None else 1
        generation = Generation(number, config, mark, share(self._grounds, config, mark, previous))
        await asyncio.to_thread(generation.prepare)
        trust = self._grounds.trust
        trusted_before, trust.contexts = trust.contexts, generation.shared.contexts
        await self._auditing.use(config.audit)  # Before the secrets are read, which is to be in it.
        try:
            generation.open(previous)
            for reference in references(config):
                generation.shared.secrets.hold(reference)
            await generation.shared.secrets.refresh()
            if previous is None:
                self._storing.secrets = generation.shared.secrets
                await self._storing.open()
                # The doors open one after the other, and whom the first lets in is to be served.
                self._serve(generation)
            await self._doors.use(config, config.sidecar.drain_timeout)
        except BaseException:
            trust.contexts = trusted_before
            generation.retire(previous)
            await self._auditing.back_to(previous.config.audit if previous is not None else None)
            raise
        self._swap(generation)

    def _serve(self, generation: Generation) -> None:
        """Have what the app sends next meet this generation."""
        self._exchange.router, self._exchange.app_token = generation.router, generation.app_token
        self._own.use(generation.config)
        self._webhooks.use(generation.hooks(), generation.shared.network)

    def _swap(self, generation: Generation) -> None:
        previous, self._generation = self._generation, generation
        self._serve(generation)
        self._storing.secrets = generation.shared.secrets
        generation.shared.secrets.forget_others(references(generation.config))
        self._log.configure(generation.config.log)
        self._grounds.metrics.gauge("sidecar_config_generation").value = generation.number
        self._grounds.metrics.gauge("sidecar_config_reload_ok").value = 1
        if self._storing.store.is_durable:
            self._queue.use(generation.lines())
        generation.start(previous)
        if previous is not None:
            previous.retire(generation)
        warnings = warn(generation.config, self._log.event)
        self._grounds.metrics.gauge("sidecar_config_warnings").value = warnings
        services = sorted(generation.services)
        self._tell("info", "config_loaded", generation=generation.number, services=services)

    # Reload.

    async def reload(self) -> dict[str, Any]:
        """Have the config read anew, because somebody asks for it.

        Files that did not change make no new generation. What was refused is tried again all the same, for what was
        wrong may have been outside of the files: a taken port.
        """
        return await self._renew(is_asked=True)

    async def _renew(self, *, is_asked: bool) -> dict[str, Any]:
        """Read the config anew where there is a reason; a config with problems changes nothing, and says so."""
        async with self._reloading:  # The watch and a signal may see the same change: the second one finds it done.
            if self._not_ready is not None:
                return {"ok": False, "generation": self._number, "problems": [f"not now: {self._not_ready}"]}
            paths = [Path(file.path) for file in self._seen.files]
            is_same = not (await asyncio.to_thread(fingerprint, paths)).changed(self._seen)
            if is_same and not (is_asked and self._problems):
                return self._result("config_unchanged" if is_asked else None)
            before, self._problems = self._problems, ["the load did not come to its end"]
            try:
                await self._load()
                self._problems = []
            except ConfigError as error:
                self._problems = [str(problem) for problem in error.problems]
                return self._result("config_unchanged" if is_same and self._problems == before else "config_refused")
            finally:
                self._grounds.metrics.gauge("sidecar_config_reload_ok").value = int(not self._problems)
            return self._result(None)

    def _result(self, msg: str | None) -> dict[str, Any]:
        """Say how the config stands, to whoever asked, and with `msg` in a line."""
        problems = self._problems
        if msg is not None:
            self._tell("error" if problems else "info", msg, problems=problems, generation=self._number)
        return {"ok": not problems, "generation": self._number, "problems": problems}

    def _admitted(self) -> list[tuple[tuple[str, ...], float]]:
        gate = self._generation.shared.gate if self._generation is not None else None
        return [] if gate is None else [((), gate.inside / gate.calls_max)]

    def _current(self) -> Generation:
        assert self._generation is not None, "the doors open when it is there"
        return self._generation

    @property
    def _number(self) -> int:
        return self._generation.number if self._generation is not None else 0

    async def _watch(self) -> None:
        """Look at the files from time to time: the config's, and the secrets'."""
        while True:
            await self._grounds.clock.sleep(WATCH_EVERY)
            try:
                await self._renew(is_asked=False)
                assert self._generation is not None
                self._generation.shared.secrets.look()
            except Exception as error:  # noqa: BLE001 - the watch goes on, whatever one look met; the line tells it
                self._log.fault("watch", error)

    # Stop.

    async def stop(self) -> None:
        """Drain: not ready, stop accepting, finish the calls, flush, close. Each step has its line."""
        generation = self._generation
        seconds = float(generation.config.sidecar.drain_timeout) if generation is not None else 0.0
        self._not_ready = "draining"
        self._step("not_ready")
        self._exchange.is_draining = True
        self._step("stop_accepting", busy=self._doors.busy, jobs=self._queue.running)
        self._doors.stop_accepting()
        left = 0.0 if self._is_cut_short else seconds
        jobs = self._tasks.spawn(self._queue.stop(left), "the queue")  # Beside the calls.
        events = self._tasks.spawn(self._webhooks.stop(left), "webhooks")
        cut_off = await self._doors.drain(left)
        await events
        self._step("finish_calls", cut_off=cut_off, jobs_cut_off=await jobs)
        if not await asyncio.to_thread(self._writer.flush, self._flush_max):
            self._flush_max = FLUSH_MAX_HURRIED
        self._step("flush")
        self._step("close")
        await self._close()

    def cut_short(self) -> None:
        """Wait no longer for the calls under way: whoever asks twice wants the end now."""
        busy, jobs = self._doors.busy, self._queue.running
        if (busy or jobs) and not self._is_cut_short:
            self._is_cut_short = True
            self._flush_max = FLUSH_MAX_HURRIED
            self._step("cut_short", busy=busy, jobs=jobs)
            self._doors.cut_short()
            self._queue.cut_short()

    def _step(self, step: str, **fields: object) -> None:
        self._log.event("info", "drain", step=step, **fields)

    async def _close(self) -> None:
        await self._webhooks.stop(0.0)
        if self._generation is not None:
            await self._generation.close()
        await self._tasks.stop()
        if self._generation is not None:
            self._generation.retire(None)
        await self._doors.close()
        await self._storing.close()
        await self._grounds.resolver.stop()
        await self._auditing.close(self._flush_max)
        await asyncio.to_thread(self._writer.close, self._flush_max)
