"""Storing: the store of the process, opened with the first config, and closed at the end."""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sidecar.auth.secrets.held import HeldSecrets
from sidecar.config.model import Config
from sidecar.config.problem import ConfigError, Problem
from sidecar.core.clock import Clock
from sidecar.core.secret import Secret, SecretRef
from sidecar.store.base import Store, StoreFailed
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from sidecar.store.opening import Around, open_store
from sidecar.telemetry.metrics import Metrics
from sidecar.upstream.tls import client_context

RESTART = "what is stored stays where it is while we run; restart to use another store"


class Storing:
    """Makes the store of the first config. A later config with another is refused: what is stored lies in this one."""

    def __init__(self, clock: Clock, jitter: Callable[[], float], tell: Callable[..., None], metrics: Metrics) -> None:
        self._clock = clock
        self._jitter = jitter
        self._tell = tell
        self._config: StoreConfig | None = None
        self._environment: str | None = None  # It is in every key.
        self.secrets: HeldSecrets | None = None  # Of the generation at work: where passwords are.
        self._is_open = False
        self.store: Store = MemoryStore(StoreConfig(), clock)
        metrics.watch("sidecar_store_up", (), lambda: float(self.store.is_up), self)
        metrics.watch_series("sidecar_store_used_ratio", lambda: used(self.store.snapshot()), self)

    async def use(self, config: Config, folder: Path) -> None:
        """Make the store, or see that it is the same. Raises ConfigError."""
        section = config.store
        if self._is_open:
            if (section, config.sidecar.environment) != (self._config, self._environment):
                raise ConfigError([Problem("store", RESTART)])
            return
        try:
            self.store = await asyncio.to_thread(self._make, section, config.sidecar.environment, folder)
        except ValueError as error:
            raise ConfigError([Problem("store.ca_file", str(error))]) from None
        self._config, self._environment = section, config.sidecar.environment

    async def open(self) -> None:
        """Open it with the first config, once its secrets are read. Raises ConfigError."""
        if self._is_open:
            return
        try:
            await self.store.open()
        except StoreFailed as error:
            raise ConfigError([Problem(f"store.{error.key}" if error.key else "store", str(error))]) from None
        self._is_open = True

    async def close(self) -> None:
        """Finish what was asked of it, and let go."""
        if self._is_open:
            await self.store.close()

    def _make(self, section: StoreConfig, environment: str | None, folder: Path) -> Store:
        around = Around(self._clock, self._jitter, self._tell, folder, environment)
        if section.url is not None:
            context: ssl.SSLContext | None = None
            if section.url.is_tls:
                context = client_context(section.ca_file)
                context.set_alpn_protocols([])  # It is no HTTP.
            around = around._replace(
                context=context,
                password=self._reader(section.password),
                sentinel_password=self._reader(section.sentinel_password),
            )
        return open_store(section, around)

    def _reader(self, reference: SecretRef | None) -> Callable[[], Secret | None] | None:
        return None if reference is None else partial(self._read, reference)

    def _read(self, reference: SecretRef) -> Secret | None:
        """Give a secret as it is now."""
        return None if self.secrets is None else self.secrets.hold(reference).secret


def used(shown: dict[str, Any]) -> list[tuple[tuple[str, ...], float]]:
    """Give the share of `bytes_max` that a file uses, of the store or of its fallback, for the metric."""
    file = shown.get("fallback", shown)
    return [((), file["used_bytes"] / file["bytes_max"])] if "bytes_max" in file else []
