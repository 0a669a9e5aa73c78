"""JWT: claims signed with a key from a secret store (RFC 7515, 7518, 9864), in whatever form the key is stored."""

import json
import warnings
from collections.abc import Mapping
from typing import Any

from sidecar.auth.oauth.token import TokenRefused


def sign(claims: Mapping[str, Any], key: bytes, algorithm: str, header: Mapping[str, Any] | None = None) -> str:
    """Give the signed token. Takes up to 30 ms (RSA keys are checked first): not for the loop.

    `key` is PEM (PKCS 8, PKCS 1, SEC 1) or a JWK. Raises TokenRefused if it is no key for the algorithm.
    """
    from joserfc import jwt  # noqa: PLC0415  # 11 MiB and 0.2 s, only for those who sign.
    from joserfc.errors import SecurityWarning  # noqa: PLC0415

    whole = {"typ": "JWT", "alg": algorithm, **(header or {})}
    with warnings.catch_warnings():
        # RFC 9864 renames EdDSA to Ed25519, and most servers know the old name alone. Not safe between threads: at
        # worst the warning is shown.
        warnings.simplefilter("ignore", SecurityWarning)
        try:
            return jwt.encode(whole, dict(claims), imported(key, algorithm), algorithms=[algorithm])
        except Exception as error:  # noqa: BLE001  # Of two libraries, of many kinds, and some hold the key.
            kind = type(error).__name__
        raise TokenRefused(f"the signing key is no private key for {algorithm}, in PEM or as a JWK ({kind})")


def imported(key: bytes, algorithm: str) -> Any:
    """Read a key, PEM or JWK. Raises what two libraries raise, of many kinds, and some hold the key."""
    from joserfc.jwk import ECKey, OKPKey, RSAKey  # noqa: PLC0415

    kinds: dict[str, Any] = {"RS256": RSAKey, "PS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey}
    value: Any = key.strip()
    if value.startswith(b"{"):
        value = json.loads(value)
    elif b"\\n" in value:
        value = value.replace(b"\\n", b"\n")  # Copied out of a JSON file as it stood there.
    return kinds[algorithm].import_key(value)
