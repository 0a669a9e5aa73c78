"""Injecting: `sidecar injector`; one injector from the start of the process to its end, led by signals."""

import asyncio
import random  # noqa: TID251 - a root of composition, as app.py
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import uvloop

from sidecar import __version__
from sidecar.admin.door import PeopleDoor
from sidecar.admin.health import health_app
from sidecar.config.changes import Fingerprint, fingerprint
from sidecar.config.problem import ConfigError, Problem
from sidecar.core.address import Address
from sidecar.core.clock import Clock, SystemClock
from sidecar.core.tasks import Tasks
from sidecar.core.units import Duration
from sidecar.kubernetes import directory
from sidecar.kubernetes.certificate import ServingContext, read_certificate, serving_context
from sidecar.kubernetes.door import Door
from sidecar.kubernetes.injector import Injector
from sidecar.process import keep_standard_files, raise_files_max, settle_memory
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.quiet import quiet_hooks, quiet_libraries
from sidecar.telemetry.redact import Redactor
from sidecar.telemetry.writer import Writer

WATCH_EVERY = 1.0  # Seconds between two looks at the files.
LOOKS_MAX = 3  # At files that change while they are read. Then what was read is told, and read once more later.
FLUSH_MAX = 2.0  # Seconds that the last log lines may take; a reader that is stuck longer loses them.


class Options(NamedTuple):
    """What the command line says."""

    configs: Path
    certificate: Path
    key: Path
    namespace: str
    listen: str
    leave: str


class Source:
    """Something that is read from files: when they change, and again while it has problems."""

    def __init__(self, name: str, files: Callable[[], Iterable[Path]], read: Callable[[], list[str]]) -> None:
        self.name = name
        self.problems: list[str] = []
        self._files = files
        self._read = read
        self._seen: Fingerprint | None = None

    def look(self) -> bool:
        """Read it if there is a reason, and say whether there is something to tell. It blocks: for a thread."""
        seen = self._look()
        if seen == self._seen and not self.problems:
            return False
        before, is_first = self.problems, self._seen is None
        for _ in range(LOOKS_MAX):  # Certificate and key change together, and one was read before, the other behind.
            self.problems = self._read()
            self._seen, seen = seen, self._look()
            if seen == self._seen:
                break
        return is_first or self.problems != before or not self.problems

    def _look(self) -> Fingerprint:
        try:
            return fingerprint(self._files())
        except OSError:
            return Fingerprint(())


class Injecting:
    """The composition root of an injector. `start` and `stop` once each."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._clock: Clock = SystemClock()
        self._metrics = Metrics()
        self._writer = Writer(self._metrics.counter("sidecar_log_lines_dropped_total"))
        self._log = Log(LogConfig(), self._writer, Redactor(), self._clock.wall, random.random)
        self._tasks = Tasks()
        self._injector = Injector(options.namespace, self._metrics, self._log)
        self._door = Door(self._injector, self._clock)
        self._people = PeopleDoor(self._clock)
        self._tls: ServingContext | None = None
        self._not_ready: str | None = "starting"
        self._hurry = asyncio.Event()
        self._sources = (
            Source("certificate", lambda: (options.certificate, options.key), self._read_certificate),
            Source("configs", lambda: directory.files(options.configs), self._read_configs),
        )

    async def start(self) -> None:
        """Read the files and open the door. Raises ConfigError; nothing is left open then."""
        address, self._leave_s = _address(self._options), _leave(self._options)
        quiet_libraries(self._log, self._clock.now)
        quiet_hooks(self._log)
        for source in self._sources:
            await asyncio.to_thread(source.look)
        if self._tls is None:
            raise ConfigError(Problem("--certificate", problem) for problem in self._sources[0].problems)
        if not await asyncio.to_thread(self._options.configs.is_dir):
            raise ConfigError([Problem("--configs", problem) for problem in self._sources[1].problems])
        self._writer.start()
        app = health_app(lambda: self._not_ready, self._metrics.exposition)
        app.middlewares.insert(0, self._door.middleware())
        try:
            await self._people.open(app, (address.host, address.port), self._tls)
        except OSError as error:
            await asyncio.to_thread(self._writer.close, FLUSH_MAX)
            raise ConfigError([Problem("--listen", f"cannot listen on {self._options.listen}: {error}")]) from None
        for source in self._sources:
            self._tell(source)
        self._not_ready = None
        settle_memory()
        self._tasks.spawn(self._watch(), "watch")
        self._log.event("info", "ready", version=__version__, listen=self._people.bound)

    async def stop(self) -> None:
        """Leave: not ready, yet served on until the API server has learnt it, each connection once; then close."""
        self._not_ready = "draining"
        self._door.is_leaving = True
        self._log.event("info", "drain", step="not_ready", leave=self._leave_s)
        try:
            async with self._clock.timeout_at(self._clock.now() + self._leave_s):
                await self._hurry.wait()
        except TimeoutError:
            pass
        self._log.event("info", "drain", step="close")
        await self._people.close()
        await self._tasks.stop()
        await asyncio.to_thread(self._writer.close, FLUSH_MAX)

    def hurry(self) -> None:
        """Wait no longer: whoever asks twice wants the end now."""
        self._hurry.set()

    # Files.

    async def _watch(self) -> None:
        """Look at the files from time to time."""
        while True:
            await self._clock.sleep(WATCH_EVERY)
            for source in self._sources:
                try:
                    if await asyncio.to_thread(source.look):
                        self._tell(source)
                except Exception as error:  # noqa: BLE001 - the watch goes on, whatever one look met; the line tells it
                    self._log.fault("watch", error)

    def _tell(self, source: Source) -> None:
        """Say in a line and a metric how it stands."""
        self._metrics.gauge("sidecar_injector_reload_ok", source.name).value = int(not source.problems)
        fields: dict[str, object] = {"source": source.name, "configs": sorted(self._injector.configs.good)}
        if source.problems:
            self._log.event("error", "injector_refused", **fields, problems=source.problems)
        else:
            self._log.event("info", "injector_loaded", **fields)

    def _read_configs(self) -> list[str]:
        self._injector.configs, problems = directory.read(self._options.configs, self._injector.configs)
        return problems

    def _read_certificate(self) -> list[str]:
        """Take over the certificate; one with a problem leaves the one before in use."""
        try:
            certificate = read_certificate(self._options.certificate, self._options.key)
        except ValueError as error:
            return [str(error)]
        if self._tls is None:
            self._tls = serving_context(certificate)
        self._tls.current = certificate.context
        self._metrics.gauge("sidecar_injector_certificate_expires_at").value = certificate.expires_at
        return []


def run(options: Options) -> int:
    """Serve until SIGTERM or SIGINT, a second one of which ends the waiting.

    Gives the exit code. Raises ConfigError.
    """
    keep_standard_files()
    raise_files_max()
    return uvloop.run(_serve(options))


async def _serve(options: Options) -> int:
    injecting = Injecting(options)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: injecting.hurry() if stop.is_set() else stop.set())
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # The files are looked at each second as it is.
    await injecting.start()
    await stop.wait()
    await injecting.stop()
    return 0


def _address(options: Options) -> Address:
    try:
        address = Address.parse(options.listen)
    except ValueError as error:
        raise ConfigError([Problem("--listen", str(error))]) from None
    if address.path:
        raise ConfigError([Problem("--listen", 'write "host:port": the API server calls by TCP')])
    return address


def _leave(options: Options) -> float:
    try:
        return float(Duration.parse(options.leave))
    except ValueError as error:
        raise ConfigError([Problem("--leave", str(error))]) from None
