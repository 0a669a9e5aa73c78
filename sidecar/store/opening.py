"""Opening: from `[store]` to the store; the code of a kind is loaded by those who use it."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sidecar.core.clock import Clock
from sidecar.core.secret import Secret
from sidecar.store.base import Store
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore


class Around(NamedTuple):
    """What a store stands on."""

    clock: Clock
    jitter: Callable[[], float]
    tell: Callable[..., None]
    folder: Path  # Of the config's file.
    environment: str | None
    context: ssl.SSLContext | None = None  # For TLS.
    password: Callable[[], Secret | None] | None = None  # As it is now; None without one.
    sentinel_password: Callable[[], Secret | None] | None = None


def open_store(config: StoreConfig, around: Around) -> Store:
    """Make the store; `open` begins. Blocks while it loads a driver: call in a thread."""
    if config.kind == "memory":
        return MemoryStore(config, around.clock)
    if config.kind == "sqlite":
        from sidecar.store.sqlite.store import SqliteStore  # noqa: PLC0415 - only for who uses it

        return SqliteStore(config, str(around.folder / config.path), around.clock, around.tell)
    from sidecar.store.valkey.store import ValkeyStore  # noqa: PLC0415 - only for who uses it

    prefix = config.prefix if around.environment is None else f"{config.prefix}:{around.environment}"
    shared = ValkeyStore(
        config, prefix, around.context, around.password, around.sentinel_password, around.clock, around.jitter,
        around.tell,
    )  # fmt: skip
    if config.fallback is None:
        return shared
    from sidecar.store.fallback import FallbackStore  # noqa: PLC0415 - only for who uses it
    from sidecar.store.sqlite.store import SqliteStore  # noqa: PLC0415 - only for who uses it

    local = SqliteStore(config, str(around.folder / config.path), around.clock, around.tell)
    return FallbackStore(shared, local, around.clock)
