"""Valkey is away, and jobs are accepted all the same: into the file of the pod, over kills, until it is back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.kit.app import App
from tests.kit.exchange import Exchange
from tests.kit.kept import valkey_store
from tests.kit.process import Process
from tests.kit.valkey import Valkey
from tests.kit.vendor import Vendor, answer
from tests.stories.test_jobs import Counting, config_for, state_of


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A Valkey of this test's own, since it is killed."""
    with Valkey.serving() as server:
        yield server


async def up(sidecar: Process, wanted: float) -> None:
    """Look at `sidecar_store_up` until it is so; each look is a question."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{sidecar.telemetry_url}/metrics") as answer:
                if f"sidecar_store_up {wanted}\n" in await answer.text():
                    return


async def submit(app: App, body: bytes) -> str:
    """Have a call made later, and give where it is asked about."""
    reply = await app.ask("POST", "/vendor/x", "Prefer: respond-async", body=body)
    assert reply.status == 202, reply.body
    return reply.value("Location") or ""


def jobs_in(valkey: Valkey) -> set[str]:
    """Give the ids of the jobs that are in Valkey."""
    with valkey.client as client:
        return {key.decode().rpartition(":e:")[2] for key in client.scan_iter("*}:e:*")}


async def test_jobs_outlive_an_outage_of_valkey_and_a_kill_in_it(tmp_path: Path, valkey: Valkey) -> None:
    """Twenty accepted without Valkey, the sidecar killed and started without it: the vendor gets them all."""
    vendor_of = Counting()
    vendor_of.is_down = True
    store = valkey_store(valkey, tmp_path, 'fallback = "sqlite"\n')
    async with Vendor.answering(vendor_of) as vendor:
        config = config_for(vendor, store)
        async with Process(tmp_path, config) as first, App.to(first.egress_url) as app:
            await up(first, 1.0)
            before = await submit(app, b"before")
            assert await asyncio.to_thread(jobs_in, valkey) == {before.rpartition("/")[2]}
            await asyncio.to_thread(valkey.kill)
            places = [await submit(app, b"%d" % n) for n in range(20)]
            await up(first, 0.0)
            for place in places:
                assert (await app.ask("GET", place)).status == 200
            unknown = await app.ask("GET", before)
            assert (unknown.status, unknown.value("Sidecar-Error")) == (503, "store_unavailable")
            await first.kill()
        vendor_of.is_down = False
        async with Process(tmp_path, config) as second, App.to(second.egress_url) as app:
            for place in places:
                await state_of(app, place, "succeeded")
            assert sorted(bodies[0] for bodies in vendor_of.done.values()) == sorted(b"%d" % n for n in range(20))
            assert all(len(bodies) == 1 for bodies in vendor_of.done.values())
            await up(second, 0.0)
            await asyncio.to_thread(valkey.start)
            await up(second, 1.0)
            after = await submit(app, b"after")
            assert await asyncio.to_thread(jobs_in, valkey) == {after.rpartition("/")[2]}
            await state_of(app, after, "succeeded")
            assert (await app.ask("GET", places[0])).json()["state"] == "succeeded"


async def test_a_turn_that_valkey_does_not_hear_the_end_of_holds_up_nothing(tmp_path: Path) -> None:
    """Killed while the one job that may run does: local ones begin, and its end is stored once Valkey is back."""
    open_now, begun = asyncio.Event(), asyncio.Event()
    served: list[bytes] = []

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        served.append(exchange.request.body)
        if exchange.request.body == b"slow":
            begun.set()
            await open_now.wait()
        await exchange.send(answer(b"ok"))

    with Valkey.serving(is_durable=True) as valkey:
        store = valkey_store(valkey, tmp_path, 'fallback = "sqlite"\n')
        async with Vendor(play) as vendor:
            config = config_for(vendor, store, "queue = { concurrency = 1 }")
            async with Process(tmp_path, config) as sidecar, App.to(sidecar.egress_url) as app:
                slow = await submit(app, b"slow")
                await begun.wait()
                await asyncio.to_thread(valkey.kill)
                local = [await submit(app, b"%d" % n) for n in range(3)]
                open_now.set()
                for place in local:
                    await state_of(app, place, "succeeded")
                await asyncio.to_thread(valkey.start)
                await up(sidecar, 1.0)
                await state_of(app, slow, "succeeded")
                assert served == [b"slow", b"0", b"1", b"2"]


async def test_a_file_that_cannot_be_opened_is_a_problem_at_the_start(tmp_path: Path, valkey: Valkey) -> None:
    """With the key that a person has to change."""
    async with Vendor.answering(Counting()) as vendor:
        store = valkey_store(valkey, tmp_path, 'fallback = "sqlite"\npath = "nowhere/jobs.db"\n')
        async with Process(tmp_path, config_for(vendor, store), is_ready=False) as sidecar:
            assert await sidecar.wait() == 1
        said = sidecar.errors.decode() + str(sidecar.lines)
        assert "store.path" in said
        assert "cannot be opened for writing" in said
