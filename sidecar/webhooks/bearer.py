"""Bearer: a JWT that a vendor sends with a webhook, judged by keys that are configured or fetched."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from sidecar.core.section import Section
from sidecar.webhooks.message import NotVerified

LENGTH_MAX = 16 * 1024  # Characters of a JWT. Longer: refused before anything of it is decoded.
_HASHED = ("HS256", "HS384", "HS512")
ALGORITHMS = frozenset({*_HASHED, "RS256", "PS256", "ES256", "EdDSA", "Ed25519"})

Known = tuple[str, ...]


class JwtConfig(Section, kw_only=True):
    """What a JWT must say beside being signed."""

    algorithms: Known = ("RS256",)  # Never taken from the token itself.
    issuers: Known = ()  # Absent: any who has the key.
    audience: str = ""  # May hold {setting:NAME}. Absent: not asked for.

    def problems(self) -> list[tuple[str, str]]:
        """Say which algorithms are none."""
        if not self.algorithms or set(self.algorithms) - ALGORITHMS:
            return [("algorithms", f"write some of {', '.join(sorted(ALGORITHMS))}")]
        if set(self.algorithms) & set(_HASHED) and set(self.algorithms) - set(_HASHED):
            return [("algorithms", "a public key that is taken for a secret lets anybody sign; write one kind")]
        return []


class Bearer:
    """Verifies JWTs. A key's text is PEM, a JWK, a set of JWKs, or a shared secret for HS256 and its like."""

    def __init__(self, config: JwtConfig, audience: str) -> None:
        self._config = config
        self._audience = audience

    def claims(self, tokens: Sequence[bytes], keys: Sequence[bytes], now: float, leeway: float) -> dict[str, Any]:
        """Give the claims of the first token that one of the keys has signed. Raises NotVerified."""
        for token in tokens:
            if len(token) > LENGTH_MAX:
                raise NotVerified(f"the JWT has over {LENGTH_MAX} characters")
            for key in keys:
                claims = self._signed(token, key)
                if claims is not None:
                    self._check(claims, now, leeway)
                    return claims
        raise NotVerified("no key that is known has signed the JWT")

    def _signed(self, token: bytes, key: bytes) -> dict[str, Any] | None:
        from joserfc import jwt  # noqa: PLC0415  # 11 MiB and 0.2 s, only for those who verify JWTs.

        if not _is_canonical(token):
            return None
        try:
            decoded = jwt.decode(token, self._imported(key), algorithms=list(self._config.algorithms))
        except Exception:  # noqa: BLE001  # Of several libraries, of many kinds; each means that this key did not sign.
            return None
        return dict(decoded.claims)

    def _imported(self, key: bytes) -> Any:
        from joserfc import jwk  # noqa: PLC0415

        text = key.strip()
        if not text:
            raise ValueError("a secret is empty")
        if self._config.algorithms[0] in _HASHED:
            return jwk.OctKey.import_key(key)
        if text.startswith(b"{"):
            document = json.loads(text)
            return jwk.KeySet.import_key_set(document) if "keys" in document else jwk.import_key(document)
        kind: Any = {"E": jwk.ECKey, "O": jwk.OKPKey}.get(self._kind(), jwk.RSAKey)
        return kind.import_key(text)

    def _kind(self) -> str:
        name = self._config.algorithms[0]
        return "O" if name.startswith("Ed") else name[0]

    def _check(self, claims: dict[str, Any], now: float, leeway: float) -> None:
        for name, sign in (("exp", 1), ("nbf", -1), ("iat", -1)):
            instant = claims.get(name)
            if instant is None:
                continue
            if isinstance(instant, bool) or not isinstance(instant, int | float):
                raise NotVerified(f"the JWT's {name} is no time")
            if (now - instant) * sign > leeway:
                raise NotVerified(f"the JWT's {name} is {abs(now - instant):.0f} s {'ago' if sign > 0 else 'ahead'}")
        if self._config.issuers and claims.get("iss") not in self._config.issuers:
            raise NotVerified("the JWT is of another issuer")
        if self._audience:
            said = claims.get("aud")
            if self._audience not in (said if isinstance(said, list) else [said]):
                raise NotVerified("the JWT is for another audience")


def _is_canonical(token: bytes) -> bool:
    """Whether the signature is written in the one right way: its last letter may hold bits that do not count."""
    signature = token.rpartition(b".")[2]
    try:
        raw = base64.b64decode(signature + b"=" * (-len(signature) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return False
    return base64.urlsafe_b64encode(raw).rstrip(b"=") == signature
