"""What the tests of token requests share: the product's network, secrets at hand, keys made at run time."""

import secrets
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sidecar.auth.network import Network
from sidecar.auth.oauth.config import Algorithm, Grant
from sidecar.auth.oauth.minter import Minter
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Known
from sidecar.core.clock import Clock, SystemClock
from sidecar.core.secret import Secret, SecretRef
from sidecar.upstream.connector import Guarded
from sidecar.upstream.resolve import Lookup, system_lookup
from sidecar.upstream.tls import client_context


def reference(name: str) -> SecretRef:
    """Give the reference to a secret of this name."""
    return SecretRef.parse(f"files:{name}")


def network(resolve: Lookup = system_lookup) -> Network:
    """Give the network as the product puts it together, without the resolver's cache."""
    return Network(partial(Guarded, resolve), context=client_context, own_context=client_context)


class Vault:
    """Held secrets by reference, set by the test."""

    def __init__(self, values: Mapping[str, bytes | str]) -> None:
        self.held: dict[SecretRef, Held] = {}
        for name, value in values.items():
            self.put(name, value)

    def put(self, name: str, value: bytes | str) -> None:
        """Set a secret, or change it."""
        self.hold(reference(name)).put(Secret(value.encode() if isinstance(value, str) else value, "1"))

    def hold(self, wanted: SecretRef) -> Held:
        """Give the secret behind a reference."""
        return self.held.setdefault(wanted, Held(wanted, Known(lambda _: lambda: None)))


def minter(grant: Grant, clock: Clock | None = None, **values: bytes | str) -> Minter:
    """Make a minter whose secrets are `values`, by the names in its references."""
    return Minter(grant, Vault(values).hold, network(), clock or SystemClock())


def new_secret() -> str:
    """Give a secret with everything in it that some encoding changes."""
    return f'{secrets.token_hex(8)}:+/ &=%~"{secrets.token_hex(4)}'


@cache
def private_key(algorithm: Algorithm) -> Any:
    """Give a key for the algorithm; the same one each time, since RSA takes its while."""
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def pem(key: Any, *, traditional: bool = False) -> bytes:
    """Write a private key as PEM: PKCS 8, or in its own older form."""
    form = serialization.PrivateFormat.TraditionalOpenSSL if traditional else serialization.PrivateFormat.PKCS8
    written: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return written
