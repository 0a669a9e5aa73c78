"""A whole pod in-process: the sidecar's App in front of scripted vendors, on free ports, with nothing left behind.

    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            reply = await app.ask("GET", "/vendor/v1/charges")
        line = (await pod.calls())[0]
        await pod.assert_nothing_left()

When it is left, it stops in order; a fault of the sidecar's own that its log tells of fails the test.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sidecar.app import App as Sidecar
from tests.kit.app import App
from tests.kit.vendor import Vendor

WAIT_MAX = 10.0  # Seconds for every wait; then the test fails and says what was left.
LOOK_EVERY = 0.005  # Seconds between two looks at what has no event.
FAULTS = {"internal", "library", "watch", "admin"}  # Lines that no test should cause.

Line = dict[str, Any]

_CONFIG = """\
[sidecar]
drain_timeout = "1s"
{sidecar}
[listen]
egress = [{egress}]
admin = "127.0.0.1:0"
telemetry = "127.0.0.1:0"
{listen}
[secrets.files]
kind = "file"
path = "{secrets}"
[log]
level = "{level}"
{config}
"""
_SERVICE = """
[services.{name}]
base_url = "{url}"
allow_private = true
{service}
"""


class Pod:
    """One sidecar from start to stop, with one service per vendor; a single vendor's service is named `vendor`.

    `service` is TOML for each service, or by its name; `listen` and `sidecar` are keys of these sections, `egress`
    the doors in quotes; a service that says nothing about `retry` has none, so that each attempt shows and no backoff
    is waited for; `config` stands behind `[log]` and may open sections of its own. A vendor may be a URL instead.
    """

    def __init__(
        self,
        directory: Path,
        vendors: Vendor | str | Mapping[str, Vendor | str],
        *,
        service: str | Mapping[str, str] = "",
        base_path: str = "",
        sidecar: str = "",
        listen: str = "",
        egress: str = '"127.0.0.1:0"',
        config: str = "",
        level: str = "info",
    ) -> None:
        self.config_file = directory / "sidecar.toml"
        self.log_file = directory / "sidecar.log"
        self.secrets = directory / "secrets"  # Of the store `files`.
        self.secrets.mkdir(mode=0o700)
        self.expected_faults: set[str] = set()  # Of FAULTS: what the test itself provokes.
        self._vendors = vendors if isinstance(vendors, Mapping) else {"vendor": vendors}
        self._service = service
        self._base_path = base_path
        self._sections = {"sidecar": sidecar, "listen": listen, "egress": egress, "config": config, "level": level}
        self._stream: FileIO | None = None
        self._sidecar: Sidecar | None = None
        self._is_stopped = False
        self._logging: tuple[list[logging.Handler], int, bool] = ([], 0, True)

    @property
    def sidecar(self) -> Sidecar:
        """The composition root itself."""
        assert self._sidecar is not None
        return self._sidecar

    @property
    def address(self) -> str:
        """The first door for the app."""
        return self.sidecar.egress_addresses[0]

    def app(self, address: str | None = None) -> AbstractAsyncContextManager[App]:
        """Connect an app to a door: `async with pod.app() as app`."""
        return App.to(address or self.address)

    def write_secret(self, name: str, value: str | bytes, mode: int = 0o600) -> None:
        """Write a file of the store `files`."""
        file = self.secrets / name
        file.touch(mode=0o600)
        file.write_bytes(value if isinstance(value, bytes) else value.encode())
        file.chmod(mode)

    def write_config(self) -> None:
        """Write the config file anew; ports of vendors are known from when they are entered."""
        text = _CONFIG.format(secrets=self.secrets, **self._sections)
        for name, vendor in self._vendors.items():
            url = vendor if isinstance(vendor, str) else vendor.url + self._base_path
            own = self._service if isinstance(self._service, str) else self._service.get(name, "")
            if "retry" not in own:
                own = f"retry = false\n{own}"
            text += _SERVICE.format(name=name, url=url, service=own)
        self.config_file.write_text(text)

    # What it tells.

    def snapshot(self) -> dict[str, Any]:
        """Show what goes on, as the admin API does."""
        return self.sidecar.snapshot()

    async def log_lines(self) -> list[Line]:
        """Give all lines written up to now."""
        if not self._is_stopped:
            assert await asyncio.to_thread(self.sidecar._writer.flush, WAIT_MAX), "the log is stuck"
        return [json.loads(line) for line in self.log_file.read_bytes().splitlines()]

    async def calls(self, count: int = 1) -> list[Line]:
        """Give the canonical lines, as soon as there are `count`: a call ends a little after its answer."""
        lines: list[Line] = []
        for _ in range(int(WAIT_MAX / LOOK_EVERY)):
            lines = [line for line in await self.log_lines() if line["msg"] == "call"]
            if len(lines) >= count:
                return lines
            await _pause()
        raise AssertionError(f"{len(lines)} of {count} calls have a line: {lines}")

    async def until(self, is_so: Callable[[], bool], what: str = "a condition") -> None:
        """Wait until something inside the sidecar is so."""
        for _ in range(int(WAIT_MAX / LOOK_EVERY)):
            if is_so():
                return
            await _pause()
        raise AssertionError(f"the pod waited {WAIT_MAX:g} s in vain for {what}; left is: {self.what_is_left()}")

    # What is left.

    def what_is_left(self) -> dict[str, Any]:
        """Give everything that stands for a call or a connection of the app, by where it was found; empty: quiet."""
        sidecar, snapshot = self.sidecar, self.snapshot()
        listeners = sidecar._doors.egress
        found: dict[str, Any] = {
            "connections": snapshot["connections"],
            "busy connections": sidecar._doors.busy,
            "calls in flight": snapshot["calls_in_flight"],
            "refused calls in flight": sidecar._exchange._door_observer.in_flight,
            "tasks of connections": sorted(task.get_name() for one in listeners for task in one._tasks._running),
            "tasks": sorted(name for task in sidecar._tasks._running if (name := task.get_name()) != "watch"),
        }
        for name, service in snapshot["services"].items():
            found[f"{name}: calls in flight"] = service["calls_in_flight"]
            found[f"{name}: busy places of the pool"] = service["pool"]["busy"]
            found[f"{name}: waiting for the pool"] = service["pool"]["waiting"]
        return {where: what for where, what in found.items() if what}

    async def is_quiet(self) -> bool:
        """Wait until nothing is left, and say whether it came to that."""
        try:
            await self.until(lambda: not self.what_is_left(), "quiet")
        except AssertionError:
            return False
        return True

    async def assert_nothing_left(self) -> None:
        """Assert that no connection, place, call or task is left; the app's connections are closed before."""
        assert await self.is_quiet(), f"left behind: {self.what_is_left()}"

    # Life.

    async def __aenter__(self) -> Self:
        root = logging.getLogger()
        self._logging = (root.handlers[:], root.level, logging.raiseExceptions)
        self.write_config()
        self._stream = self.log_file.open("wb", buffering=0)
        self._sidecar = Sidecar(self.config_file, log_stream=self._stream)
        try:
            await self._sidecar.start()
        except BaseException:
            self._restore()
            raise
        return self

    async def stop(self) -> None:
        """Drain and close, once."""
        if not self._is_stopped:
            self._is_stopped = True
            await self.sidecar.stop()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            self._restore()
        faults = [line for line in await self.log_lines() if line["msg"] in FAULTS - self.expected_faults]
        if faults and error is None:
            raise AssertionError(f"the sidecar tells of faults of its own: {json.dumps(faults, indent=1)}")

    def _restore(self) -> None:
        """Give the libraries' loggers back: the sidecar takes all of them, and its log is closed now."""
        assert self._stream is not None
        self._stream.close()
        root = logging.getLogger()
        handlers, level, logging.raiseExceptions = self._logging
        root.handlers[:] = handlers
        root.setLevel(level)


async def _pause() -> None:
    """Wait a moment, for sockets and threads take real time."""
    try:
        async with asyncio.timeout(LOOK_EVERY):
            await asyncio.Event().wait()
    except TimeoutError:
        return
