"""App: the composition root; it starts, reloads and drains what the other rooms built."""

import asyncio
import gc
import random  # noqa: TID251 - the composition root is where chance comes from
import signal
import sys
from io import FileIO
from pathlib import Path
from typing import Any

import uvloop

from sidecar import __version__
from sidecar.admin.api import admin_app
from sidecar.admin.health import health_app
from sidecar.config.changes import Fingerprint, fingerprint, watched
from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.config.problem import ConfigError
from sidecar.config.rules import check
from sidecar.config.show import as_data
from sidecar.core.clock import Clock, SystemClock
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.doors import Doors
from sidecar.downstream.exchange import Exchange
from sidecar.generation import Generation, Grounds, references, share
from sidecar.layers.observe import Observer
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.quiet import quiet_libraries
from sidecar.telemetry.redact import Redactor
from sidecar.telemetry.writer import Writer
from sidecar.upstream.resolve import Resolver

WATCH_EVERY = 1.0  # Seconds between two looks at the config's and the secrets' files.
FLUSH_MAX = 2.0  # Seconds that the last log lines may take; a reader that is stuck longer loses them.


class App:
    """One sidecar. `start` and `stop` once each; `reload` as often as the config changes."""

    def __init__(self, config_path: Path, log_stream: FileIO | None = None) -> None:
        self._path = config_path
        clock: Clock = SystemClock()
        metrics = Metrics()
        fd = 1 if log_stream is None else log_stream.fileno()
        self._writer = Writer(metrics.counter("sidecar_log_lines_dropped_total"), fd)
        self._log = Log(LogConfig(), self._writer, Redactor(), clock.wall, random.random)
        self._tasks = Tasks()
        self._grounds = Grounds(clock, Ids(), self._tasks, metrics, self._log, Resolver(clock))
        observer = Observer(metrics.for_service(""), self._log, clock)
        self._exchange = Exchange(clock, self._grounds.ids, self._tasks, observer, self._log.fault)
        self._doors = Doors(
            self._exchange.run,
            clock,
            {
                "telemetry": lambda _: health_app(lambda: self._not_ready, metrics.exposition),
                "admin": lambda hosts: admin_app(
                    self.snapshot, self._config, self.reload, hosts=hosts, on_fault=self._admin_fault
                ),
            },
        )
        self._generation: Generation | None = None
        self._seen = Fingerprint(())  # The files when they were last read, whether they were good or not.
        self._not_ready: str | None = "starting"
        self._reloading = asyncio.Lock()

    @property
    def egress_addresses(self) -> list[str]:
        """Where the app is served."""
        return [listener.url for listener in self._doors.egress]

    def address(self, door: str) -> str:
        """Where `admin` or `telemetry` listens."""
        return self._doors.bound(door)

    def snapshot(self) -> dict[str, Any]:
        """Show what goes on, for people."""
        assert self._generation is not None
        return {
            "version": __version__,
            "ready": self._not_ready is None,
            "connections": sum(listener.connections for listener in self._doors.egress),
            **self._generation.snapshot(),
        }

    # Start.

    async def start(self) -> None:
        """Load the config and open the doors. Raises ConfigError; nothing is left open then."""
        quiet_libraries(self._log)
        self._writer.start()
        try:
            await self._load()
        except BaseException:
            await self._close()
            raise
        self._not_ready = None
        _settle_memory()
        self._tasks.spawn(self._watch(), "watch")
        self._log.event("info", "ready", version=__version__, egress=self.egress_addresses)

    async def _load(self) -> None:
        """Read the config and make it the current generation. Raises ConfigError, with nothing changed."""
        clock_mark = await asyncio.to_thread(fingerprint, watched(self._path, None))
        self._seen = clock_mark
        config = await asyncio.to_thread(load, self._path)
        mark = await asyncio.to_thread(fingerprint, watched(self._path, config))
        self._seen = mark
        previous = self._generation
        number = previous.number + 1 if previous is not None else 1
        generation = Generation(number, config, mark, share(self._grounds, config, mark, previous))
        await asyncio.to_thread(generation.prepare)
        generation.open(previous)
        try:
            for reference in references(config):
                generation.shared.secrets.hold(reference)
            await generation.shared.secrets.refresh()
            await self._doors.use(config, config.sidecar.drain_timeout)
        except BaseException:
            generation.retire(previous)
            raise
        self._swap(generation)

    def _swap(self, generation: Generation) -> None:
        previous, self._generation = self._generation, generation
        self._exchange.router = generation.router
        self._exchange.app_token = generation.app_token
        generation.shared.secrets.forget_others(references(generation.config))
        self._log.configure(generation.config.log)
        self._grounds.metrics.gauge("sidecar_config_generation").value = generation.number
        self._grounds.metrics.gauge("sidecar_config_reload_ok").value = 1
        if previous is not None:
            previous.retire(generation)
        for problem in check(generation.config):
            self._log.event("warning", "config_warning", path=problem.path, problem=problem.sentence)
        services = sorted(generation.services)
        self._log.event("info", "config_loaded", generation=generation.number, services=services)

    # Reload.

    async def reload(self) -> dict[str, Any]:
        """Read the config anew; a config with problems changes nothing, and says so."""
        async with self._reloading:
            try:
                await self._load()
            except ConfigError as error:
                problems = [str(problem) for problem in error.problems]
                return self._refused(problems)
            assert self._generation is not None
            return {"ok": True, "generation": self._generation.number, "problems": []}

    def _refused(self, problems: list[str]) -> dict[str, Any]:
        assert self._generation is not None
        number = self._generation.number
        self._grounds.metrics.gauge("sidecar_config_reload_ok").value = 0
        self._log.event("error", "config_refused", problems=problems, generation=number)
        return {"ok": False, "generation": number, "problems": problems}

    async def _watch(self) -> None:
        """Look at the files from time to time: the config's, and the secrets'."""
        while True:
            await self._grounds.clock.sleep(WATCH_EVERY)
            generation = self._generation
            assert generation is not None
            try:
                now = await asyncio.to_thread(fingerprint, [Path(file.path) for file in self._seen.files])
                if now.changed(self._seen):
                    await self.reload()
                await generation.shared.secrets.refresh()
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
        self._step("stop_accepting", busy=self._doors.busy)
        self._doors.stop_accepting()
        cut_off = await self._doors.drain(seconds)
        self._step("finish_calls", cut_off=cut_off)
        await asyncio.to_thread(self._writer.flush, FLUSH_MAX)
        self._step("flush")
        self._step("close")
        await self._close()

    def _step(self, step: str, **fields: object) -> None:
        self._log.event("info", "drain", step=step, **fields)

    async def _close(self) -> None:
        await self._tasks.stop()
        if self._generation is not None:
            self._generation.retire(None)
        await self._doors.close()
        await self._grounds.resolver.stop()
        await asyncio.to_thread(self._writer.close, FLUSH_MAX)

    def _config(self) -> dict[str, Any]:
        assert self._generation is not None
        config: Config = self._generation.config
        return as_data(config)

    def _admin_fault(self, error: BaseException) -> None:
        self._log.fault("admin", error)


def _settle_memory() -> None:
    """Take what was built at the start out of the collector's sight: it stays, and looking through it takes 5 ms.

    Calls leave no cycles behind, so the collector may also look more rarely: every 10,000 new containers, not 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def run(config_path: Path) -> int:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads. Gives the exit code."""
    try:
        return uvloop.run(_serve(config_path))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201 - before there is a log to write to
        return 1


async def _serve(config_path: Path) -> int:
    app = App(config_path)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    reloads = Tasks()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: reloads.spawn(app.reload(), "reload"))
    await app.start()
    await stop.wait()
    await reloads.stop()
    await app.stop()
    return 0
