"""What holds for every store of what outlives a call: the protocol in sidecar/store/base.py, over a real Valkey too."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.store.base import Store, StoreFull
from tests.contract.state_stores import PLACES, Place, new_place
from tests.kit.clock import ManualClock
from tests.kit.servers import Servers


@pytest.fixture(params=PLACES, ids=lambda place: place.name)
async def place(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, clock: ManualClock) -> Place:
    """Each kind in turn."""
    return await new_place(request.param, servers, tmp_path, clock)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    """A store, empty."""
    made = await asyncio.to_thread(place.make)
    await made.open()
    yield made
    await made.close()


async def test_what_was_put_is_given(store: Store) -> None:
    """Bytes of any kind come back as they were, with the time that is left."""
    value = bytes(range(256))
    version = await store.records.put("a}b:ü", value, 60)
    found = await store.records.get("a}b:ü")
    assert found is not None
    assert (found.value, found.version) == (value, version)
    assert 59 < found.left <= 60
    assert await store.records.get("other") is None
    assert value.hex()[:8] not in repr(found)


async def test_a_record_ends(store: Store, place: Place) -> None:
    """What has ended is not given, and its place is free again."""
    await store.records.put("k", b"v", 60)
    await place.pass_time(59)
    assert await store.records.get("k") is not None
    await place.pass_time(1.1)
    assert await store.records.get("k") is None
    assert await store.records.put("k", b"w", 60, over=0) is not None


async def test_a_put_moves_the_end(store: Store, place: Place) -> None:
    """The last write says how long."""
    await store.records.put("k", b"v", 10)
    await store.records.put("k", b"w", 100)
    await place.pass_time(50)
    found = await store.records.get("k")
    assert found is not None
    assert found.value == b"w"


async def test_versions_grow_even_over_a_delete(store: Store) -> None:
    """A version names one write for ever, so that a late one is seen."""
    first = await store.records.put("k", b"1", 60)
    second = await store.records.put("k", b"2", 60)
    await store.records.delete("k")
    third = await store.records.put("k", b"3", 60)
    assert first is not None
    assert second is not None
    assert third is not None
    assert 0 < first < second < third


async def test_of_two_that_write_over_the_same_one_wins(store: Store) -> None:
    """Check and set: the other hears that it was late, and nothing of its is there."""
    first = await store.records.put("k", b"1", 60, over=0)
    assert first is not None
    assert await store.records.put("k", b"late", 60, over=0) is None
    second = await store.records.put("k", b"2", 60, over=first)
    assert second is not None
    assert await store.records.put("k", b"late", 60, over=first) is None
    found = await store.records.get("k")
    assert found is not None
    assert found.value == b"2"


async def test_of_many_at_once_one_wins(store: Store) -> None:
    """The same with forty at the same moment."""
    results = await asyncio.gather(*(store.records.put("k", str(n).encode(), 60, over=0) for n in range(40)))
    assert sum(result is not None for result in results) == 1


async def test_a_delete_takes_away_what_it_names(store: Store) -> None:
    """Only that version, if one is named; and it says whether anything was there."""
    version = await store.records.put("k", b"v", 60)
    assert version is not None
    assert not await store.records.delete("k", version=version - 1)
    assert await store.records.delete("k", version=version)
    assert not await store.records.delete("k")
    assert await store.records.get("k") is None


async def test_a_lease_has_one_holder(store: Store) -> None:
    """The other hears how long it lasts; the holder keeps it for longer; what is given back is free."""
    assert await store.leases.take("l", "one", 30) == 0.0
    assert 29 < await store.leases.take("l", "two", 30) <= 30
    assert await store.leases.take("l", "one", 60) == 0.0
    assert 59 < await store.leases.take("l", "two", 30) <= 60
    assert await store.leases.take("other", "two", 30) == 0.0
    await store.leases.give_back("l", "two")  # It is not theirs.
    assert await store.leases.take("l", "two", 30) > 0
    await store.leases.give_back("l", "one")
    assert await store.leases.take("l", "two", 30) == 0.0


async def test_a_lease_ends(store: Store, place: Place) -> None:
    """Whoever is gone holds nothing for longer than it said."""
    await store.leases.take("l", "one", 30)
    await place.pass_time(30.1)
    assert await store.leases.take("l", "two", 30) == 0.0
    assert await store.leases.take("l", "one", 30) > 0


async def test_full_is_said_and_loses_nothing(store: Store, place: Place) -> None:
    """What was there before is there; what was refused is not; and with room there is room."""
    await store.records.put("before", b"v", 600)
    refused = 0
    with place.full():
        for n in range(64):
            try:
                await store.records.put(f"k{n}", b"x" * 65_536, 60)
            except StoreFull as full:
                assert "full" in str(full)  # noqa: PT017 - not each of them is refused
                refused += 1
        assert refused > 30
        assert await store.records.get("before") is not None
    await place.pass_time(61)
    assert await store.records.put("after", b"x" * 65_536, 60) is not None


async def test_what_has_ended_makes_room(store: Store, place: Place) -> None:
    """A stream of records that end uses no more than what lives of it."""
    for _ in range(30):
        for n in range(8):
            await store.records.put(f"k{n}", b"x" * 65_536, 10)
        await place.pass_time(11)
    assert await store.records.put("last", b"v", 60) is not None


async def test_a_store_shows_itself(store: Store, place: Place) -> None:
    """People see what it is and that it is up."""
    shown = store.snapshot()
    assert (shown["kind"], shown["up"]) == (place.kind or place.name, True)
    assert store.is_up
