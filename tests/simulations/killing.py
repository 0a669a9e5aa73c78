"""Killing: sidecars that are killed again and again while they are asked for something, and what every such story does.

A story is run over a store by stores.py: `peers` stand for all of it, `pod` makes a sidecar, and `clients` ask until it
is over. In the end `drain` sees all through, and `judge` holds what the peers saw against what was promised.
"""

import abc
import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp

from sidecar.core.clock import SystemClock
from tests.kit.process import Process

EVENTS_MAX = 60  # Things that happen between two kills, not counting those that come while it starts.
EARLY_SHARE, EARLY_MAX = 0.2, 1.5  # Kills while it starts, and seconds after the start.
LATE_MAX = 0.02  # Seconds after the event that was waited for.
PAUSE = 0.02  # Seconds before a sidecar that is not there is asked again.
QUIET_MAX = 60.0  # Seconds in which something happens; then it is stuck.
DRAIN_MAX = 180.0  # Seconds to the end of all work; leases take 30 of them.
CLOCK = SystemClock()

_COMMON = """
[secrets.files]
kind = "file"
path = "{secrets}"
[log]
level = "warning"
"""

Client = Callable[[aiohttp.ClientSession], Coroutine[Any, Any, None]]


class Story(abc.ABC):
    """One run: its clients, its kills, and what came of it."""

    noun = "entries"  # What waits in the store.

    def __init__(self, seed: int, *, early: float = EARLY_SHARE, late: float = LATE_MAX) -> None:
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.doors: list[str] = []  # Of all sidecars.
        self.is_over = False
        self._early = early
        self._late = late
        self._events = 0
        self._changed = asyncio.Event()

    def heard(self) -> None:
        """Note that something happened."""
        self._events += 1
        self._changed.set()

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something that the peers or the clients see."""
        try:
            while not is_so():
                self._changed.clear()
                async with asyncio.timeout(QUIET_MAX):
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"nothing happened for {QUIET_MAX:g} s, waiting for {what}; {self.counts}") from None

    # What each story does its own way.

    @abc.abstractmethod
    def peers(self) -> AbstractAsyncContextManager[object]:
        """Have those listen that the sidecars ask."""

    @abc.abstractmethod
    def pod(self, folder: Path, config: str) -> Process:
        """Make a sidecar that is not started yet, and know its door."""

    @abc.abstractmethod
    def sections(self) -> tuple[str, dict[str, str]]:
        """Give what the story needs in the config, and its secrets."""

    @abc.abstractmethod
    def clients(self) -> list[Client]:
        """Give those that ask, each until it is over."""

    @abc.abstractmethod
    async def see_through(self, process: Process) -> None:
        """Wait until all that was promised is done. Raises AssertionError, and TimeoutError from outside."""

    @abc.abstractmethod
    def hold(self) -> None:
        """Hold what the peers saw against what was promised."""

    # What all do.

    async def live(self, process: Process) -> None:
        """Have one life of a sidecar, from its start to a moment by chance."""
        if self.chance.random() < self._early:
            self.counts["kills at the start"] += 1
            await CLOCK.sleep(self.chance.random() * EARLY_MAX)
        else:
            target = self._events + self.chance.randrange(1, EVENTS_MAX)
            await self.until(lambda: self._events >= target, "the moment of a kill")
            await CLOCK.sleep(self.chance.random() * self._late)
        await process.kill()
        self.counts["kills"] += 1

    async def ask_while(self, work: Coroutine[Any, Any, None]) -> None:
        """Have clients ask while `work` is done."""
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for client in self.clients():
                group.create_task(client(session))
            try:
                await work
            finally:
                self.is_over = True
                self.heard()

    def config(self, folder: Path, store: str, **more: str) -> str:
        """Write the secrets that a config names, and give it."""
        sections, secrets = self.sections()
        folder /= "secrets"
        folder.mkdir(mode=0o700)
        for name, value in {**secrets, **more}.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(value)
        return store + _COMMON.format(secrets=folder) + sections

    async def drain(self, process: Process) -> None:
        """See everything through to its end."""
        try:
            async with asyncio.timeout(DRAIN_MAX):
                await self.see_through(process)
        except TimeoutError:
            self.problems.append(f"not all {self.noun} had ended after {DRAIN_MAX:g} s")
        except AssertionError as stuck:
            self.problems.append(str(stuck))

    def judge(self, *processes: Process) -> None:
        """Hold what the peers saw, and what the sidecars told, against what was promised."""
        self.hold()
        for process in processes:
            faults = [line for line in process.lines if _is_fault(line)]
            if faults or process.errors:
                self.problems.append(f"a sidecar broke: {faults[:3]} {process.errors[-2000:].decode(errors='replace')}")
            self.counts["claims lost"] += sum(str(line.get("msg")).endswith("_claim_lost") for line in process.lines)


def _is_fault(line: dict[str, Any]) -> bool:
    """Whether a line tells of a fault of the sidecar's, or of a question that the store cannot make sense of."""
    return line.get("msg") in {"internal", "admin"} or " refused: " in str(line.get("error"))


async def json_of(session: aiohttp.ClientSession, url: str) -> Any:
    """Ask for JSON."""
    async with session.get(url) as answer:
        return await answer.json(content_type=None)
