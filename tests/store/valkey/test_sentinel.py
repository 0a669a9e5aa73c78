"""Sentinel: the primary dies, and the store goes on with the one that was elected."""

import asyncio

import pytest

from sidecar.store.base import StoreDown
from tests.kit.valkeys import NAME, Guarded
from tests.store.valkey.conftest import WAIT_MAX, Told, opened

LIFE = 1e6


async def test_the_store_goes_on_with_the_elected_primary() -> None:
    """Eight at once find it by the sentinels at first; after the death they fail at once until another is elected."""
    told = Told()
    with Guarded.serving() as guarded:
        async with opened(
            guarded.url, told, guarded.password, mode="sentinel", master=NAME,
            sentinel_password=guarded.sentinel_password, timeout=2.0,
        ) as store:  # fmt: skip
            assert store.is_up
            puts = [store.records.put(f"{number}", b"v", LIFE) for number in range(16)]
            assert None not in await asyncio.gather(*puts)
            with guarded.primary.client as operator:
                assert operator.execute_command("WAIT", 1, 5000) == 1
            guarded.sentinels[0].kill()  # Two of three are enough.
            guarded.primary.kill()
            with pytest.raises(StoreDown):
                await store.records.get("0")
            await told.wait_for("store_down")
            async with asyncio.timeout(WAIT_MAX):
                await told.wait_for("store_up")
            assert await store.records.get("15") is not None
            assert await store.records.put("new", b"v", LIFE) is not None
            with guarded.replica.client as operator:
                assert operator.info("replication")["role"] == "master"
            assert told.names == ["store_down", "store_up"]
            for secret in (guarded.password, guarded.sentinel_password):
                assert secret not in repr(told.lines) + repr(store.client._client)
