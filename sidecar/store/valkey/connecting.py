"""Connecting: from `[store]` to a client of redis-py, for one server, for sentinels, or for a cluster.

The password is asked for at each new connection, so a rotated one counts without a restart. Trust is the context that
is handed over, made once. The client does not retry: what to do without an answer is for those who ask. How many
connections there are is bounded by how many questions are under way (client.py).
"""

import ssl
from collections.abc import Callable
from typing import Any

from redis.asyncio import ConnectionPool, Redis, RedisCluster, Sentinel, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

from sidecar.core.secret import Secret
from sidecar.store.config import StoreConfig

Read = Callable[[], Secret | None]
Client = Any  # Redis or RedisCluster: what we ask both answer.


class _Credentials(CredentialProvider):
    """Who we are, as it is now."""

    def __init__(self, username: str | None, password: Read | None) -> None:
        self._username = username
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Give the password, after the name if there is one. Raises AuthenticationError while it is not known."""
        secret = None if self._password is None else self._password()
        if secret is None:
            raise AuthenticationError("the password of the store could not be read; see the line about its secret")
        value = secret.reveal().decode(errors="surrogateescape")
        return (value,) if self._username is None else (self._username, value)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Give the same."""
        return self.get_credentials()

    def __repr__(self) -> str:
        return "Credentials(***)"


def _over(kind: type[Any], context: ssl.SSLContext) -> type[Any]:
    """Give a kind of connection that trusts what `context` trusts."""

    class Over(kind):  # type: ignore[misc] # one of two classes of redis-py
        def _connection_arguments(self) -> Any:
            arguments = dict(super()._connection_arguments())
            arguments["ssl"] = context
            return arguments

    return Over


def connect(
    config: StoreConfig, context: ssl.SSLContext | None, password: Read | None, sentinel_password: Read | None
) -> Client:
    """Make the client; it connects when it is asked for the first time."""
    common: dict[str, Any] = {
        "socket_timeout": float(config.timeout),
        "socket_connect_timeout": float(config.timeout),
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # All we need; with 3 a server may push what nobody asked for.
        "driver_info": None,  # It would be read from the disk at each connection.
    }
    ours = dict(common)
    if password is not None:
        ours["credential_provider"] = _Credentials(config.username, password)
    if config.mode == "cluster":
        return _cluster(config, context, ours)
    ours |= {"db": config.nodes.database}
    if config.mode == "sentinel":
        return _sentinel(config, context, ours, common, sentinel_password)
    (host, port) = config.nodes.hosts[0]
    kind = Connection if context is None else _over(SSLConnection, context)
    return Redis.from_pool(ConnectionPool(connection_class=kind, host=host, port=port, **ours))


class _FoundBySentinels(Redis):
    """The primary that the sentinels name; it closes the connections to them, too."""

    sentinels: list[Redis]

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's
        """Let go of all connections."""
        await super().aclose(close_connection_pool)
        for sentinel in self.sentinels:
            await sentinel.aclose()


def _sentinel(
    config: StoreConfig,
    context: ssl.SSLContext | None,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    password: Read | None,
) -> Client:
    if password is not None:
        theirs = theirs | {"credential_provider": _Credentials(None, password)}
    sentinel = Sentinel([], sentinel_kwargs=theirs)  # type: ignore[no-untyped-call]
    for host, port in config.nodes.hosts:
        plain = Connection if context is None else _over(SSLConnection, context)
        pool = ConnectionPool(connection_class=plain, host=host, port=port, **theirs)
        sentinel.sentinels.append(Redis.from_pool(pool))
    kind = SentinelManagedConnection if context is None else _over(SentinelManagedSSLConnection, context)
    assert config.master is not None
    managed = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        config.master, sentinel, connection_class=kind, **ours
    )
    client: Any = _FoundBySentinels.from_pool(managed)
    client.sentinels = sentinel.sentinels
    return client


class _Cluster(RedisCluster):
    """A cluster, whose nodes that are just given their first slots are known, too: they are asked by their address."""

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """Give a node; one that another node told of by an ASK may be a new one."""
        node = super().get_node(host, port, node_name)
        if node is None and node_name is not None:
            host, _, number = node_name.rpartition(":")
            node = ClusterNode(host, int(number), PRIMARY, **self.connection_kwargs)
            self.nodes_manager.nodes_cache[node.name] = node
        return node


def _cluster(config: StoreConfig, context: ssl.SSLContext | None, ours: dict[str, Any]) -> Client:
    nodes = [ClusterNode(host, port) for host, port in config.nodes.hosts]
    client = _Cluster(startup_nodes=nodes, ssl=context is not None, **ours)
    if context is not None:
        kind = _over(SSLConnection, context)
        client.connection_kwargs["connection_class"] = kind
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = kind
    return client


async def owners(client: Client, key: Callable[[int], str]) -> list[str]:
    """Give keys that every primary is asked for one of; `key` makes them by number.

    Those of a cluster that own only a few slots may be missed.
    """
    if not isinstance(client, RedisCluster):
        return [key(0)]
    await client.initialize()
    primaries = {node.name for node in client.get_primaries()}
    found: dict[str, str] = {}
    for number in range(100 * len(primaries)):
        node = client.get_node_from_key(key(number))
        assert node is not None, "a primary is asked for"
        found.setdefault(node.name, key(number))
        if len(found) == len(primaries):
            break
    return list(found.values())


async def drop_idle(client: Client) -> None:
    """Close the connections that nobody uses; a cluster does so by itself where a node fails."""
    if not isinstance(client, RedisCluster):
        await client.connection_pool.disconnect(inuse_connections=False)
