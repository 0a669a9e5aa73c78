"""What each question is promised: its own answer, its place, and a sentence where it is refused."""

import asyncio
import random
from pathlib import Path

import pytest

from sidecar.store.base import StoreFailed, StoreFull
from sidecar.upstream.tls import client_context
from tests.kit.certificates import Authority
from tests.kit.clock import settle
from tests.kit.front import TlsFront
from tests.kit.valkey import Valkey
from tests.store.valkey.conftest import WAIT_MAX, Told, opened

LIFE = 1e6


async def test_scripts_are_sent_again_where_they_are_forgotten(valkey: Valkey, told: Told) -> None:
    """By their hash, and by their text only to a server that does not know them."""
    async with opened(valkey.url, told, valkey.password) as store:
        with valkey.client as operator:
            for _ in range(3):
                assert await store.records.put("k", b"v", LIFE) is not None
                assert await store.records.get("k") is not None
                operator.script_flush()
            await store.records.get("k")
            before = operator.info("commandstats")["cmdstat_eval"]["calls"]
            for _ in range(10):
                await store.records.get("k")
            assert operator.info("commandstats")["cmdstat_eval"]["calls"] == before
    assert told.lines == []


async def test_a_question_that_is_given_up_leaves_no_answer_to_another(valkey: Valkey, told: Told) -> None:
    """Cancelled at any point of its way, hundreds of times; whoever goes on reads what is its own."""
    chance = random.Random(7)
    async with opened(valkey.url, told, valkey.password, timeout=5.0, connections_max=4) as store:
        for number in range(20):
            await store.records.put(f"{number}", f"value of {number}".encode(), LIFE)
        for _ in range(40):
            asked = {asyncio.create_task(store.records.get(f"{number}")): number for number in range(20)}
            for _ in range(chance.randrange(6)):
                await asyncio.to_thread(int)
            for task in asked:
                if chance.random() < 0.5:
                    task.cancel()
            await asyncio.wait(asked)
            for task, number in asked.items():
                if not task.cancelled():
                    record = task.result()
                    assert record is not None
                    assert record.value == f"value of {number}".encode()
        assert store.is_up
    assert told.lines == []


async def test_whoever_is_cancelled_ends_by_it(valkey: Valkey, told: Told) -> None:
    """At whatever turn of the loop; the driver swallows some, and a loop that asks would never be rid of."""
    async with opened(valkey.url, told, valkey.password, timeout=5.0) as store:

        async def asking() -> None:
            while True:
                await store.records.get("k")

        for turns in range(200):
            task = asyncio.create_task(asking())
            await settle(turns)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=WAIT_MAX)
            assert done, f"it goes on; cancelled after {turns} turns"
    assert told.lines == []


async def test_there_are_never_more_connections_than_the_bound(valkey: Valkey, told: Told) -> None:
    """However many ask at once; the rest wait for one of them."""
    with valkey.client as operator:
        before = operator.info("stats")["total_connections_received"]
        async with opened(valkey.url, told, valkey.password, timeout=10.0, connections_max=3) as store:
            await asyncio.gather(*(store.records.put(f"{n}", b"v", LIFE) for n in range(300)))
            assert operator.info("stats")["total_connections_received"] - before <= 3


async def test_a_full_server_is_told_as_full(told: Told) -> None:
    """It is not away: reading and deleting go on, and there is room again after a delete."""
    with Valkey.serving("--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as valkey:
        async with opened(valkey.url, told, valkey.password, connections_max=8) as store:
            values = (store.records.put(f"{number}", b"x" * 20_000, LIFE) for number in range(200))
            results = await asyncio.gather(*values, return_exceptions=True)
            refused = [number for number, result in enumerate(results) if isinstance(result, StoreFull)]
            assert "is full: its maxmemory is reached; nothing was written" in str(results[refused[0]])
            count = refused[0]
            assert count > 5
            assert store.is_up
            assert await store.records.get(f"{count}") is None
            assert await store.records.get("0") is not None
            for number in set(range(200)) - set(refused):
                assert await store.records.delete(f"{number}")
            assert await store.records.put("again", b"x" * 20_000, LIFE) is not None
    assert told.lines == []


async def test_a_user_who_may_not_is_told_so(valkey: Valkey, told: Told) -> None:
    """A refusal that will be the same the next time is no outage."""
    with valkey.client as operator:
        operator.execute_command("ACL", "SETUSER", "low", "on", ">pw", "~{sidecar:look*", "+@all")
    async with opened(valkey.url, told, "pw", username="low") as store:
        assert store.is_up
        with pytest.raises(StoreFailed, match=r"refused: .*(NOPERM|permission)") as refused:
            await store.records.put("k", b"v", LIFE)
        assert type(refused.value) is StoreFailed
        assert store.is_up


async def test_keys_hold_the_prefix_and_the_environment(valkey: Valkey, told: Told) -> None:
    """So pods of two environments do not meet, and what is ours is found by its name."""
    async with (
        opened(valkey.url, told, valkey.password, prefix="team", environment="staging") as staging,
        opened(valkey.url, told, valkey.password, prefix="team", environment="production") as production,
        opened(f"{valkey.url}/3", told, valkey.password, prefix="team", environment="staging") as elsewhere,
    ):
        await staging.records.put("k", b"staging", LIFE)
        assert await production.records.get("k") is None
        assert await elsewhere.records.get("k") is None
        await production.leases.take("l", "me", 10)
        with valkey.client as operator:
            assert sorted(operator.keys()) == [b"{team:production:l:l}", b"{team:staging:r:k}"]


async def test_tls_with_an_authority_of_ones_own(valkey: Valkey, told: Told, tmp_path: Path) -> None:
    """Verified by `ca_file`; without it, or by another's, nothing is said but why."""
    authority = Authority()
    ours = client_context(str(authority.write_to(tmp_path / "ca.pem")))
    ours.set_alpn_protocols([])
    theirs = client_context(None)
    async with TlsFront(authority.server(), valkey.port) as front:
        url = f"rediss://localhost:{front.port}"
        async with opened(url, told, valkey.password, context=ours) as store:
            assert await store.records.put("k", b"v", LIFE) is not None
            assert valkey.password.encode() in front.carried
        del front.carried[:]
        async with opened(url, told, valkey.password, context=theirs) as store:
            assert not store.is_up
            line = await told.wait_for("store_down")
            assert "certificate verify failed" in line["error"].lower()
        assert valkey.password.encode() not in front.carried
