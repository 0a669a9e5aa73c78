"""DPoP: tokens that only the holder of a key can use (RFC 9449); each request carries a proof, signed anew."""

import base64
import hashlib
import secrets
from typing import Any

from sidecar.auth.oauth.jwt import imported
from sidecar.auth.oauth.token import TokenRefused

_PUBLIC = ("kty", "crv", "x", "y")

NONCE_MAX = 1024  # Characters. A longer nonce is not taken: it would have to travel in a header.


class DpopKey:
    """A P-256 key: one from a secret store, or one that is made here, so that what is bound to it dies with it."""

    __slots__ = ("_encode", "_header", "_key", "thumbprint")

    def __init__(self, stored: bytes | None = None) -> None:
        """Read the key, or make one. Imports a library (0.2 s at the first time): not for the loop.

        Raises TokenRefused if what is stored is no such key.
        """
        from joserfc import jwt  # noqa: PLC0415  # Only for those who use DPoP.
        from joserfc.jwk import ECKey  # noqa: PLC0415

        self._encode = jwt.encode
        self._key = ECKey.generate_key("P-256") if stored is None else _read(stored)
        public = self._key.as_dict(private=False)
        # Nothing else of a stored JWK, such as what it may be used for.
        self._header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": {name: public[name] for name in _PUBLIC}}
        self.thumbprint = self._key.thumbprint()  # What a bound token names as cnf.jkt.

    def proof(
        self, method: str, url: str, wall: float, *, nonce: str | None = None, access_token: bytes | None = None
    ) -> str:
        """Give the proof for one request, to be sent in `DPoP`; about 50 µs.

        `url` loses its query and fragment; `wall` is Unix time; `access_token` is the one that the request carries.
        """
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": url.partition("#")[0].partition("?")[0],
            "iat": int(wall),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if access_token is not None:
            digest = hashlib.sha256(access_token).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return self._encode(dict(self._header), claims, self._key, algorithms=["ES256"])

    def __repr__(self) -> str:
        return f"DpopKey({self.thumbprint})"


def _read(stored: bytes) -> Any:
    try:
        key = imported(stored, "ES256")
        if key.is_private and key.curve_name == "P-256":
            return key
        kind = "public" if not key.is_private else key.curve_name
    except Exception as error:  # noqa: BLE001  # Of two libraries, of many kinds, and some hold the key.
        kind = type(error).__name__
    raise TokenRefused(f"dpop_key is no private EC key of the curve P-256, in PEM or as a JWK ({kind})")


class Prover:
    """Proofs for one server, with the nonce that it gave last (RFC 9449 sections 8 and 9)."""

    __slots__ = ("key", "nonce")

    def __init__(self, key: DpopKey, nonce: str | None = None) -> None:
        self.key = key
        self.nonce = nonce  # The server's, whatever the key: the next prover begins with it.

    def hear(self, nonce: str | None) -> bool:
        """Take the server's `DPoP-Nonce`, if there is one; say whether it is another than before."""
        if not nonce or len(nonce) > NONCE_MAX or nonce == self.nonce:
            return False
        self.nonce = nonce
        return True

    def proof(self, method: str, url: str, wall: float, access_token: bytes | None = None) -> str:
        """Give the proof for one request to this server."""
        return self.key.proof(method, url, wall, nonce=self.nonce, access_token=access_token)
