"""Serve: `sidecar run`; one App from the start of the process to its end, led by signals."""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from sidecar.app import App
from sidecar.config.problem import ConfigError
from sidecar.core.tasks import Tasks
from sidecar.process import keep_standard_files, raise_files_max

RELOADS_MAX = 2  # Asked for by SIGHUP: one at work, one in line. Full: the one in line sees what this one would.


def run(config_path: Path) -> int:
    """Serve until SIGTERM or SIGINT, a second one of which cuts the drain short; SIGHUP reloads.

    Gives the exit code.
    """
    keep_standard_files()
    raise_files_max()
    try:
        return uvloop.run(_serve(config_path))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201 - before there is a log to write to
        return 1


async def _serve(config_path: Path) -> int:
    app = App(config_path)
    app.take_hooks()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    reloads = Tasks()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: app.cut_short() if stop.is_set() else stop.set())

    def reload() -> None:
        if len(reloads) < RELOADS_MAX:
            reloads.spawn(app.reload(), "reload")

    loop.add_signal_handler(signal.SIGHUP, reload)
    await app.start()
    await stop.wait()
    await reloads.stop()
    await app.stop()
    return 0
