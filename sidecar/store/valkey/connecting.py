"""Connecting: from `[store]` to a client of redis-py, for one server, for sentinels, or for a cluster.

The password is asked for at each new connection, so a rotated one counts without a restart. Trust is the context that
is handed over, made once. The client does not retry: what to do without an answer is for those who ask. How many
connections there are is bounded by how many questions are under way (client.py).
"""

import ssl
from collections.abc import Callable
from typing import Any

from redis.asyncio import ConnectionPool, Redis, RedisCluster, Sentinel, SSLConnection
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from sidecar.core.secret import Secret
from sidecar.store.base import StoreDown
from sidecar.store.config import StoreConfig

Read = Callable[[], Secret | None]
Client = Any  # Redis or RedisCluster: what we ask both answer.


class _Credentials(CredentialProvider):
    """Who we are, as it is now."""

    def __init__(self, username: str | None, password: Read | None) -> None:
        self._username = username
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Give the password, after the name if there is one. Raises StoreDown while it is not known."""
        secret = None if self._password is None else self._password()
        if secret is None:
            raise StoreDown("the password of the store could not be read; see the line about its secret")
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
        pool = ConnectionPool(connection_class=plain, host=host, port=port, max_connections=1, **theirs)
        sentinel.sentinels.append(Redis.from_pool(pool))
    kind = SentinelManagedConnection if context is None else _over(SentinelManagedSSLConnection, context)
    assert config.master is not None
    managed = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        config.master, sentinel, connection_class=kind, **ours
    )
    return Redis.from_pool(managed)


def _cluster(config: StoreConfig, context: ssl.SSLContext | None, ours: dict[str, Any]) -> Client:
    from redis.asyncio.cluster import ClusterNode  # noqa: PLC0415 - only for who has a cluster

    nodes = [ClusterNode(host, port) for host, port in config.nodes.hosts]
    client = RedisCluster(startup_nodes=nodes, ssl=context is not None, cluster_error_retry_attempts=1, **ours)
    if context is not None:
        kind = _over(SSLConnection, context)
        client.connection_kwargs["connection_class"] = kind
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = kind
    return client
