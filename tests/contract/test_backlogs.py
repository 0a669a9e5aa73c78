"""What holds for the backlog of every store: the protocol in sidecar/store/backlog.py, over a real Valkey too."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.store.backlog import RUNNING, WAITING, Backlog, Bounds, Entry, NewEntry, Settlement
from sidecar.store.base import Store, StoreFull
from tests.contract.state_stores import PLACES, Place, new_place
from tests.kit.clock import ManualClock, settle
from tests.kit.servers import Servers

WIDE = Bounds(1_000_000, 2**30)
LINE = "c}r:m"
LEASE = 30.0


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


@pytest.fixture
def backlog(store: Store) -> Backlog:
    """Its backlog."""
    return store.backlog


def new(name: str, key: str = "", head: bytes = b"h", body: bytes = b"", delay: float = 0.0) -> NewEntry:
    """Give an entry to append."""
    return NewEntry(name, key, head, body, delay)


def names(entries: list[Entry]) -> list[str]:
    """Give their ids, in their order."""
    return [entry.id for entry in entries]


async def there(backlog: Backlog, name: str) -> Entry:
    """Give what must be there."""
    found = await backlog.get(LINE, name)
    assert found is not None
    return found


async def counts(backlog: Backlog) -> dict[str, int]:
    """Give how many are in each state that has any."""
    return {state: count for state, count in (await backlog.tally(LINE)).states.items() if count}


async def test_what_was_appended_is_claimed_oldest_first_and_whole(backlog: Backlog) -> None:
    """Bytes of any kind, in the order of arrival; a claimed one is running and counts its attempt."""
    body = bytes(range(256))
    await backlog.append(LINE, [new("a", body=body), new("b", "k}:ü", head=body)], WIDE)
    await backlog.append(LINE, [new("c")], WIDE)
    (first, second) = await backlog.claim(LINE, "w", 2, LEASE)
    assert (first.id, first.key, first.head, first.body, first.result) == ("a", "", b"h", body, b"")
    assert (second.id, second.key, second.head, second.body) == ("b", "k}:ü", body, b"")
    assert (first.state, first.attempts, first.due_at, first.settled_at) == (RUNNING, 1, None, None)
    assert names(await backlog.claim(LINE, "w", 2, LEASE)) == ["c"]
    assert await backlog.claim(LINE, "w", 2, LEASE) == []
    assert await there(backlog, "a") == first


async def test_nothing_of_what_is_carried_is_shown(backlog: Backlog) -> None:
    """A repr in a log or a traceback names the entry and no byte of it."""
    entry = NewEntry("a", "k", b"canary-head", b"canary-body")
    await backlog.append(LINE, [entry], WIDE)
    (claimed,) = await backlog.claim(LINE, "w", 1, LEASE)
    settlement = Settlement("done", head=b"canary-h", result=b"canary-r")
    for shown in map(repr, (entry, claimed, settlement)):
        assert "canary" not in shown
        assert "***" in shown


async def test_lines_know_nothing_of_each_other(backlog: Backlog) -> None:
    """The same id and key in two lines are two entries."""
    await backlog.append("one", [new("a", "k")], WIDE)
    await backlog.append("two", [new("a", "k")], WIDE)
    assert names(await backlog.claim("one", "w", 9, LEASE)) == ["a"]
    assert names(await backlog.claim("two", "w", 9, LEASE)) == ["a"]
    assert await backlog.settle("one", "a", "w", Settlement("done"))
    assert (await backlog.tally("two")).states[RUNNING] == 1
    assert await backlog.get("three", "a") is None


async def test_an_id_is_appended_once(backlog: Backlog) -> None:
    """What is there stays as it is, in whatever state; the others are appended, and the ids tell which is which."""
    assert await backlog.append(LINE, [new("a", body=b"1"), new("a", body=b"twice")], WIDE) == set()
    await backlog.claim(LINE, "w", 1, LEASE)
    assert await backlog.append(LINE, [new("a", body=b"2"), new("b")], WIDE) == {"a"}
    assert (await there(backlog, "a")).body == b"1"
    await backlog.settle(LINE, "a", "w", Settlement("done"))
    assert await backlog.append(LINE, [new("a")], WIDE) == {"a"}
    assert await counts(backlog) == {"done": 1, WAITING: 1}
    assert await backlog.append(LINE, [], WIDE) == set()


async def test_an_entry_is_known_by_its_second_id_too(backlog: Backlog) -> None:
    """In whichever order the two come, also at one instant; what has other names and the same second id is another."""

    async def append(name: str, also: str = "") -> set[str]:
        return await backlog.append(LINE, [new(name)._replace(also=also)], WIDE)

    assert await append("x", "h") == set()
    assert await append("h") == {"h"}
    assert await append("y", "h") == set()
    assert await append("h") == {"h"}
    assert await append("x", "h2") == {"x"}
    assert await append("h2") == set()  # What was there stays as it is.
    assert await append("z", "h2") == {"z"}  # It came without its name before.
    assert await append("z", "h2") == {"z"}
    assert await append("z") == {"z"}
    assert await append("w", "h2") == set()
    assert names(await backlog.find(LINE, None, "", 9)) == ["w", "h2", "y", "x"]
    several = await asyncio.gather(*(append(name, also) for name, also in [("v", "h3"), ("h3", "")] * 5))
    assert sorted(map(len, several)) == [0] + [1] * 9
    assert (await backlog.tally(LINE)).states[WAITING] == 5


async def test_a_second_id_is_known_as_long_as_what_has_it(backlog: Backlog) -> None:
    """While one of several is there; what took its name late lets go of it, too."""
    for name in ("x", "y"):
        await backlog.append(LINE, [new(name)._replace(also="h")], WIDE)
    await backlog.claim(LINE, "w", 9, LEASE)
    for name in ("x", "y"):
        assert await backlog.append(LINE, [new("h")], WIDE) == {"h"}
        assert await backlog.settle(LINE, name, "w", Settlement("done"))
    assert await backlog.purge(LINE, "done", 0.0, 1) == 1
    assert await backlog.append(LINE, [new("h")], WIDE) == {"h"}
    assert await backlog.purge(LINE, "done", 0.0, 1) == 1
    assert await backlog.append(LINE, [new("h")], WIDE) == set()
    assert await backlog.append(LINE, [new("x")._replace(also="h")], WIDE) == {"x"}
    assert await backlog.move(LINE, "h", {WAITING}, "done")
    assert await backlog.discard(LINE, "h", {"done"})
    assert await backlog.append(LINE, [new("x")], WIDE) == set()


async def test_a_delay_is_waited_for(backlog: Backlog, place: Place) -> None:
    """`next_due` says how long that is."""
    assert await backlog.next_due(LINE) is None
    await backlog.append(LINE, [new("later", delay=60), new("soon", delay=10)], WIDE)
    assert await backlog.claim(LINE, "w", 9, LEASE) == []
    assert 9 < (await backlog.next_due(LINE) or 0) <= 10
    await place.pass_time(10)
    assert await backlog.next_due(LINE) == 0.0
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["soon"]
    assert await backlog.settle(LINE, "soon", "w", Settlement("done"))
    assert 49 < (await backlog.next_due(LINE) or 0) <= 50
    entry = await there(backlog, "later")
    assert entry.due_at is not None
    assert 59 < entry.due_at - entry.created_at <= 60


async def test_a_key_is_worked_off_in_order(backlog: Backlog, place: Place) -> None:
    """Those behind wait while the first works, and while it waits for its next attempt; other keys go on."""
    await backlog.append(LINE, [new("a1", "a"), new("a2", "a", delay=10), new("a3", "a"), new("b1", "b")], WIDE)
    assert (await there(backlog, "a2")).due_at is None
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["a1", "b1"]
    assert await backlog.settle(LINE, "a1", "w", Settlement(WAITING, delay=20))
    await place.pass_time(19)
    assert await backlog.claim(LINE, "w", 9, LEASE) == []
    await place.pass_time(1)
    (again,) = await backlog.claim(LINE, "w", 9, LEASE)
    assert (again.id, again.attempts) == ("a1", 2)
    assert await backlog.settle(LINE, "a1", "w", Settlement("done"))
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["a2"]
    assert await backlog.settle(LINE, "a2", "w", Settlement("dead"))
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["a3"]


async def test_the_next_of_a_key_keeps_its_own_delay(backlog: Backlog, place: Place) -> None:
    """Its turn comes with the end of the one before, or when it wanted to be due, if that is later."""
    await backlog.append(LINE, [new("a1", "a"), new("a2", "a", delay=30)], WIDE)
    await backlog.claim(LINE, "w", 9, LEASE)
    await backlog.settle(LINE, "a1", "w", Settlement("done"))
    assert await backlog.claim(LINE, "w", 9, LEASE) == []
    assert 29 < (await backlog.next_due(LINE) or 0) <= 30
    await place.pass_time(30)
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["a2"]


async def test_an_end_by_people_lets_the_next_of_the_key_go(backlog: Backlog) -> None:
    """Whether the first is brought to another state, or taken away."""
    await backlog.append(LINE, [new(f"a{n}", "a") for n in range(3)], WIDE)
    assert await backlog.move(LINE, "a0", {WAITING}, "cancelled")
    assert (await there(backlog, "a0")).settled_at is not None
    assert await backlog.discard(LINE, "a1", {WAITING})
    assert await backlog.get(LINE, "a1") is None
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["a2"]


async def test_what_people_bring_back_is_due_at_once(backlog: Backlog) -> None:
    """Whatever stands before it in its key; those behind it wait for it again."""
    await backlog.append(LINE, [new(f"a{n}", "a", delay=60) for n in range(3)], WIDE)
    assert await backlog.move(LINE, "a1", {"cancelled", WAITING}, WAITING)
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["a1"]
    assert await backlog.settle(LINE, "a1", "w", Settlement("failed"))
    assert await backlog.move(LINE, "a0", {WAITING}, "failed")
    assert (await there(backlog, "a2")).due_at is not None
    assert await backlog.move(LINE, "a0", {"failed"}, WAITING)
    back = await there(backlog, "a0")
    assert (back.state, back.settled_at, back.attempts) == (WAITING, None, 0)
    assert (await there(backlog, "a2")).due_at is None
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["a0"]


async def test_what_comes_back_to_its_old_place_stands_before_the_rest(backlog: Backlog) -> None:
    """Also when it was cancelled from behind another, which has ended meanwhile."""
    await backlog.append(LINE, [new(f"a{n}", "a") for n in range(4)], WIDE)
    assert await backlog.move(LINE, "a1", {WAITING}, "cancelled")
    assert await backlog.move(LINE, "a0", {WAITING}, "cancelled")
    assert (await there(backlog, "a2")).due_at is not None
    assert await backlog.move(LINE, "a1", {"cancelled"}, WAITING)
    assert (await there(backlog, "a2")).due_at is None
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["a1"]
    await backlog.settle(LINE, "a1", "w", Settlement("done"))
    assert names(await backlog.claim(LINE, "w", 9, LEASE)) == ["a2"]


async def test_people_touch_nothing_that_is_worked_on(backlog: Backlog) -> None:
    """Nor what is in another state than they thought; and they hear so."""
    await backlog.append(LINE, [new("a"), new("b")], WIDE)
    await backlog.claim(LINE, "w", 1, LEASE)
    assert not await backlog.move(LINE, "a", {WAITING, RUNNING}, "cancelled")
    assert not await backlog.discard(LINE, "a", {WAITING})
    assert not await backlog.move(LINE, "b", {"failed"}, WAITING)
    assert not await backlog.discard(LINE, "b", {"failed"})
    assert not await backlog.move(LINE, "none", {WAITING}, "cancelled")
    assert not await backlog.discard(LINE, "none", {WAITING})
    assert await counts(backlog) == {WAITING: 1, RUNNING: 1}
    assert await backlog.settle(LINE, "a", "w", Settlement("done"))


async def test_many_states_are_one_question(backlog: Backlog) -> None:
    """In the order asked; nothing for what is not there."""
    assert await backlog.states(LINE, ["a"]) == [""]
    await backlog.append(LINE, [new("a"), new("b"), new("c")], WIDE)
    await backlog.claim(LINE, "w", 1, LEASE)
    assert await backlog.move(LINE, "b", {WAITING}, "cancelled")
    assert await backlog.states(LINE, ["c", "none", "a", "b", "a"]) == [WAITING, "", RUNNING, "cancelled", RUNNING]
    assert await backlog.states(LINE, []) == []


async def test_a_settlement_leaves_what_it_says(backlog: Backlog) -> None:
    """A new head, a result; None keeps what was there; the body goes when it is not needed any more."""
    await backlog.append(LINE, [new("a", body=b"body")], WIDE)
    await backlog.claim(LINE, "w", 1, LEASE)
    assert await backlog.settle(LINE, "a", "w", Settlement(WAITING, head=b"h2", result=b"\xff\0r"))
    (claimed,) = await backlog.claim(LINE, "w", 1, LEASE)
    assert (claimed.head, claimed.body, claimed.result) == (b"h2", b"body", b"\xff\0r")
    assert await backlog.settle(LINE, "a", "w", Settlement("done", frees_body=True))
    entry = await there(backlog, "a")
    assert (entry.head, entry.body, entry.result) == (b"h2", b"", b"\xff\0r")
    assert entry.settled_at is not None
    assert entry.settled_at >= entry.created_at


async def test_what_has_no_bytes_is_worked_off_like_all_else(backlog: Backlog, place: Place) -> None:
    """Without a head and a body, or once the body is freed: it is counted, ended, purged, and lets the next go."""
    await backlog.append(LINE, [new("a", "k", b""), new("b", "k", b"", b"body"), new("c", "k", b"")], WIDE)
    for name in ("a", "b"):
        assert names(await backlog.claim(LINE, "w", 9, LEASE)) == [name]
        assert await backlog.settle(LINE, name, "w", Settlement("done", frees_body=True))
    assert await backlog.move(LINE, "c", {WAITING}, "done")
    assert await counts(backlog) == {"done": 3}
    assert (await backlog.tally(LINE)).bytes == 0
    await place.pass_time(60)
    assert await backlog.purge(LINE, "done", 59, 9) == 3
    assert await counts(backlog) == {}


async def test_only_the_holder_keeps_and_settles(backlog: Backlog) -> None:
    """Another, one that has settled, or one that never claimed changes nothing, and hears so."""
    await backlog.append(LINE, [new("a"), new("b"), new("c")], WIDE)
    await backlog.claim(LINE, "w", 2, LEASE)
    assert await backlog.keep(LINE, ["a", "b", "c", "none"], "w", LEASE) == {"a", "b"}
    assert await backlog.keep(LINE, ["a"], "other", LEASE) == set()
    assert await backlog.keep(LINE, [], "w", LEASE) == set()
    before = await there(backlog, "a")
    assert not await backlog.settle(LINE, "a", "other", Settlement("done", head=b"x", result=b"x", frees_body=True))
    assert not await backlog.settle(LINE, "c", "w", Settlement("done"))
    assert not await backlog.settle(LINE, "none", "w", Settlement("done"))
    assert await there(backlog, "a") == before
    assert await backlog.settle(LINE, "a", "w", Settlement("done"))
    assert not await backlog.settle(LINE, "a", "w", Settlement("dead"))
    assert await backlog.keep(LINE, ["a", "b"], "w", LEASE) == {"b"}
    assert await counts(backlog) == {WAITING: 1, RUNNING: 1, "done": 1}


async def test_of_many_workers_each_entry_has_one(backlog: Backlog) -> None:
    """Forty at the same moment share a hundred entries, and none twice."""
    await backlog.append(LINE, [new(f"e{n}") for n in range(100)], WIDE)
    claims = await asyncio.gather(*(backlog.claim(LINE, f"w{n}", 3, LEASE) for n in range(40)))
    claimed = [entry.id for claim in claims for entry in claim]
    assert sorted(claimed) == sorted(f"e{n}" for n in range(100))


async def test_pages_show_heads_newest_first(backlog: Backlog) -> None:
    """Of one state or of all; an entry that has come back keeps its place."""
    await backlog.append(LINE, [new(f"e{n}", body=b"body") for n in range(7)], WIDE)
    await backlog.claim(LINE, "w", 4, LEASE)
    await backlog.settle(LINE, "e3", "w", Settlement("failed", result=b"r"))
    await backlog.settle(LINE, "e1", "w", Settlement("failed"))
    await backlog.settle(LINE, "e2", "w", Settlement(WAITING))
    page = await backlog.find(LINE, None, "", 3)
    assert names(page) == ["e6", "e5", "e4"]
    page += await backlog.find(LINE, None, "e4", 3)
    page += await backlog.find(LINE, None, "e1", 3)
    assert names(page) == ["e6", "e5", "e4", "e3", "e2", "e1", "e0"]
    assert {(entry.head, entry.body, entry.result) for entry in page} == {(b"h", b"", b"")}
    assert names(await backlog.find(LINE, WAITING, "", 9)) == ["e6", "e5", "e4", "e2"]
    assert names(await backlog.find(LINE, WAITING, "e4", 9)) == ["e2"]
    assert names(await backlog.find(LINE, "failed", "", 1)) == ["e3"]
    assert names(await backlog.find(LINE, "failed", "e3", 9)) == ["e1"]
    assert await backlog.find(LINE, "dead", "", 9) == []
    assert await backlog.find(LINE, None, "gone", 9) == []


@pytest.mark.parametrize(("bounds", "named"), [(Bounds(3, 2**20), "length_max"), (Bounds(100, 30), "bytes_max")])
async def test_at_a_bound_nothing_of_it_is_appended(backlog: Backlog, bounds: Bounds, named: str) -> None:
    """Counted over what is unfinished, and the sentence names what is full; an end makes room."""
    await backlog.append(LINE, [new(f"e{n}", body=b"x" * 9) for n in range(2)], bounds)
    more = [new("e0", body=b"x" * 9), new("f", body=b"x" * 9), new("g", "k", body=b"x" * 9)]
    with pytest.raises(StoreFull, match=rf"the line c}}r:m is full: its {named}"):
        await backlog.append(LINE, more, bounds)
    assert await backlog.get(LINE, "f") is None
    assert (await backlog.tally(LINE)).bytes == 20
    assert await counts(backlog) == {WAITING: 2}
    await backlog.claim(LINE, "w", 1, LEASE)
    with pytest.raises(StoreFull):
        await backlog.append(LINE, more, bounds)
    await backlog.settle(LINE, "e0", "w", Settlement("done"))
    assert await backlog.append(LINE, more, bounds) == {"e0"}
    assert (await there(backlog, "g")).due_at is not None
    assert await backlog.append(LINE, [new("e0", body=b"x" * 99)], bounds) == {"e0"}


async def test_a_tally_counts(backlog: Backlog, place: Place) -> None:
    """Each state, the bytes and the age of what is unfinished."""
    empty = await backlog.tally(LINE)
    assert (await counts(backlog), empty.bytes, empty.oldest_at) == ({}, 0, None)
    await backlog.append(LINE, [new("a", body=b"12345")], WIDE)
    await place.pass_time(60)
    await backlog.append(LINE, [new("b", "k", body=b"123")], WIDE)
    (a, b) = (await there(backlog, "a"), await there(backlog, "b"))
    assert 59 < b.created_at - a.created_at < 62
    tally = await backlog.tally(LINE)
    assert (tally.bytes, tally.oldest_at) == (10, a.created_at)
    await backlog.claim(LINE, "w", 1, LEASE)
    assert (await backlog.tally(LINE)).oldest_at == a.created_at
    await backlog.settle(LINE, "a", "w", Settlement(WAITING, head=b"123", frees_body=True))
    assert (await backlog.tally(LINE)).bytes == 7
    await backlog.move(LINE, "a", {WAITING}, "cancelled")
    tally = await backlog.tally(LINE)
    assert (tally.bytes, tally.oldest_at) == (4, b.created_at)
    await backlog.move(LINE, "a", {"cancelled"}, "dead")
    assert await counts(backlog) == {WAITING: 1, "dead": 1}
    await backlog.discard(LINE, "b", {WAITING})
    tally = await backlog.tally(LINE)
    assert (tally.bytes, tally.oldest_at) == (0, None)


async def test_what_ended_long_ago_is_purged(backlog: Backlog, place: Place) -> None:
    """Oldest first, as many as are asked for, and nothing that is unfinished or has come back."""
    await backlog.append(LINE, [new(f"e{n}") for n in range(6)], WIDE)
    await backlog.claim(LINE, "w", 4, LEASE)
    for n in range(3):
        await backlog.settle(LINE, f"e{n}", "w", Settlement("done" if n else "failed"))
    await place.pass_time(60)
    await backlog.move(LINE, "e0", {"failed"}, WAITING)
    await backlog.settle(LINE, "e3", "w", Settlement("done"))
    assert await backlog.purge(LINE, "done", 3600, 9) == 0
    assert await backlog.purge(LINE, "done", 59, 1) == 1
    assert await backlog.get(LINE, "e1") is None
    assert await backlog.purge(LINE, "done", 59, 9) == 1
    assert await counts(backlog) == {WAITING: 3, "done": 1}
    assert await backlog.append(LINE, [new("e1")], WIDE) == set()


async def test_what_was_done_is_known_for_a_week_and_then_is_new(backlog: Backlog, place: Place) -> None:
    """Sent again after six days it is there, by its second id, too; after seven it is not."""
    week, day = 7 * 86400.0, 86400.0
    for name in ("a", "b"):
        await backlog.append(LINE, [new(name)._replace(also=f"h{name}")], WIDE)
        await backlog.claim(LINE, "w", 1, LEASE)
        assert await backlog.settle(LINE, name, "w", Settlement("done", frees_body=True))
    await place.pass_time(6 * day)
    assert await backlog.purge(LINE, "done", week, 100) == 0
    for name in ("a", "b", "ha", "hb"):
        assert await backlog.append(LINE, [new(name)], WIDE) == {name}
    await place.pass_time(day)
    assert await backlog.purge(LINE, "done", week, 1) == 1, "in small steps"
    assert await backlog.purge(LINE, "done", week, 100) == 1
    for name in ("a", "hb"):
        assert await backlog.append(LINE, [new(name)], WIDE) == set()


async def test_each_state_is_purged_by_itself(backlog: Backlog, place: Place) -> None:
    """What people have to look at is kept for longer; what they moved counts from when it first ended."""
    await backlog.append(LINE, [new(f"e{n}") for n in range(4)], WIDE)
    await backlog.claim(LINE, "w", 4, LEASE)
    for n, state in enumerate(["done", "dead", "dead", "dead"]):
        await backlog.settle(LINE, f"e{n}", "w", Settlement(state))
    await place.pass_time(60)
    await backlog.move(LINE, "e3", {"dead"}, "cancelled")
    assert await backlog.purge(LINE, "done", 59, 9) == 1
    assert await backlog.purge(LINE, "cancelled", 59, 9) == 1
    assert await counts(backlog) == {"dead": 2}
    assert await backlog.purge(LINE, "dead", 61, 9) == 0
    assert await backlog.purge(LINE, "dead", 59, 9) == 2


async def test_a_full_store_says_so_and_works_off_what_it_has(backlog: Backlog, place: Place) -> None:
    """What is refused is not there; what was acknowledged is claimed and settled, and that makes room."""
    await backlog.append(LINE, [new(f"e{n}", body=b"x" * 10_000) for n in range(20)], WIDE)
    refused = 0
    with place.full():
        for n in range(20):
            try:
                await backlog.append(LINE, [new(f"f{n}", body=b"x" * 200_000)], WIDE)
            except StoreFull as full:
                assert "full" in str(full)  # noqa: PT017 - not each of them is refused
                refused += 1
        assert refused >= 10
        claimed = await backlog.claim(LINE, "w", 20, LEASE)
        assert names(claimed) == [f"e{n}" for n in range(20)]
        assert len(await backlog.keep(LINE, names(claimed), "w", LEASE)) == 20
        for entry in claimed:
            assert await backlog.settle(LINE, entry.id, "w", Settlement("done", frees_body=True))
        assert (await counts(backlog))["done"] == 20
        assert await backlog.purge(LINE, "done", -1, 100) == 20


async def test_what_is_purged_leaves_nothing(backlog: Backlog) -> None:
    """A line that is worked off again and again takes no more room than what is in it."""
    for turn in range(12):
        await backlog.append(LINE, [new(f"e{turn}-{n}", f"k{n}", body=b"x" * 4_000) for n in range(100)], WIDE)
        for entry in await backlog.claim(LINE, "w", 100, LEASE):
            assert await backlog.settle(LINE, entry.id, "w", Settlement("done", result=b"y" * 100))
        assert await backlog.purge(LINE, "done", -1, 1000) == 100
    assert await counts(backlog) == {}


async def test_whoever_goes_away_in_the_middle_breaks_nothing(backlog: Backlog) -> None:
    """An append whose caller is gone is done, or not, whole; appended again it is there once."""
    await backlog.append(LINE, [new("small"), new("large", body=b"x" * 270_000)], WIDE)
    for size in (10, 270_000):
        late = [new(f"late{size}", body=b"x" * size), new(f"with{size}")]
        task = asyncio.ensure_future(backlog.append(LINE, late, WIDE))
        await settle(1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await backlog.append(LINE, late, WIDE)
        assert len((await there(backlog, f"late{size}")).body) == size
    assert await counts(backlog) == {WAITING: 6}
