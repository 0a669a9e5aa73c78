"""The backlog in Valkey: what several pods do to one line, and claims that end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.store.backlog import RUNNING, WAITING, Backlog, Bounds, NewEntry, Settlement
from sidecar.store.base import Store
from tests.contract.state_stores import InValkey, Place, new_place
from tests.kit.clock import ManualClock
from tests.kit.servers import Servers

WIDE = Bounds(1_000_000, 2**30)


@pytest.fixture
async def place(servers: Servers, tmp_path: Path, clock: ManualClock) -> Place:
    """A Valkey, empty."""
    return await new_place(InValkey, servers, tmp_path, clock)


@pytest.fixture
async def pods(place: Place) -> AsyncIterator[tuple[Backlog, Backlog]]:
    """Two pods' backlogs in one Valkey."""
    stores: list[Store] = [await asyncio.to_thread(place.make) for _ in range(2)]
    for store in stores:
        await store.open()
    yield stores[0].backlog, stores[1].backlog
    for store in stores:
        await store.close()


async def test_a_claim_that_is_not_kept_ends(pods: tuple[Backlog, Backlog], place: Place) -> None:
    """Another pod claims it then, before what is younger; the first may keep and settle nothing any more."""
    (one, two) = pods
    await one.append("l", [NewEntry("a", "k", b"h"), NewEntry("behind", "k", b"h")], WIDE)
    await one.claim("l", "one", 9, 30)
    await place.pass_time(20)
    assert await one.keep("l", ["a"], "one", 30) == {"a"}
    await one.append("l", [NewEntry("young", "", b"h")], WIDE)
    await place.pass_time(20)
    assert [entry.id for entry in await two.claim("l", "two", 1, 30)] == ["young"]
    assert 8 < (await two.next_due("l") or 0) <= 10
    await two.append("l", [NewEntry("younger", "", b"h")], WIDE)
    await place.pass_time(10.1)
    assert await two.next_due("l") == 0.0
    (again,) = await two.claim("l", "two", 1, 30)
    assert (again.id, again.attempts) == ("a", 2)
    assert await one.keep("l", ["a"], "one", 30) == set()
    assert not await one.settle("l", "a", "one", Settlement("done", head=b"late"))
    assert await two.settle("l", "a", "two", Settlement("done"))
    entry = await two.get("l", "a")
    assert entry is not None
    assert entry.head == b"h"


async def test_a_late_holder_settles_what_nobody_took(pods: tuple[Backlog, Backlog], place: Place) -> None:
    """The work is done, and doing it again would help nobody."""
    (one, two) = pods
    await one.append("l", [NewEntry("a", "", b"h")], WIDE)
    await one.claim("l", "one", 1, 30)
    await place.pass_time(31)
    assert await one.settle("l", "a", "one", Settlement("done"))
    assert await two.claim("l", "two", 1, 30) == []


async def test_people_may_move_what_a_dead_pod_held(pods: tuple[Backlog, Backlog], place: Place) -> None:
    """Once the lease has ended nobody works on it, whether it was claimed again or not."""
    (one, two) = pods
    await one.append("l", [NewEntry("a", "k", b"h"), NewEntry("b", "k", b"h"), NewEntry("c", "", b"h")], WIDE)
    await one.claim("l", "one", 9, 30)
    assert not await two.move("l", "a", {WAITING}, "cancelled")
    await place.pass_time(31)
    assert await two.move("l", "a", {WAITING}, "cancelled")
    assert not await two.discard("l", "c", {"cancelled"})
    assert await two.discard("l", "c", {WAITING})
    assert [entry.id for entry in await two.claim("l", "two", 9, 30)] == ["b"]
    tally = await two.tally("l")
    assert {state: n for state, n in tally.states.items() if n} == {"cancelled": 1, RUNNING: 1}


async def test_many_ended_claims_are_taken_back_bit_by_bit(pods: tuple[Backlog, Backlog], place: Place) -> None:
    """A claim after an outage is as short as any other, and none is forgotten."""
    (one, two) = pods
    await one.append("l", [NewEntry(f"e{n}", "", b"h") for n in range(250)], WIDE)
    assert len(await one.claim("l", "one", 250, 30)) == 250
    await place.pass_time(31)
    claims = [await two.claim("l", "two", 250, 30) for _ in range(4)]
    assert [len(claim) for claim in claims] == [100, 100, 50, 0]
    assert len({entry.id for claim in claims for entry in claim}) == 250


async def test_two_pods_never_claim_the_same(pods: tuple[Backlog, Backlog]) -> None:
    """Nor append the same id twice."""
    (one, two) = pods
    entries = [NewEntry(f"e{n}", f"k{n % 7}", b"h") for n in range(70)]
    told = await asyncio.gather(*(pod.append("l", entries[n::10], WIDE) for n in range(10) for pod in pods))
    assert sum(map(len, told)) == 70
    claimed: list[str] = []
    while claims := await asyncio.gather(one.claim("l", "one", 2, 30), two.claim("l", "two", 2, 30)):
        batch = [(entry, holder) for claim, holder in zip(claims, ("one", "two"), strict=True) for entry in claim]
        if not batch:
            break
        assert len({entry.key for entry, _ in batch}) == len(batch)
        claimed += [entry.id for entry, _ in batch]
        for entry, holder in batch:
            assert await one.settle("l", entry.id, holder, Settlement("done"))
    assert sorted(claimed) == sorted(entry.id for entry in entries)


async def test_a_purged_line_leaves_only_its_counts(pods: tuple[Backlog, Backlog], place: Place) -> None:
    """No key of what is gone stays in the server's memory."""
    (one, _) = pods
    assert isinstance(place, InValkey)
    await one.append("l", [NewEntry(f"e{n}", f"k{n % 3}", b"h", b"b") for n in range(9)], WIDE)
    while entries := await one.claim("l", "w", 9, 30):
        for entry in entries:
            await one.settle("l", entry.id, "w", Settlement("done", result=b"r"))
    assert await one.purge("l", "done", -1, 100) == 9

    def keys() -> list[bytes]:
        with place.server.client as client:
            return list(client.scan_iter())

    assert await asyncio.to_thread(keys) == [b"{sidecar:b:l}:tally"]
