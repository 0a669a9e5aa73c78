"""Deferring: clients that submit jobs, and a vendor that counts what is done; a story of kills."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.kit.process import Process
from tests.kit.vendor import Vendor
from tests.simulations.killing import CLOCK, EARLY_SHARE, LATE_MAX, PAUSE, Client, Story, json_of
from tests.simulations.ledger import Inbox, Ledger, body_of

ROWS = 4  # Clients whose jobs have a Sidecar-Queue-Key, each its own.
FREE = 4  # Those without; every second one prefers an answer at once, and gets a job where the vendor fails.
OPEN_MAX = 80  # Jobs acknowledged and not done. More: the clients wait.
LARGE_SHARE = 0.05  # Of bodies that lie in files.
LARGE_BYTES = 300 * 1024

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
"""


class Job(NamedTuple):
    """What a sidecar acknowledged."""

    place: str
    name: str
    key: str


async def _all_of(session: aiohttp.ClientSession, process: Process) -> set[str]:
    """Give all jobs that the store knows, those too whose acknowledgement nobody heard."""
    names: set[str] = set()
    after = ""
    while page := (await json_of(session, f"{process.admin_url}/api/jobs?limit=100&after={after}"))["jobs"]:
        names |= {job["id"] for job in page}
        after = page[-1]["id"]
    return names


class Deferring(Story):
    """Every job that was acknowledged is done, once for each key, in order of its row, and told to the app."""

    noun = "jobs"

    def __init__(self, seed: int, *, early: float = EARLY_SHARE, late: float = LATE_MAX) -> None:
        super().__init__(seed, early=early, late=late)
        self.jobs: dict[str, Job] = {}  # By name.
        self.ledger = Ledger(random.Random(seed + 1), self.heard)
        self.inbox = Inbox(random.Random(seed + 2), self.heard)
        self._urls = ("", "")
        self._undone: set[str] = set()  # Acknowledged, and perhaps not done.

    @asynccontextmanager
    async def peers(self) -> AsyncIterator[None]:
        """Have the vendor and the app's address for results listen."""
        async with Vendor(self.ledger.play) as vendor, Vendor(self.inbox.play) as inbox:
            self._urls = (vendor.url, inbox.url)
            yield

    def pod(self, folder: Path, config: str) -> Process:
        """Make a sidecar."""
        process = Process(folder, config, is_ready=False)
        self.doors.append(process.egress_url)
        return process

    def sections(self) -> tuple[str, dict[str, str]]:
        """Give the service."""
        url, inbox = self._urls
        return _SERVICE.format(url=url, inbox=inbox), {"jobs": "whsec_c2VjcmV0"}

    def clients(self) -> list[Client]:
        """Give those that submit."""
        return [partial(self._submit, client) for client in range(ROWS + FREE)]

    async def _submit(self, client: int, session: aiohttp.ClientSession) -> None:
        """Submit one job after the other, until it is over."""
        row = f"row{client}" if client < ROWS else ""
        is_live = not row and client % 2 == 0
        number = 0
        while not self.is_over:
            await self.until(lambda: self.is_over or self._open < OPEN_MAX, "jobs to be done")
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
                if not has_key or self.is_over:
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
            await CLOCK.sleep(PAUSE)
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
            await CLOCK.sleep(PAUSE)
        return answer.status in {201, 202}

    async def see_through(self, process: Process) -> None:
        """Wait for the end of every job."""
        self.ledger.is_kind = True
        async with aiohttp.ClientSession() as session:
            for job in self.jobs.values():
                await self._end_of(session, process.egress_url, job)
            for state in ("waiting", "running"):  # Those too whose acknowledgement nobody heard.
                while (await json_of(session, f"{process.admin_url}/api/jobs?state={state}"))["jobs"]:
                    await CLOCK.sleep(PAUSE)
            jobs = await _all_of(session, process)
            await self.until(lambda: jobs <= self.inbox.jobs, "results to be told")

    async def _end_of(self, session: aiohttp.ClientSession, door: str, job: Job) -> None:
        while True:
            shown = await json_of(session, door + job.place[job.place.index("/_sidecar") :])
            if shown.get("state") in {"waiting", "running"}:
                await CLOCK.sleep(PAUSE)
                continue
            if shown.get("state") != "succeeded":
                self.problems.append(f"{job.name} is not done: {shown}")
            return

    def hold(self) -> None:
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
        self.problems += ledger.problems
        self.counts["acknowledged"] = len(self.jobs)
        self.counts["results told to the app"] = self.inbox.taken
        self.counts["done by the vendor"] = len(ledger.done)
        self.counts["asked of the vendor"] = ledger.asked
        self.counts["repeats that a key caught"] = ledger.repeats
