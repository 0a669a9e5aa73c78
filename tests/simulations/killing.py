"""Killing: clients that submit jobs, the moments at which sidecars are killed, and what is held to the promises."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from sidecar.core.clock import SystemClock
from tests.kit.process import Process
from tests.kit.vendor import Vendor
from tests.simulations.ledger import Inbox, Ledger, body_of

ROWS = 4  # Clients whose jobs have a Sidecar-Queue-Key, each its own.
FREE = 4  # Those without; every second one prefers an answer at once, and gets a job where the vendor fails.
OPEN_MAX = 80  # Jobs acknowledged and not done. More: the clients wait.
LARGE_SHARE = 0.05  # Of bodies that lie in files.
LARGE_BYTES = 300 * 1024
EVENTS_MAX = 60  # Between two kills, not counting those that come while it starts.
EARLY_SHARE, EARLY_MAX = 0.2, 1.5  # Kills while it starts, and seconds after the start.
LATE_MAX = 0.02  # Seconds after the event that was waited for.
PAUSE = 0.02  # Seconds before a sidecar that is not there is asked again.
QUIET_MAX = 60.0  # Seconds in which something happens; then it is stuck.
DRAIN_MAX = 180.0  # Seconds to the end of all jobs; leases take 30 of them.

_SERVICE = """
[services.vendor]
base_url = "{url}"
allow_private = true
retry = false
circuit_breaker = false
idempotency = {{ header = "Idempotency-Key" }}
[services.vendor.queue]
schedule = ["10ms", "50ms", "200ms"]
concurrency = 8
rate = "500/s"
answer_max = "1MiB"
callback = "{inbox}/jobs"
callback_secret = "files:jobs"
[secrets.files]
kind = "file"
path = "{secrets}"
[log]
level = "warning"
"""
_CLOCK = SystemClock()


class Job(NamedTuple):
    """What a sidecar acknowledged."""

    place: str
    name: str
    key: str


class Story:
    """One run: its clients, its kills, and what came of it."""

    def __init__(self, seed: int, *, early: float = EARLY_SHARE, late: float = LATE_MAX) -> None:
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.jobs: dict[str, Job] = {}  # By name.
        self.problems: list[str] = []
        self.doors: list[str] = []
        self.ledger = Ledger(random.Random(seed + 1), self.heard)
        self.inbox = Inbox(random.Random(seed + 2), self.heard)
        self._early = early
        self._late = late
        self._events = 0
        self._changed = asyncio.Event()
        self._is_over = False
        self._undone: set[str] = set()  # Acknowledged, and perhaps not done.

    def heard(self) -> None:
        """Note that something happened."""
        self._events += 1
        self._changed.set()

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something that the vendor or the clients see."""
        try:
            while not is_so():
                self._changed.clear()
                async with asyncio.timeout(QUIET_MAX):
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"nothing happened for {QUIET_MAX:g} s, waiting for {what}; {self.counts}") from None

    # Clients.

    async def submit(self, session: aiohttp.ClientSession, client: int) -> None:
        """Submit one job after the other, until it is over."""
        row = f"row{client}" if client < ROWS else ""
        is_live = not row and client % 2 == 0
        number = 0
        while not self._is_over:
            await self.until(lambda: self._is_over or self._open < OPEN_MAX, "jobs to be done")
            number += 1
            name = f"{row or f'free{client}'}-{number}"
            size = LARGE_BYTES if self.chance.random() < LARGE_SHARE else self.chance.randrange(1, 2000)
            fields = {"Sidecar-Queue-Key": row} if row else {}
            if not is_live:
                fields["Prefer"] = "respond-async"
            has_key = self.chance.random() < 0.5
            if has_key:
                fields["Idempotency-Key"] = f"key-of-{name}"
            while not await self._ask(session, name, size, fields):
                # With a key of its own it asks again for the same; without, that would be another job.
                if not has_key or self._is_over:
                    break

    @property
    def _open(self) -> int:
        self._undone -= self.ledger.keys.keys()
        return len(self._undone)

    async def _ask(self, session: aiohttp.ClientSession, name: str, size: int, fields: dict[str, str]) -> bool:
        """Make one request; say whether there was an answer that is one."""
        door = self.chance.choice(self.doors)
        try:
            async with session.post(
                f"{door}/vendor/{name}?size={size}", data=body_of(name, size), headers=fields
            ) as answer:
                await answer.read()
        except aiohttp.ClientConnectorError:
            await _CLOCK.sleep(PAUSE)
            return False
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.counts["answers lost"] += 1
            return False
        if answer.status == 202:
            self.counts["of large bodies"] += size == LARGE_BYTES
            self.jobs[name] = Job(door + answer.headers["Location"], name, answer.headers["Idempotency-Key"])
            self._undone.add(name)
            self.heard()
        elif answer.status != 201:
            self.counts[f"refused {answer.headers.get('Sidecar-Error', answer.status)}"] += 1
            await _CLOCK.sleep(PAUSE)
        return answer.status in {201, 202}

    # Kills.

    async def live(self, process: Process) -> None:
        """Have one life of a sidecar, from its start to a moment by chance."""
        if self.chance.random() < self._early:
            self.counts["kills at the start"] += 1
            await _CLOCK.sleep(self.chance.random() * EARLY_MAX)
        else:
            target = self._events + self.chance.randrange(1, EVENTS_MAX)
            await self.until(lambda: self._events >= target, "the moment of a kill")
            await _CLOCK.sleep(self.chance.random() * self._late)
        await process.kill()
        self.counts["kills"] += 1

    async def submit_while(self, work: Any) -> None:
        """Have clients submit while `work` is done."""
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as clients:
            for client in range(ROWS + FREE):
                clients.create_task(self.submit(session, client))
            try:
                await work
            finally:
                self._is_over = True
                self.heard()

    def config(self, folder: Path, store: str, vendor: Vendor, inbox: Vendor, **secrets: str) -> str:
        """Write the secrets that a config names, and give it."""
        folder /= "secrets"
        folder.mkdir(mode=0o700)
        for name, value in {"jobs": "whsec_c2VjcmV0", **secrets}.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(value)
        return store + _SERVICE.format(url=vendor.url, inbox=inbox.url, secrets=folder)

    # The end.

    async def drain(self, process: Process) -> None:
        """See every job through to its end."""
        self.ledger.is_kind = True
        door = process.egress_url
        try:
            async with asyncio.timeout(DRAIN_MAX), aiohttp.ClientSession() as session:
                for job in self.jobs.values():
                    await self._see_through(session, door, job)
                for state in ("waiting", "running"):  # Those too whose acknowledgement nobody heard.
                    while (await _json(session, f"{process.admin_url}/api/jobs?state={state}"))["jobs"]:
                        await _CLOCK.sleep(PAUSE)
                jobs = {job.place.rpartition("/")[2] for job in self.jobs.values()}
                await self.until(lambda: jobs <= self.inbox.jobs, "results to be told")
        except TimeoutError:
            self.problems.append(f"not all jobs had ended after {DRAIN_MAX:g} s")
        except AssertionError as stuck:
            self.problems.append(str(stuck))

    async def _see_through(self, session: aiohttp.ClientSession, door: str, job: Job) -> None:
        while True:
            shown = await _json(session, door + job.place[job.place.index("/_sidecar") :])
            if shown.get("state") in {"waiting", "running"}:
                await _CLOCK.sleep(PAUSE)
                continue
            if shown.get("state") != "succeeded":
                self.problems.append(f"{job.name} is not done: {shown}")
            return

    def judge(self, *processes: Process) -> None:
        """Hold what the vendor saw against what was promised."""
        ledger = self.ledger
        times = Counter(ledger.done.values())
        for job in self.jobs.values():
            keys = ledger.keys.get(job.name, set())
            if times[job.name] != 1 or keys != {job.key}:
                self.problems.append(f"{job.name} with the key {job.key} was done {times[job.name]} times, keys {keys}")
        for row, numbers in ledger.rows.items():
            if row.startswith("row") and numbers != sorted(numbers):
                self.problems.append(f"the order of {row} was not kept: {numbers}")
        for process in processes:
            faults = [line for line in process.lines if _is_fault(line)]
            if faults or process.errors:
                self.problems.append(f"a sidecar broke: {faults[:3]} {process.errors[-2000:].decode(errors='replace')}")
            self.counts["claims lost"] += sum(line.get("msg") == "job_claim_lost" for line in process.lines)
        self.problems += ledger.problems
        self.counts["acknowledged"] = len(self.jobs)
        self.counts["results told to the app"] = self.inbox.taken
        self.counts["done by the vendor"] = len(ledger.done)
        self.counts["asked of the vendor"] = ledger.asked
        self.counts["repeats that a key caught"] = ledger.repeats


def _is_fault(line: dict[str, Any]) -> bool:
    """Whether a line tells of a fault of the sidecar's, or of a question that the store cannot make sense of."""
    return line.get("msg") in {"internal", "admin"} or " refused: " in str(line.get("error"))


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as answer:
        return await answer.json(content_type=None)
