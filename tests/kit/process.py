"""A real sidecar: `python -m sidecar run` with a config of the test's, on free ports, always reaped.

async with Process(tmp_path, config) as sidecar:
    async with App.to(sidecar.egress_url) as app: ...
assert sidecar.lines[-1]["step"] == "close"
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

READY_MAX = 20.0  # Seconds from the start to /readyz.
STOP_MAX = 20.0  # Seconds from SIGTERM to the end; then SIGKILL, and the test fails.
POLL_EVERY = 0.02

PATHS = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]

Line = dict[str, Any]


# Below the range from which the kernel takes the ports of outgoing connections (32768 and up on Linux), and a thousand
# for each worker of the tests: a port found free here stays free until it is used. Where in the thousand one begins
# depends on the process, so that two runs of the tests on one machine rarely meet.
_WORKER = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
_FIRST, _BEGIN = 20_000 + 1_000 * (_WORKER % 12), os.getpid() * 37 % 1_000
_PORTS = itertools.cycle(_FIRST + (_BEGIN + number) % 1_000 for number in range(1_000))


def free_ports(count: int) -> list[int]:
    """Give ports of loopback that nobody listens on now, and nobody is given by chance."""
    ports: list[int] = []
    while len(ports) < count:
        port = next(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports


class Process:
    """One `sidecar run`, from ready to gone.

    `config` is TOML without `[listen]`, which is put in front of it; keys of `[listen]` come in `listen`, as TOML.
    `command` is what else runs it, such as a container's entry point.
    """

    def __init__(
        self, directory: Path, config: str, *, listen: str = "", is_ready: bool = True, command: Sequence[str] = ()
    ) -> None:
        egress, admin, telemetry = free_ports(3)
        self.egress_url = f"http://127.0.0.1:{egress}"
        self.admin_url = f"http://127.0.0.1:{admin}"
        self.telemetry_url = f"http://127.0.0.1:{telemetry}"
        self.lines: list[Line] = []  # What it wrote to stdout, each line one JSON object.
        self.errors = bytearray()  # What it wrote to stderr.
        self.exit_code: int | None = None
        self.config_file = directory / "sidecar.toml"
        self._listen = (
            f'[listen]\negress = ["127.0.0.1:{egress}"]\nadmin = "127.0.0.1:{admin}"\n'
            f'telemetry = "127.0.0.1:{telemetry}"\n{listen}\n'
        )
        self._waits_until_ready = is_ready
        self._command = command or (sys.executable, "-m", "sidecar", "run", "-c", str(self.config_file))
        self._changed = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self.write_config(config)

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def write_config(self, config: str) -> None:
        """Write the config file anew, in one step, with the same listeners."""
        fresh = self.config_file.with_suffix(".new")
        fresh.write_text(self._listen + config)
        fresh.replace(self.config_file)

    async def wait_for_line(self, is_it: Callable[[Line], bool], what: str = "a line") -> Line:
        """Wait for a line of stdout, past or to come."""
        seen = 0
        try:
            async with asyncio.timeout(READY_MAX):
                while True:
                    for line in self.lines[seen:]:
                        if is_it(line):
                            return line
                    seen = len(self.lines)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come; {self._account()}") from None

    async def terminate(self) -> int:
        """Ask it to stop with SIGTERM, and give its exit code."""
        return await self._stop(signal.SIGTERM)

    async def wait(self) -> int:
        """Wait for the end that it was asked for already, and give its exit code."""
        return await self._stop(None)

    async def kill(self) -> int:
        """End it at once with SIGKILL."""
        return await self._stop(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, such as SIGHUP."""
        assert self._process is not None
        self._process.send_signal(number)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=PIPE, stderr=PIPE, limit=2**22, cwd=self.config_file.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            asyncio.create_task(self._read_lines(self._process.stdout)),
            asyncio.create_task(self._read_errors(self._process.stderr)),
        ]
        try:
            if self._waits_until_ready:
                await self._wait_until_ready()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if error is None:
            await self.terminate()
        else:
            await self.kill()

    async def _wait_until_ready(self) -> None:
        assert self._process is not None
        try:
            async with asyncio.timeout(READY_MAX), aiohttp.ClientSession() as session:
                while not await self._is_ready(session):
                    if await self._has_ended_within(POLL_EVERY):
                        raise AssertionError(f"the sidecar ended by itself; {self._account()}")
        except TimeoutError:
            raise AssertionError(f"the sidecar was not ready in {READY_MAX:g} s; {self._account()}") from None

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.telemetry_url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def _has_ended_within(self, seconds: float) -> bool:
        """Wait for the process's end, which is also the pause between two looks."""
        assert self._process is not None
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def _stop(self, number: signal.Signals | None) -> int:
        assert self._process is not None
        if self._process.returncode is None and number is not None:
            self._process.send_signal(number)
        is_gone = await self._has_ended_within(STOP_MAX)
        if not is_gone:
            self._process.kill()
        self.exit_code = await self._process.wait()
        await asyncio.gather(*self._readers)
        assert is_gone, f"the sidecar did not stop within {STOP_MAX:g} s of {number and number.name}; {self._account()}"
        return self.exit_code

    async def _read_lines(self, stream: asyncio.StreamReader) -> None:
        async for raw in stream:
            try:
                self.lines.append(json.loads(raw))
            except ValueError:
                self.lines.append({"not_json": raw.decode(errors="replace")})  # For the test to find.
            self._changed.set()

    async def _read_errors(self, stream: asyncio.StreamReader) -> None:
        async for raw in stream:
            self.errors += raw

    def _account(self) -> str:
        code = self._process.returncode if self._process is not None else None
        return f"exit code {code}, last lines {self.lines[-5:]}, stderr {self.errors[-2000:].decode(errors='replace')}"
