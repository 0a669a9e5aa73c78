"""Model: the whole configuration, gathered from the sections of the parts that use them."""

import re
from typing import Any

import msgspec

from sidecar.auth.secrets.opening import SecretStoreConfig
from sidecar.core.section import Section
from sidecar.core.units import Duration
from sidecar.downstream.listener import ListenConfig
from sidecar.layers.admission import AdmissionConfig
from sidecar.layers.service import ServiceConfig, ServiceEntry
from sidecar.queue.batch.config import BatchConfig
from sidecar.store.config import StoreConfig
from sidecar.telemetry.audit.config import AuditConfig
from sidecar.telemetry.log import LogConfig
from sidecar.webhooks.config import WebhookConfig

ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# These make the connection to the vendor, which all routes of a service share.
SERVICE_ONLY = (
    "provider", "base_url", "listen", "ca_file", "allow_private", "upstream_proxy", "upstream_proxy_auth", "pool",
    "client_certificate",
    "dns_timeout", "connect_timeout", "tls_timeout",
)  # fmt: skip


class SidecarSection(Section, kw_only=True):
    """`[sidecar]`: the pod around it."""

    environment: str | None = None  # Stands for {environment} in secret references.
    load_balancer_timeout: Duration = Duration(60)  # What stands in front of the app; no call may outlive it.
    timeout_margin: Duration = Duration(5)  # Kept free below it, for the app's own work.
    replicas: int = 1  # Pods that share a vendor's limit; each takes its part, as long as they cannot agree.
    drain_timeout: Duration = Duration(25)  # Below Kubernetes' terminationGracePeriodSeconds.
    providers_dir: str | None = None  # The user's own presets, beside the config's file.


class Config(Section, kw_only=True):
    """One loaded config; frozen and compared by value. The order is the order in `sidecar.toml`."""

    sidecar: SidecarSection = SidecarSection()
    listen: ListenConfig = ListenConfig()
    store: StoreConfig = StoreConfig()
    secrets: dict[str, SecretStoreConfig] = {}
    admission: AdmissionConfig = AdmissionConfig()
    batch: BatchConfig = BatchConfig()
    audit: AuditConfig | None = None
    log: LogConfig = LogConfig()
    services: dict[str, ServiceEntry] = {}
    webhooks: dict[str, WebhookConfig] = {}


def overrides(entry: ServiceEntry, route: ServiceConfig) -> dict[str, Any]:
    """Give the fields in which a route differs from its service, in field order."""
    both = ((name, getattr(route, name), getattr(entry.config, name)) for name in ServiceConfig.__struct_fields__)
    return {name: own for name, own, inherited in both if own != inherited}


def encode_names(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Give, for each field of a section, the key under which it stands in the file (`place` is written `in`)."""
    return {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
