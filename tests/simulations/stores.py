"""Stores: a story of kills, run over each store that outlives them, and what is left in it.

With SQLite there is one sidecar, which is started again at once; with Valkey one of two is killed at a time, and the
Valkey itself now and then.
"""

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

from tests.kit.kept import end_leases
from tests.kit.valkey import Valkey
from tests.simulations.killing import Story

VALKEY_SHARE = 0.12  # Kills of a sidecar that are followed by one of the Valkey.


async def over_sqlite(folder: Path, kills: int, story: Story) -> None:
    """Kill the one sidecar of a file."""
    path = folder / "state.db"
    async with story.peers():
        process = story.pod(folder, story.config(folder, f'[store]\nkind = "sqlite"\npath = "{path}"\n'))

        async def all_lives() -> None:
            for _ in range(kills):
                async with process:
                    await story.live(process)

        async def last_life() -> None:
            await all_lives()
            await last.enter_async_context(process)

        async with AsyncExitStack() as last:
            await story.ask_while(last_life())
            await process._wait_until_ready()
            await story.drain(process)
        story.judge(process)
    story.problems += await asyncio.to_thread(_left_in_sqlite, path, story.noun)


def _left_in_sqlite(path: Path, noun: str) -> list[str]:
    """Say what is in the file, or beside it, that should not be."""
    with closing(sqlite3.connect(path)) as file:
        named = {name for (name,) in file.execute("SELECT file FROM results WHERE file IS NOT NULL")}
        bodies = file.execute("SELECT count(*) FROM bodies").fetchone()[0]
        counted = dict(file.execute("SELECT state, sum(entries) AS n FROM tally GROUP BY state HAVING n <> 0"))
        there = dict(file.execute("SELECT state, count(*) FROM entries GROUP BY state"))
        size, tallied = (file.execute(f"SELECT sum({what}").fetchone()[0] for what in (
            "length(head) + body_bytes) FROM entries", "bytes) FROM tally"
        ))  # fmt: skip
        sound = file.execute("PRAGMA integrity_check").fetchone()[0]
    beside = {file.name for file in Path(f"{path}.d").glob("*")}
    found = []
    if beside != named:
        found.append(f"beside the file lie {len(beside - named)} files too many, and {len(named - beside)} are missing")
    if bodies:
        found.append(f"{bodies} bodies are kept of {noun} that are done")
    if (counted, tallied) != (there, size):
        found.append(f"the tally is {counted}, {tallied} bytes; there are {there}, {size} bytes")
    if sound != "ok":
        found.append(f"the file is damaged: {sound}")
    return found


async def over_valkey(folder: Path, kills: int, story: Story, valkey: Valkey) -> None:
    """Kill one of two sidecars at a time, and the Valkey that they share now and then."""
    store = f'[store]\nkind = "valkey"\nurl = "{valkey.url}"\npassword = "files:valkey"\n'
    async with story.peers():
        config = story.config(folder, store, valkey=valkey.password)
        pods = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            pods.append(story.pod(folder / name, config))

        async def all_lives() -> None:
            for _ in range(kills):
                pod = story.chance.choice(pods)
                await story.live(pod)
                if story.chance.random() < VALKEY_SHARE:
                    await asyncio.to_thread(valkey.kill)
                    await asyncio.to_thread(valkey.start)
                    story.counts["kills of the Valkey"] += 1
                if story.chance.random() < 0.5:
                    await asyncio.to_thread(end_leases, valkey)
                await pod.__aenter__()

        async with AsyncExitStack() as stack:
            for pod in pods:
                await stack.enter_async_context(pod)
            await story.ask_while(all_lives())
            for pod in pods:
                await pod._wait_until_ready()
            await story.drain(pods[0])
        story.judge(*pods)
    story.problems += await asyncio.to_thread(_left_in_valkey, valkey, story.noun)


def _left_in_valkey(valkey: Valkey, noun: str) -> list[str]:
    """Say what is in the store that should not be."""
    with valkey.client as client:
        entries = list(client.scan_iter("*}:e:*", count=1000))
        bodies = sum(client.hexists(key, "body") for key in entries)
        states = Counter(client.hget(key, "state").decode() for key in entries)
        counted: Counter[str] = Counter()
        for tally in client.scan_iter("*}:tally"):
            for field, value in client.hgetall(tally).items():
                if field.startswith(b"n:"):
                    counted[field[2:].decode()] += int(value)
        rows = [key for pattern in ("*}:running", "*}:due", "*}:k:*") for key in client.scan_iter(pattern)]
    found = []
    if bodies:
        found.append(f"{bodies} bodies are kept of {noun} that are done")
    if counted != states:  # Zero is like none.
        found.append(f"the tally is {counted}; there are {states}")
    if rows:
        found.append(f"there is more than entries and what has ended: {rows}")
    return found


async def simulate(store: str, kills: int, story: Story) -> None:
    """Run a story; what went wrong is in its `problems`."""
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        if store == "sqlite":
            await over_sqlite(Path(folder), kills, story)
            return
        with Valkey.serving(is_durable=True) as valkey:
            await over_valkey(Path(folder), kills, story, valkey)


def tell_of(make: Callable[[int], Story], doc: str | None) -> int:
    """Run a story as the command line says, print a table for each store, and give the exit code: 1 if it broke."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="append", choices=("sqlite", "valkey"))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args()
    problems = []
    for store in said.store or ("sqlite", "valkey"):
        began_at = time.monotonic()
        story = make(said.seed)
        asyncio.run(simulate(store, said.kills, story))
        print(f"\n{store}, seed {said.seed}, {time.monotonic() - began_at:.0f} s")
        for what, count in sorted(story.counts.items()):
            print(f"  {what:32} {count:>8}")
        for problem in story.problems[:50]:
            print(f"  BROKEN: {problem}")
        print(f"  {'broken promises':32} {len(story.problems):>8}", flush=True)
        problems += story.problems
    return 1 if problems else 0
