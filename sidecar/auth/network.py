"""Network: the way to a token endpoint or a secret store, as services go: through our resolver and the egress guard.

The parts stand in upstream/, and are handed over.
"""

import ssl
from collections.abc import Callable
from typing import NamedTuple, Protocol

import aiohttp


class Connect(Protocol):
    """Makes connectors (upstream/connector.py); each request through one says in `ssl` whom it trusts."""

    def __call__(self, *, allow_private: bool, is_once: bool) -> aiohttp.BaseConnector:
        """Make one inside of a running loop; `is_once`: for a single request."""


class Network(NamedTuple):
    """The way out."""

    connect: Connect
    context: Callable[[str | None], ssl.SSLContext]  # By ca_file, as the file is now: upstream/tls.py. May read it.
    own_context: Callable[[str | None], ssl.SSLContext]  # The same, of its own, to put a certificate into.
