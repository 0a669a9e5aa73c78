"""Processes: started on a core of their own, watched in /proc, and ended by their id, whatever happens."""

import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")  # CPU time in /proc is counted in these, so a figure is good to one of them.
POLL = 0.005  # Seconds between two looks at whether a process is up.
STOP_MAX = 10.0  # Seconds that a process has to end after SIGTERM; then it is killed.


def cores() -> tuple[int, int]:
    """Give the core of the contenders, and that of origin and load; the same one on a machine with a single core."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


class Process:
    """A process and its descendants: nginx works in a child."""

    def __init__(self, command: str, core: int, log: Path, env: Mapping[str, str]) -> None:
        self.name = log.name
        self.log = log
        with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
            # Stdout is a pipe, as in a pod, and somebody on the other core reads it. This is where the sidecar logs;
            # the peers write files of their own.
            self._reader = subprocess.Popen(
                ["taskset", "-c", str(cores()[1]), "cat"], stdin=subprocess.PIPE, stdout=out, start_new_session=True
            )
            assert self._reader.stdin is not None
            self.started_at = time.perf_counter()
            self._popen = subprocess.Popen(
                ["taskset", "-c", str(core), *shlex.split(command)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=self._reader.stdin,
                stderr=err,
                env={**os.environ, **env},
                start_new_session=True,
            )
        self._reader.stdin.close()
        self.pid = self._popen.pid

    def family(self) -> list[int]:
        """Give the ids of the process and of all its descendants."""
        pids, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            pids.append(pid)
            with suppress(OSError):
                todo += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return pids

    def cpu_s(self) -> float:
        """Give the CPU seconds used so far, user and system."""
        ticks = 0
        for pid in self.family():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def rss_mib(self) -> float:
        """Give the resident memory now."""
        total = 0
        for pid in self.family():
            match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            total += int(match[1]) if match else 0
        return total / 1024

    def wait_until(self, url: str, seconds: float = 20.0) -> float:
        """Wait until `url` (plain http) answers 200; give the seconds since the start of the process."""
        ends_at = time.perf_counter() + seconds
        while not answers(url):
            if self._popen.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self._popen.returncode}: {self._last_words()}")
            if time.perf_counter() > ends_at:
                raise SystemExit(f"{self.name} did not answer 200 at {url} in {seconds:g} s: {self._last_words()}")
            time.sleep(POLL)
        return time.perf_counter() - self.started_at

    def stop(self) -> None:
        """Ask it to end, and see to it that it does."""
        for signal_ in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal_)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_MAX)
                break
        with suppress(subprocess.TimeoutExpired):
            self._reader.wait(STOP_MAX)
        self._reader.kill()
        self._reader.wait()

    def _last_words(self) -> str:
        texts = [path.read_text(errors="replace")[-2000:] for path in (self.log, self.log.with_suffix(".err"))]
        return "\n".join(text for text in texts if text) or "it said nothing"


class Processes:
    """All processes of one run; leaving the block ends them, also when the run is told to end by SIGTERM."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._running: list[Process] = []

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._running:
            self._running.pop().stop()

    def start(self, name: str, command: str, core: int, env: Mapping[str, str] | None = None) -> Process:
        """Start a process whose output goes to `<name>.log` and `<name>.err`."""
        process = Process(command, core, self.scratch / f"{name}.log", env or {})
        self._running.append(process)
        return process

    def stop(self, process: Process) -> None:
        """End one before the others."""
        self._running.remove(process)
        process.stop()


def answers(url: str) -> bool:
    """Whether a GET is answered with 200, asked on a connection of its own."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    with suppress(OSError), socket.create_connection((name, int(port)), timeout=2) as connection:
        connection.sendall(request.encode())
        return connection.recv(12).endswith(b" 200")
    return False


def require_free(*ports: int) -> None:
    """Refuse to measure what somebody else serves: raises SystemExit if one of the ports is taken."""
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise SystemExit(f"port {port} is taken; end what listens there and start again")


def _leave(_signal: int, _frame: object) -> None:
    raise SystemExit(143)  # 128 + SIGTERM, as shells have it; as an exception, so that the blocks are left in order.
