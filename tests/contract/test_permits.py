"""What holds for the permits of every store; and that the script in Valkey says what the ledger says."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from sidecar.store.base import Block, Store, Wanted
from sidecar.store.ledger import Ledger
from sidecar.store.valkey.permits import CLOSE, LEASE, arguments, block_of
from tests.contract.state_stores import PLACES, InValkey, Place, new_place
from tests.kit.clock import ManualClock
from tests.kit.servers import Servers
from tests.kit.valkey import Valkey

GIVEN_TIME = "local now = tonumber(table.remove(ARGV))\n"


def wanted(pod: str, serial: int = 0, use: float = 0.0, **others: Any) -> Wanted:
    """What a pod wants of 100/s with a burst of 10, that ten pods share."""
    common: dict[str, Any] = {
        "rate": 100.0, "burst": 10.0, "quotas": (), "need": 5.0, "permits": 20.0, "least": 1.0, "level": 0.0,
        "held": 0.0, "back": 0.0, "spent": 0.0, "span": 3.0, "fair": 10.0, "fair_burst": 1.0, "away": 0.0,
    }  # fmt: skip
    return Wanted(pod=pod, serial=serial, use=use, **(common | others))


@pytest.fixture(params=PLACES, ids=lambda place: place.name)
async def store(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Store]:
    """Each kind in turn, empty."""
    place: Place = await new_place(request.param, servers, tmp_path, clock)
    made = await asyncio.to_thread(place.make)
    await made.open()
    yield made
    await made.close()


async def test_all_blocks_together_are_never_more_than_the_limit(store: Store) -> None:
    """Whoever comes when all is dealt out gets nothing, and hears when to come again."""
    blocks = [await store.permits.lease("l", wanted(f"p{n}", use=30.0)) for n in range(12)]
    assert sum(block.rate for block in blocks) <= 100
    assert sum(block.burst for block in blocks) <= 10
    assert sum(block.level for block in blocks) <= 10
    assert blocks[0].rate == 10  # A ledger that begins gives nobody more than its fair share.
    assert blocks[-1].rate == 0
    assert 0 < blocks[-1].again <= 3


async def test_limits_are_apart(store: Store) -> None:
    """One limit's permits are none of another's."""
    for limit in ("one", "two"):
        assert (await store.permits.lease(limit, wanted("p", use=30.0))).rate == 10


async def test_what_comes_back_is_there_for_others(store: Store) -> None:
    """A pod that has no use for its block any more makes room at once."""
    for n in range(9):
        await store.permits.lease("l", wanted(f"p{n}", use=30.0))
    last = await store.permits.lease("l", wanted("p9", use=30.0))
    assert (await store.permits.lease("l", wanted("late", use=30.0))).rate == 0
    await store.permits.lease("l", wanted("p9", last.serial, -1.0, level=last.level))
    again = await store.permits.lease("l", wanted("late", use=30.0))
    assert again.rate > 0
    assert again.burst == 1


async def test_a_quota_is_never_leased_twice_and_what_is_left_comes_back(store: Store) -> None:
    """Permits of a day: leased ones are gone, unspent ones come back where they were counted."""
    quotas = ((50.0, 86400.0),)
    first = await store.permits.lease("l", wanted("a", use=5.0, quotas=quotas, permits=20.0))
    assert [first.permits, *first.left] == [20, 30]
    second = await store.permits.lease("l", wanted("b", use=5.0, quotas=quotas, permits=20.0))
    assert second.permits == 7  # A quarter of what is left, since two share it: near the end blocks are small.
    gone = await store.permits.lease("l", wanted("a", first.serial, -1.0, quotas=quotas, held=15.0))
    assert list(gone.left) == [50 - 5 - 7]
    total = 12.0
    while (block := await store.permits.lease("l", wanted("c", use=5.0, quotas=quotas, permits=20.0))).permits:
        total += block.permits
    assert total == 50
    assert block.again > 86000


async def test_what_the_vendor_closed_is_told_to_all(store: Store) -> None:
    """With the seconds that are left, for each part of its API; the longer of two holds."""
    await store.permits.lease("l", wanted("a", use=5.0))
    await store.permits.close("l", "", 30.0)
    await store.permits.close("l", "search", 10.0)
    await store.permits.close("l", "", 20.0)
    block = await store.permits.lease("l", wanted("b", use=5.0))
    told = dict(block.closed)
    assert set(told) == {"", "search"}
    assert 29 < told[""] <= 30
    assert 9 < told["search"] <= 10


def ask(client: "Redis", script: str, keys: list[str], *given: Any) -> Any:
    """Run a script at a given time."""
    return client.eval(GIVEN_TIME + script, len(keys), *keys, *given)


def random_wish(chance: random.Random, held: dict[str, Block], quotas: tuple[tuple[float, float], ...]) -> Wanted:
    """What one of six pods may want next."""
    pod = f"p{chance.randrange(6)}"
    block = held.get(pod)
    serial = block.serial if block is not None and chance.random() < 0.9 else chance.choice([0, 3])
    has = block.permits if block is not None and quotas else 0.0
    unspent = float(chance.randint(0, int(has)))
    back = float(chance.randint(0, int(unspent)))
    return wanted(
        pod, serial, chance.choice([-1.0, 0.0, 0.3, 5.0, 30.0, 200.0]), quotas=quotas,
        need=float(chance.randint(1, 12)), permits=float(chance.randint(1, 30)), least=float(chance.choice([1, 1, 3])),
        level=round(chance.uniform(-1, 3), 3), held=unspent - back, back=back,
        spent=float(chance.choice([0, 0, 0, 4])), span=chance.choice([1.5, 3.0, 12.0]),
        burst=float(chance.choice([10, 10, 10, 3])), away=chance.choice([0.0, 0.0, 0.0, 2.0, 20.0]),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_the_script_says_what_the_ledger_says(servers: Servers, seed: int) -> None:
    """A hundred random questions at random times get the same answers from both."""
    chance = random.Random(seed)
    valkey: Valkey = servers.get(InValkey.serve)
    quotas: tuple[tuple[float, float], ...] = ((), ((200.0, 60.0), (900.0, 3600.0)))[seed % 2]
    keys = ["{alike}", *(f"{{alike}}:{seconds:g}" for _, seconds in quotas)]
    now = 1_767_225_600.25
    ledger: Ledger | None = None
    held: dict[str, Block] = {}
    with valkey.client as client:
        client.flushall()
        for _ in range(100):
            now += chance.choice([0.001, 0.02, 0.3, 2.0, 2.0, 15.0])
            if ledger is not None and chance.random() < 0.05:
                part, seconds = chance.choice(["", "search"]), chance.choice([0.5, 20.0])
                ask(client, CLOSE, keys[:1], part, seconds, now)
                ledger.close(part, seconds, now)
                continue
            wish = random_wish(chance, held, quotas)
            if ledger is None:
                ledger = Ledger(wish.burst, now)
            said = block_of(ask(client, LEASE, keys, *arguments(wish), now))
            meant = ledger.lease(wish, now)
            if wish.use >= 0:
                held[wish.pod] = meant
            assert dict(said.closed) == pytest.approx(dict(meant.closed), abs=1e-5)
            for one, other in zip(said[:11], meant[:11], strict=True):
                assert one == pytest.approx(other, abs=1e-5), (wish, said, meant)
            assert said.left == pytest.approx(meant.left, abs=1e-5)
