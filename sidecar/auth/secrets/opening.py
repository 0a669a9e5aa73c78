"""Opening: from a `[secrets.<name>]` section to its store; the code of a kind is loaded by those who use it."""

from collections.abc import Callable

from sidecar.auth.network import Network
from sidecar.auth.secrets.aws.config import AwsStoreConfig
from sidecar.auth.secrets.file import FileStore, FileStoreConfig
from sidecar.auth.secrets.gcp.config import GcpStoreConfig
from sidecar.auth.secrets.store import SecretStore
from sidecar.auth.secrets.vault.config import VaultStoreConfig
from sidecar.core.clock import Clock

SecretStoreConfig = FileStoreConfig | VaultStoreConfig | AwsStoreConfig | GcpStoreConfig


def open_store(
    config: SecretStoreConfig, clock: Clock, jitter: Callable[[], float], network: Network, tell: Callable[..., None]
) -> SecretStore:
    """Make the store; it connects when it is asked for the first time."""
    if isinstance(config, FileStoreConfig):
        return FileStore(config)
    if isinstance(config, VaultStoreConfig) and config.engine == "dynamic":
        from sidecar.auth.secrets.vault.dynamic import DynamicStore  # noqa: PLC0415 - only for who uses it

        return DynamicStore(config, clock, jitter, network, tell)
    if isinstance(config, VaultStoreConfig):
        from sidecar.auth.secrets.vault.store import VaultStore  # noqa: PLC0415 - only for who uses it

        return VaultStore(config, clock, jitter, network, tell)
    if isinstance(config, AwsStoreConfig):
        from sidecar.auth.secrets.aws.store import AwsStore  # noqa: PLC0415 - only for who uses it

        return AwsStore(config, clock, network)
    from sidecar.auth.secrets.gcp.store import GcpStore  # noqa: PLC0415 - only for who uses it

    return GcpStore(config, clock, network)
