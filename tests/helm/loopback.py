"""A pod of the example's chart whose vendor is on loopback: its values, what they render to, what its Secret holds."""

from pathlib import Path
from typing import Any

from tests.helm.charts import Object, configs, only, rendered, sidecar_of
from tests.kit.process import free_ports
from tests.kit.vendor import Vendor

Values = dict[str, Any]

KEY = "key-of-the-test"
SECRETS = {"/etc/sidecar-secrets/vendors": {"token": KEY}}


def values_for(vendor: Vendor) -> tuple[Values, int]:
    """Give values of a chart with that vendor, and the port of the app's door."""
    egress, admin, telemetry, webhooks = free_ports(4)
    listen = {
        "egress": [f"127.0.0.1:{egress}", "unix:/run/sidecar/egress.sock"],
        "admin": f"127.0.0.1:{admin}",
        "telemetry": f"0.0.0.0:{telemetry}",
        "webhooks": f"0.0.0.0:{webhooks}",
    }
    crm = {
        "base_url": vendor.url,
        "allow_private": True,
        "auth": {"kind": "bearer", "secret": "vendors:token"},
        "queue": {},
    }
    values: Values = {
        "config": {
            "sidecar": {"environment": "staging"},
            "listen": listen,
            "store": {"kind": "sqlite"},
            "services": {"crm": crm},
        },
        "secretVolumes": {"vendors": {"secret": {"secretName": "vendors"}}},
        "socket": {"enabled": True},
    }
    return values, egress


def text_of(values: Values) -> str:
    """Render the ConfigMap, and give its sidecar.toml."""
    ((_, text),) = configs(rendered("examples/bare", {"sidecar": values}))
    return text


def pod_of(values: Values) -> Object:
    """Render the pod."""
    template: Object = only(rendered("examples/bare", {"sidecar": values}), "Deployment")["spec"]["template"]
    return template


def container_of(values: Values) -> Object:
    """Render the pod, and give the sidecar's container."""
    return sidecar_of(pod_of(values))


def socket_below(folder: Path) -> str:
    """Give the address of the app's Unix socket where the container's paths lie below a folder."""
    return f"unix:{folder}/run/sidecar/egress.sock"
