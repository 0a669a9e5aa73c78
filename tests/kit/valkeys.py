"""Several Valkeys: a primary with its replica and three sentinels, or a cluster of three; always reaped."""

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.kit.process import free_ports
from tests.kit.valkey import Valkey

NAME = "mymaster"
SLOTS = 16_384
SENTINEL = """port {port}
bind 127.0.0.1
dir {folder}
requirepass {own}
sentinel sentinel-pass {own}
sentinel monitor mymaster 127.0.0.1 {primary} 2
sentinel auth-pass mymaster {password}
sentinel down-after-milliseconds mymaster 500
sentinel failover-timeout mymaster 5000
"""


class Guarded:
    """A primary, its replica, and three sentinels that watch them."""

    def __init__(self, folder: Path) -> None:
        self.password = secrets.token_urlsafe(16)
        self.sentinel_password = secrets.token_urlsafe(16)
        self.primary = Valkey(folder / "primary", password=self.password)
        of = ("--replicaof", f"127.0.0.1 {self.primary.port}")
        self.replica = Valkey(folder / "replica", *of, password=self.password)
        self.sentinels = [self._sentinel(folder / f"sentinel-{number}") for number in range(3)]

    @property
    def url(self) -> str:
        """Where the sentinels are, for `[store]`."""
        return "redis://" + ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)

    @classmethod
    @contextlib.contextmanager
    def serving(cls) -> Iterator[Self]:
        """Run them until the block is left."""
        with tempfile.TemporaryDirectory(prefix="valkey-") as folder, ExitStack() as stack:
            own = cls(Path(folder))
            for server in (own.primary, own.replica, *own.sentinels):
                stack.callback(server.kill)
                server.start()
            own.replica.wait_until(lambda one: one.info()["master_link_status"] == "up", "the replica's link")
            for sentinel in own.sentinels:
                sentinel.wait_until(own._is_known, "what a sentinel has to know")
            yield own

    def _sentinel(self, folder: Path) -> Valkey:
        folder.mkdir()
        port = free_ports(1)[0]
        config = folder / "sentinel.conf"
        config.write_text(
            SENTINEL.format(
                port=port,
                folder=folder,
                own=self.sentinel_password,
                primary=self.primary.port,
                password=self.password,
            )
        )
        return Valkey(folder, port=port, password=self.sentinel_password, sentinel=config)

    @staticmethod
    def _is_known(sentinel: object) -> bool:
        state = sentinel.execute_command("SENTINEL MASTER", NAME)  # type: ignore[attr-defined]
        return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2 and not state["is_sdown"])


class Cluster:
    """Three primaries that share the slots, without replicas; `spare` more know them and have no slots."""

    def __init__(self, folder: Path, spare: int, announced: list[int]) -> None:
        self.password = secrets.token_urlsafe(16)
        count = 3 + spare
        self._buses = free_ports(count)
        self.nodes = [
            Valkey(
                folder / f"{number}",
                *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", f"{bus}"),
                *(("--cluster-announce-port", f"{announced[number]}") if announced else ()),
                password=self.password,
                is_durable=True,
            )
            for number, bus in enumerate(self._buses)
        ]

    @property
    def url(self) -> str:
        """Where some of the nodes are, for `[store]`."""
        return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    @classmethod
    @contextlib.contextmanager
    def serving(cls, spare: int = 0, announced: list[int] | None = None) -> Iterator[Self]:
        """Run it until the block is left. `announced`: the ports that clients are told."""
        with tempfile.TemporaryDirectory(prefix="valkey-") as folder, ExitStack() as stack:
            own = cls(Path(folder), spare, announced or [])
            for node in own.nodes:
                stack.callback(node.kill)
                node.start()
            own._join()
            yield own

    def settle(self) -> None:
        """Wait until all nodes find the cluster whole."""
        for node in self.nodes:
            node.wait_until(self._is_whole, "the cluster")

    def _join(self) -> None:
        for number, node in enumerate(self.nodes):
            with node.client as client:
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for number, node in enumerate(self.nodes):
            with node.client as client:
                if number < 3:
                    first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
                    client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
                for other, bus in zip(self.nodes, self._buses, strict=True):
                    if other is not node:
                        client.execute_command("CLUSTER MEET", "127.0.0.1", other.port, bus)
        self.settle()

    def _is_whole(self, client: object) -> bool:
        info = client.execute_command("CLUSTER INFO")  # type: ignore[attr-defined]
        return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(len(self.nodes)))
