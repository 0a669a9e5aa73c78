"""Cluster: keys of all slots, a slot that moves, a node that dies and comes back."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sidecar.store.base import StoreDown
from sidecar.upstream.tls import client_context
from tests.kit.certificates import Authority
from tests.kit.front import TlsFront
from tests.kit.process import free_ports
from tests.kit.valkeys import Cluster
from tests.store.valkey.conftest import Told, opened

LIFE = 1e6


async def test_keys_of_all_nodes_work_and_a_dead_one_takes_the_store_away_until_it_is_back() -> None:
    """The store is up when every primary takes writes: what is asked of it does not depend on the key's luck."""
    told = Told()
    with Cluster.serving() as cluster:
        async with opened(cluster.url, told, cluster.password, mode="cluster") as store:
            versions = await asyncio.gather(*(store.records.put(f"{n}", b"%d" % n, LIFE) for n in range(60)))
            assert None not in versions
            for node in cluster.nodes:
                with node.client as operator:
                    assert operator.dbsize() > 5
            cluster.nodes[2].kill()
            with contextlib.suppress(StoreDown):
                for number in range(60):
                    await store.records.get(f"{number}")
                pytest.fail("nobody missed the node")
            await told.wait_for("store_down")
            with pytest.raises(StoreDown):
                await store.records.get("1")
            cluster.nodes[2].start()
            await told.wait_for("store_up")
            for number in range(60):
                record = await store.records.get(f"{number}")
                assert record is not None
                assert record.value == b"%d" % number
            assert told.names == ["store_down", "store_up"]
            assert cluster.password not in repr(told.lines) + repr(store.client._client)


async def test_a_slot_that_moves_is_followed() -> None:
    """While it moves (ASK), to a node that has no slot yet, and when it has moved (MOVED)."""
    told = Told()
    with Cluster.serving(spare=1) as cluster:
        async with opened(cluster.url, told, cluster.password, mode="cluster") as store:
            await store.records.put("k", b"v", LIFE)
            key = "{sidecar:r:k}"
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(node.client) for node in cluster.nodes]
                slot = clients[0].execute_command("CLUSTER KEYSLOT", key)
                ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
                source, target = slot * 3 // 16_384, 3
                clients[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
                clients[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
                clients[source].execute_command(
                    "MIGRATE", "127.0.0.1", cluster.nodes[target].port, "", 0, 5000, "AUTH", cluster.password,
                    "KEYS", key,
                )  # fmt: skip
                record = await store.records.get("k")
                assert record is not None
                assert record.value == b"v"
                assert await store.records.put("k", b"w", LIFE, over=record.version) is not None
                for number in (target, source, *({0, 1, 2} - {source})):
                    clients[number].execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])
                assert await store.records.put("k", b"x", LIFE) is not None
                assert clients[target].dbsize() >= 1
                record = await store.records.get("k")
                assert record is not None
                assert record.value == b"x"
            assert told.lines == []


async def test_a_cluster_over_tls(tmp_path: Path) -> None:
    """The nodes that others tell of are verified, too."""
    told, authority = Told(), Authority()
    context = client_context(str(authority.write_to(tmp_path / "ca.pem")))
    context.set_alpn_protocols([])
    ports = free_ports(3)
    with Cluster.serving(announced=ports) as cluster:
        async with AsyncExitStack() as stack:
            fronts = [
                TlsFront(authority.server(), node.port, port) for node, port in zip(cluster.nodes, ports, strict=True)
            ]
            for front in fronts:
                await stack.enter_async_context(front)
            url = f"rediss://localhost:{ports[0]}"
            async with opened(url, told, cluster.password, mode="cluster", context=context, timeout=10.0) as store:
                assert store.is_up, store.snapshot()["problem"]
                await asyncio.gather(*(store.records.put(f"{n}", b"v", LIFE) for n in range(30)))
            assert all(front.carried for front in fronts)
    assert told.lines == []
