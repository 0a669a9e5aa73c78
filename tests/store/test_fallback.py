"""The backlog over two sides: where an entry goes, where it is found again, and what one side's failure hides."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.core.units import Size
from sidecar.store.backlog import WAITING, Backlog, Bounds, Entry, NewEntry, Settlement
from sidecar.store.base import StoreDown, StoreFailed, StoreFull
from sidecar.store.config import Nodes, StoreConfig
from sidecar.store.fallback import FallbackStore
from sidecar.store.opening import Around, open_store
from tests.kit.clock import ManualClock, settle
from tests.kit.process import free_ports
from tests.store.sides import LEASE, LINE, WIDE, Sides


@pytest.fixture
async def sides(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Sides]:
    """Both sides, empty and there."""
    made = Sides(tmp_path, clock)
    await made.open()
    yield made
    await made.close()


def names(entries: list[Entry]) -> list[str]:
    """Give their ids, in their order."""
    return [entry.id for entry in entries]


def new(*ids: str, key: str = "") -> list[NewEntry]:
    """Give entries to append."""
    return [NewEntry(name, key, b"h", b"b") for name in ids]


async def add(sides: Sides, how: str, *ids: str, key: str = "") -> None:
    """Append while the shared side is so."""
    sides.shared.how = how
    await sides.backlog.append(LINE, new(*ids, key=key), WIDE)


async def state(backlog: Backlog, name: str) -> str:
    """Give the state of an entry that must be there."""
    entry = await backlog.get(LINE, name)
    assert entry is not None
    return entry.state


async def held(sides: Sides) -> tuple[list[str], list[str]]:
    """Give what lies on the shared side, and locally."""
    return (
        names(await sides.inner.find(LINE, None, "", 99)),
        names(await sides.file.backlog.find(LINE, None, "", 99)),
    )


async def finish(sides: Sides, state: str = "done") -> list[str]:
    """Work off what is due."""
    finished = []
    while claimed := await sides.backlog.claim(LINE, "w", 9, LEASE):
        for entry in claimed:
            assert await sides.backlog.settle(LINE, entry.id, "w", Settlement(state))
            finished.append(entry.id)
    return finished


async def test_a_second_id_is_known_on_both_sides(sides: Sides) -> None:
    """What lies locally is known by it when the shared side is back, in either order."""

    async def append(how: str, name: str, also: str = "") -> set[str]:
        sides.shared.how = how
        return await sides.backlog.append(LINE, [NewEntry(name, "", b"h", b"b", also=also)], WIDE)

    assert await append("down", "x", "h") == set()
    assert await append("up", "h") == {"h"}
    assert await append("down", "h2") == set()
    assert await append("up", "z", "h2") == {"z"}
    assert await append("up", "z") == {"z"}
    assert await append("up", "y", "h2") == set()
    assert await append("up", "h2") == {"h2"}
    assert await held(sides) == (["y"], ["h2", "x"])


async def test_what_is_appended_while_the_shared_side_is_away_is_worked_off_locally(sides: Sides) -> None:
    """Claimed, kept and settled without it; what it holds waits; once it is back it is appended to again."""
    await add(sides, "up", "s1")
    await add(sides, "down", "l1", "l2")
    assert await held(sides) == (["s1"], ["l2", "l1"])
    claimed = await sides.backlog.claim(LINE, "w", 9, LEASE)
    assert names(claimed) == ["l1", "l2"]
    assert await sides.backlog.keep(LINE, ["l1", "l2"], "w", LEASE) == {"l1", "l2"}
    assert await sides.backlog.claim(LINE, "w", 9, LEASE) == []
    assert await sides.backlog.settle(LINE, "l1", "w", Settlement("done"))
    assert await sides.backlog.settle(LINE, "l2", "w", Settlement(WAITING, 5.0))
    assert await sides.backlog.next_due(LINE) == pytest.approx(5.0)
    await add(sides, "up", "s2")
    assert await held(sides) == (["s2", "s1"], ["l2", "l1"])
    assert await finish(sides) == ["s1", "s2"]
    await sides.clock.advance(5.0)
    assert await finish(sides) == ["l2"]


async def test_a_local_side_that_fails_does_not_hold_up_the_shared_one(sides: Sides) -> None:
    """Not its entries, not new ones; what only the local side could know fails."""
    await add(sides, "down", "l1")
    await add(sides, "up", "s1")
    sides.local.how = "down"
    await add(sides, "up", "s2")
    assert await sides.backlog.next_due(LINE) == 0.0
    assert names(await sides.backlog.find(LINE, None, "s2", 9)) == ["s1"]
    assert (await sides.backlog.tally(LINE)).states[WAITING] == 2
    assert await finish(sides) == ["s1", "s2"]
    assert await sides.backlog.move(LINE, "s1", {"done"}, "dead")
    with pytest.raises(StoreDown):
        await sides.backlog.get(LINE, "l1")
    with pytest.raises(StoreDown):
        await sides.backlog.move(LINE, "l1", {WAITING}, "cancelled")
    sides.local.how = "up"
    assert await finish(sides) == ["l1"]


async def test_with_both_away_it_says_so(sides: Sides) -> None:
    """Nothing is acknowledged, and no empty answer is given."""
    await add(sides, "down", "l1")
    sides.local.how = "down"
    with pytest.raises(StoreDown, match="the shared one is away; nor does its fallback take it"):
        await sides.backlog.append(LINE, new("x"), WIDE)
    for ask in (
        lambda: sides.backlog.claim(LINE, "w", 1, LEASE),
        lambda: sides.backlog.next_due(LINE),
        lambda: sides.backlog.tally(LINE),
        lambda: sides.backlog.find(LINE, None, "", 9),
        lambda: sides.backlog.purge(LINE, "done", 0, 9),
    ):
        with pytest.raises(StoreDown):
            await ask()


async def test_a_full_shared_side_is_no_reason_to_go_local(sides: Sides) -> None:
    """It said no: the bound of the line holds. The local line has the same bounds, for itself."""
    bounds = Bounds(1, 2**20)
    await sides.backlog.append(LINE, new("s1"), bounds)
    with pytest.raises(StoreFull):
        await sides.backlog.append(LINE, new("s2"), bounds)
    sides.shared.how = "down"
    await sides.backlog.append(LINE, new("l1"), bounds)
    with pytest.raises(StoreFull):
        await sides.backlog.append(LINE, new("l2"), bounds)
    assert await held(sides) == (["s1"], ["l1"])


async def test_local_entries_of_a_killed_process_are_worked_off_by_the_next(sides: Sides) -> None:
    """Also those it had claimed, with the shared side still away."""
    await add(sides, "down", "l1", "l2", "l3")
    await sides.backlog.claim(LINE, "w", 2, LEASE)
    await sides.restart("w")
    assert await finish(sides) == ["l1", "l2", "l3"]


async def test_people_find_and_lead_an_entry_wherever_it_is(sides: Sides) -> None:
    """What is there locally is answered for while the shared side is away; what is not, is not known."""
    await add(sides, "up", "s1", "s2")
    await add(sides, "down", "l1", "l2")
    assert await state(sides.backlog, "l1") == WAITING
    assert await sides.backlog.move(LINE, "l1", {WAITING}, "cancelled")
    assert not await sides.backlog.move(LINE, "l1", {WAITING}, "cancelled")
    assert not await sides.backlog.discard(LINE, "l1", {"dead"})
    assert await sides.backlog.discard(LINE, "l1", {"cancelled"})
    for ask in (sides.backlog.get(LINE, "s1"), sides.backlog.move(LINE, "s1", {WAITING}, "cancelled")):
        with pytest.raises(StoreDown):
            await ask
    with pytest.raises(StoreDown):
        await sides.backlog.discard(LINE, "l1", {"cancelled"})
    sides.shared.how = "up"
    assert await sides.backlog.get(LINE, "l1") is None
    assert await sides.backlog.move(LINE, "s1", {WAITING}, "cancelled")
    assert await sides.backlog.discard(LINE, "s1", {"cancelled"})
    assert await held(sides) == (["s2"], ["l2"])


async def test_states_are_asked_for_on_both_sides(sides: Sides) -> None:
    """What is on neither side is known only while both answer."""
    await add(sides, "up", "s")
    await add(sides, "down", "l")
    sides.shared.how = "up"
    assert await sides.backlog.states(LINE, ["l", "none", "s"]) == [WAITING, "", WAITING]
    sides.shared.how = "down"
    assert await sides.backlog.states(LINE, ["l", "l"]) == [WAITING, WAITING]
    with pytest.raises(StoreDown):
        await sides.backlog.states(LINE, ["l", "s"])
    sides.shared.how = "up"
    sides.local.how = "down"
    assert await sides.backlog.states(LINE, ["s"]) == [WAITING]
    with pytest.raises(StoreDown):
        await sides.backlog.states(LINE, ["l", "s"])


async def test_pages_show_the_local_ones_and_then_the_shared_ones(sides: Sides) -> None:
    """Each once, whatever the page's length; without the shared side the local ones, and no end that is none."""
    await add(sides, "up", *(f"s{n}" for n in range(5)), "both")
    await add(sides, "deaf", "l0", "late")
    await add(sides, "down", "l1", "both", "l2")
    sides.shared.how = "up"
    wanted = ["l2", "both", "l1", "late", "l0", "s4", "s3", "s2", "s1", "s0"]
    for count in range(1, 12):
        shown: list[str] = []
        while page := names(await sides.backlog.find(LINE, WAITING, shown[-1] if shown else "", count)):
            shown += page
        assert shown == wanted
    assert (await sides.backlog.tally(LINE)).states[WAITING] == 13, "what is on both sides counts twice"
    sides.shared.how = "down"
    assert names(await sides.backlog.find(LINE, None, "", 99)) == wanted[:5]
    assert names(await sides.backlog.find(LINE, None, "l1", 99)) == ["late", "l0"]
    with pytest.raises(StoreDown):
        await sides.backlog.find(LINE, None, "s4", 99)
    assert (await sides.backlog.tally(LINE)).states[WAITING] == 5


async def test_an_id_that_was_accepted_locally_stays_one_entry_after_the_outage(sides: Sides) -> None:
    """The same call with its idempotency key again: told that it is there, and not appended to the shared side."""
    await add(sides, "down", "l1")
    sides.shared.how = "up"
    assert await sides.backlog.append(LINE, new("l1", "s1"), WIDE) == {"l1"}
    assert await sides.backlog.append(LINE, new("l1"), WIDE) == {"l1"}
    assert await held(sides) == (["s1"], ["l1"])


@pytest.mark.parametrize("first", ["shared", "local"])
async def test_an_id_on_both_sides_is_worked_on_once_at_a_time(sides: Sides, first: str) -> None:
    """Whichever was claimed first; the other waits for a lease, and each is settled on its own side."""
    if first == "shared":
        await add(sides, "up", "a")
        (claimed,) = await sides.backlog.claim(LINE, "w", 9, LEASE)
        await add(sides, "down", "a")
        sides.shared.how = "up"
    else:
        await add(sides, "deaf", "a")
        sides.shared.how = "up"
        (claimed,) = await sides.backlog.claim(LINE, "w", 9, LEASE)
    assert await sides.backlog.claim(LINE, "w", 9, LEASE) == []
    for _ in range(4):  # Kept for longer than the other waits.
        await sides.clock.advance(10.0)
        assert await sides.backlog.keep(LINE, ["a"], "w", LEASE) == {"a"}
        assert await sides.backlog.claim(LINE, "w", 9, LEASE) == []
    assert await sides.backlog.settle(LINE, claimed.id, "w", Settlement("done"))
    await settle(1)  # What waits was given back before this is asked.
    own, other = (sides.inner, sides.file.backlog) if first == "shared" else (sides.file.backlog, sides.inner)
    assert await state(own, "a") == "done"
    assert await state(other, "a") == WAITING
    await sides.clock.advance(LEASE)
    assert await finish(sides) == ["a"]
    assert await state(other, "a") == "done"


async def test_what_ended_is_purged_on_both_sides(sides: Sides) -> None:
    """No more than are asked for, and on the side that answers."""
    await add(sides, "up", "s1", "s2")
    await add(sides, "down", "l1", "l2")
    sides.shared.how = "up"
    await finish(sides)
    assert await sides.backlog.purge(LINE, "done", -1, 3) == 3
    assert await held(sides) == (["s2"], [])
    sides.shared.how = "down"
    assert await sides.backlog.purge(LINE, "done", -1, 3) == 0
    sides.shared.how = "up"
    assert await sides.backlog.purge(LINE, "done", -1, 3) == 1


async def test_keys_keep_their_order_on_each_side(sides: Sides) -> None:
    """And across the two there is none: what is local comes first, here."""
    await add(sides, "up", "s1", "s2", key="k")
    await add(sides, "down", "l1", "l2", key="k")
    sides.shared.how = "up"
    assert names(await sides.backlog.claim(LINE, "w", 9, LEASE)) == ["l1"]
    assert names(await sides.backlog.claim(LINE, "w", 9, LEASE)) == ["s1"]


async def test_whoever_goes_away_while_the_shared_side_is_asked_holds_nothing_locally(sides: Sides) -> None:
    """A claim is made on one side only, so none is forgotten on the other."""
    await add(sides, "down", "l1")
    await sides.clock.advance(0.0)
    claiming = asyncio.create_task(sides.backlog.claim(LINE, "gone", 9, LEASE))
    await settle(1)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    while not (claimed := names(await sides.backlog.claim(LINE, "w", 9, LEASE))):
        await settle(1)  # Until it has been given back; each claim is a question to the file.
    assert claimed == ["l1"]


async def test_without_an_outage_the_file_is_never_asked(sides: Sides) -> None:
    """Nor is a line that an outage did not touch."""
    await sides.backlog.append("other", new("o1"), WIDE)
    await add(sides, "down", "l1")
    sides.shared.how = "up"
    asked = sides.local.asked
    (claimed,) = await sides.backlog.claim("other", "w", 9, LEASE)
    await sides.backlog.keep("other", ["o1"], "w", LEASE)
    assert await sides.backlog.settle("other", claimed.id, "w", Settlement("done"))
    await sides.backlog.get("other", "o1")
    await sides.backlog.find("other", None, "", 9)
    await sides.backlog.tally("other")
    await sides.backlog.next_due("other")
    assert await sides.backlog.discard("other", "o1", {"done"})
    assert sides.local.asked == asked


async def store_at(folder: Path, port: int, clock: ManualClock, **settings: object) -> FallbackStore:
    """Make the store of a section."""
    config = StoreConfig(kind="valkey", url=Nodes.parse(f"redis://127.0.0.1:{port}"), fallback="sqlite", **settings)  # type: ignore[arg-type]
    # In a thread, as in production: a driver is loaded from the disk.
    store = await asyncio.to_thread(open_store, config, Around(clock, lambda: 0.5, lambda *_, **__: None, folder, None))
    assert isinstance(store, FallbackStore)
    return store


async def test_the_store_shows_both_sides_and_values_are_never_kept_locally(tmp_path: Path, clock: ManualClock) -> None:
    """Up is the shared one; records and leases fail without it."""
    store = await store_at(tmp_path, free_ports(1)[0], clock, path="jobs.db", bytes_max=Size(2**21))
    await store.open()
    try:
        assert not store.is_up
        assert (store.is_shared, store.is_durable) == (True, True)
        shown = store.snapshot()
        assert (shown["kind"], shown["up"]) == ("valkey", False)
        file = shown["fallback"]
        assert (file["kind"], file["path"], file["up"]) == ("sqlite", str(tmp_path / "jobs.db"), True)
        assert file["bytes_max"] == 2**21
        await store.backlog.append(LINE, new("l1"), WIDE)
        with pytest.raises(StoreDown):
            await store.records.put("k", b"v", 60)
        with pytest.raises(StoreDown):
            await store.leases.take("k", "w", 60)
    finally:
        await store.close()


async def test_a_file_that_cannot_be_opened_is_said_with_its_key(tmp_path: Path, clock: ManualClock) -> None:
    """As for a store that is a file."""
    store = await store_at(tmp_path, free_ports(1)[0], clock, path="nowhere/jobs.db")
    with pytest.raises(StoreFailed, match="cannot be opened for writing") as caught:
        await store.open()
    assert caught.value.key == "path"
