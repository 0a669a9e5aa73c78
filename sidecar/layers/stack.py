"""Stack: the order of the layers, and why. Top is outermost; what is not configured is not there.

observe      sees everything, also what the sidecar refuses by itself
deadline     all below share one budget of time
admission    protects this pod's memory; sheds before any work
body_bound   the same for one call
access       least privilege: what is not allowed stops before anything is done with it
rewrite      the app's addresses outwards
transform    the vendor's shape inwards, the app's shape outwards
credentials  innermost: fresh at the moment of sending
"""

from collections.abc import Iterable

from sidecar.auth.credential import Credential
from sidecar.core.call import Handler, Layer
from sidecar.layers.access import access
from sidecar.layers.admission import Gate, admission
from sidecar.layers.body_bound import body_bound
from sidecar.layers.credentials import credentials
from sidecar.layers.deadline import deadline
from sidecar.layers.observe import Observer, observe
from sidecar.layers.rewrite import Rewriter, rewrite
from sidecar.layers.service import ServiceConfig
from sidecar.layers.transform import transform
from sidecar.upstream.origin import DEFAULT_PORTS


def build(
    config: ServiceConfig, observer: Observer, gate: Gate, credential: Credential | None, transport: Handler
) -> Handler:
    """Fold the layers of one route around its transport."""
    layers: list[Layer | None] = [
        observe(observer),
        deadline(config.timeout),
        admission(gate),
        body_bound(config.body_max),
        access(config.allow) if config.allow is not None else None,
        rewrite(_rewriter(config), has_bodies=config.rewrite_urls == "body") if config.rewrite_urls else None,
        transform(config.headers, config.response_headers, config.api_version, config.forward),
        credentials(credential) if credential is not None else None,
    ]
    return compose((layer for layer in layers if layer is not None), transport)


def compose(layers: Iterable[Layer], innermost: Handler) -> Handler:
    """Put the first layer outermost."""
    handler = innermost
    for layer in reversed(list(layers)):
        handler = layer(handler)
    return handler


def _rewriter(config: ServiceConfig) -> Rewriter:
    origin = config.base_url
    version = config.api_version
    # The app's paths begin behind a version that is put in front of them.
    pinned = b"/" + version.value.encode() if version is not None and version.path else b""
    return Rewriter(origin.root, origin.base_path + pinned, DEFAULT_PORTS["https" if origin.is_tls else "http"])
