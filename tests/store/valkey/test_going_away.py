"""Valkey goes away: killed, hanging, refusing for the moment; and comes back."""

import asyncio
from typing import Any

import pytest

from sidecar.core.secret import Secret
from sidecar.store.base import StoreDown, StoreFailed
from tests.kit.valkey import Valkey
from tests.store.valkey.conftest import Told, opened

LIFE = 1e6
HANGS_MAX = 4.0  # Seconds; were questions to wait one behind the other, it would be ten times that.


async def test_killed_and_started_again(valkey: Valkey, told: Told) -> None:
    """Told once and failing at once while it is away; healed by itself, with what it had."""
    async with opened(valkey.url, told, valkey.password) as store:
        version = await store.records.put("k", b"v", LIFE)
        valkey.kill()
        for _ in range(3):
            with pytest.raises(StoreDown, match=r"the store redis://127\.0\.0\.1:\d+ is away: "):
                await store.records.get("k")
        line = await told.wait_for("store_down")
        assert line["level"] == "error"
        assert line["store"] == valkey.url
        assert store.snapshot()["up"] is False
        assert "connecting" in store.snapshot()["problem"]
        valkey.start()
        await told.wait_for("store_up")
        assert store.is_up
        assert "problem" not in store.snapshot()
        record = await store.records.get("k")
        assert record is not None
        assert record.version == version
        assert told.names == ["store_down", "store_up"]
        assert told.heard == [False, True]


async def test_away_at_the_start(valkey: Valkey, told: Told) -> None:
    """It is opened all the same, and becomes up when the server does."""
    valkey.kill()
    async with opened(valkey.url, told, valkey.password) as store:
        assert not store.is_up
        with pytest.raises(StoreDown):
            await store.records.put("k", b"v", LIFE)
        await told.wait_for("store_down")
        valkey.start()
        await told.wait_for("store_up")
        assert await store.records.put("k", b"v", LIFE) is not None


async def test_a_server_that_hangs_holds_nobody_longer_than_the_timeout(valkey: Valkey, told: Told) -> None:
    """Neither those who have a connection, nor those who wait for one behind them."""
    async with opened(valkey.url, told, valkey.password, timeout=0.5, connections_max=2) as store:
        await store.records.put("k", b"v", LIFE)
        valkey.hang()
        asked = [store.records.get("k") for _ in range(100)]
        async with asyncio.timeout(HANGS_MAX):
            results = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(result, StoreDown) for result in results)
        sentences = {str(result).partition(":127.0.0.1")[0] for result in results}
        assert any("did not answer in time" in sentence for sentence in sentences)
        await told.wait_for("store_down")
        valkey.go_on()
        await told.wait_for("store_up")
        assert await store.records.get("k") is not None


async def test_a_broken_connection_is_no_outage(valkey: Valkey, told: Told) -> None:
    """Who asked on it is told; then it goes on, and no line is written."""
    async with opened(valkey.url, told, valkey.password) as store:
        await store.records.put("k", b"v", LIFE)
        with valkey.client as operator:
            operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for _ in range(100):
            try:
                record = await store.records.get("k")
            except StoreDown:
                await asyncio.to_thread(int)  # A look is under way; each turn here is one of the loop.
            else:
                break
        else:
            pytest.fail("it did not come back")
        assert record is not None
        assert told.lines == []


@pytest.mark.parametrize(
    ("doing", "undoing", "reason"),
    [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read only replica"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "NOREPLICAS"),
    ],
)
async def test_a_server_that_takes_no_writes_is_away_until_it_does(
    valkey: Valkey, told: Told, doing: str, undoing: str, reason: str
) -> None:
    """It answers pings, so it is looked by writing; nobody is told that it is up meanwhile."""
    async with opened(valkey.url, told, valkey.password) as store:
        await store.records.put("k", b"v", LIFE)
        with valkey.client as operator:
            operator.execute_command(*doing.split())
            with pytest.raises(StoreDown):
                await store.records.put("k", b"w", LIFE)
            line = await told.wait_for("store_down")
            assert reason in line["error"]
            for _ in range(20):
                with pytest.raises(StoreDown):
                    await store.records.put("k", b"w", LIFE)
            operator.execute_command(*undoing.split())
        await told.wait_for("store_up")
        assert await store.records.put("k", b"x", LIFE) is not None
        assert told.names == ["store_down", "store_up"]


async def test_a_password_that_is_rotated_counts_without_a_restart(valkey: Valkey, told: Told) -> None:
    """It is read for each new connection: unreadable, wrong, right, and another one."""
    held: list[Secret | None] = [None]
    async with opened(valkey.url, told, lambda: held[0]) as store:
        line = await told.wait_for("store_down")
        assert "the password of the store could not be read; see the line about its secret" in line["error"]
        held[0] = Secret(b"wrong-password", "1")
        with pytest.raises(StoreDown):
            await store.client.look()
        assert "invalid" in store.snapshot()["problem"] or "WRONGPASS" in store.snapshot()["problem"]
        held[0] = Secret(valkey.password.encode(), "2")
        await told.wait_for("store_up")
        assert await store.records.put("k", b"v", LIFE) is not None
        with valkey.client as operator:
            operator.execute_command("CONFIG", "SET", "requirepass", "another")
            operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(StoreDown):
            await store.records.get("k")
        await told.wait_for("store_down", 2)
        held[0] = Secret(b"another", "3")
        await told.wait_for("store_up", 2)
        assert await store.records.get("k") is not None
        shown = repr(told.lines) + repr(store.snapshot())
        for secret in ("wrong-password", valkey.password, "another'"):
            assert secret not in shown


async def test_no_secret_is_in_what_is_shown(valkey: Valkey, told: Told) -> None:
    """Neither in a repr of the driver's, nor in a traceback of a question that failed."""
    async with opened(valkey.url, told, valkey.password) as store:
        await store.records.put("k", b"v", LIFE)
        driver: Any = store.client._client
        pool = driver.connection_pool
        shown = [repr(driver), repr(pool), repr(pool._available_connections), repr(pool.connection_kwargs), repr(store)]
        valkey.kill()
        with pytest.raises(StoreFailed) as failed:
            await store.records.get("k")
        shown += [repr(failed.value), str(failed.value), repr(told.lines)]
        assert failed.value.__cause__ is None
        for text in shown:
            assert valkey.password not in text


async def test_a_listener_that_fails_stops_no_looking(valkey: Valkey, told: Told) -> None:
    """Its error is the loop's to tell; the store heals all the same."""
    faults: list[Any] = []

    def fail(is_up: bool) -> None:
        raise ZeroDivisionError(is_up)

    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with opened(valkey.url, told, valkey.password) as store:
        store.client.listeners.insert(0, fail)
        valkey.kill()
        with pytest.raises(StoreDown):
            await store.records.get("k")
        await told.wait_for("store_down")
        valkey.start()
        await told.wait_for("store_up")
        assert store.is_up
        await asyncio.to_thread(int)
        assert told.heard == [False, True]
        assert len(faults) == 2


async def test_closing_while_it_is_away_or_hangs_comes_to_an_end(valkey: Valkey, told: Told) -> None:
    """What is under way ends within its timeout; what comes afterwards is told that it is closed."""
    async with opened(valkey.url, told, valkey.password, timeout=0.5, connections_max=2) as store:
        valkey.hang()
        asked = [asyncio.create_task(store.records.get("k")) for _ in range(6)]
        await asyncio.to_thread(int)
        async with asyncio.timeout(HANGS_MAX):
            await store.close()
            done, _ = await asyncio.wait(asked)
        assert all(isinstance(task.exception(), StoreDown) for task in done)
        with pytest.raises(StoreDown, match="is closed"):
            await store.records.get("k")
        valkey.go_on()


async def test_closing_finishes_what_is_under_way(valkey: Valkey, told: Told) -> None:
    """As the protocol of stores says."""
    async with opened(valkey.url, told, valkey.password) as store:
        asked = [asyncio.create_task(store.records.put(f"{n}", b"v", LIFE)) for n in range(8)]
        await asyncio.to_thread(int)
        await store.close()
        assert None not in [await task for task in asked]
