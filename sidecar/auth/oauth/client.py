"""Client: how a client shows the token endpoint who it is (RFC 6749 section 2.3, RFC 7523, RFC 8705)."""

import base64
import hashlib
from urllib.parse import quote_plus

from sidecar.auth.oauth.config import TokenRequest
from sidecar.auth.oauth.jwt import sign
from sidecar.auth.oauth.material import Material
from sidecar.auth.oauth.token import TokenRefused

ASSERTION_LIFE = 60  # Seconds: the way to the endpoint, and little more.
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Fields = list[tuple[str, str]]


def authenticate(config: TokenRequest, material: Material, wall: float, jti: str) -> tuple[Fields, Fields]:
    """Give (headers, parameters) that say who asks. Raises TokenRefused.

    `wall` is the Unix time at the endpoint, `jti` the name of this very request: no assertion is used twice. With a
    certificate (RFC 8705) the connection says it, and the parameters name the client.
    """
    if config.client_auth == "client_secret_basic":
        assert config.client_secret is not None
        return [("Authorization", basic(config.client_id, material.value(config.client_secret)))], []
    named: Fields = [("client_id", config.client_id)] if config.client_id else []
    if config.client_auth == "client_secret_post":
        assert config.client_secret is not None
        return [], [*named, ("client_secret", material.text(config.client_secret, "client_secret"))]
    if config.client_auth == "private_key_jwt":
        assertion = material.sent(_assertion(config, material, wall, jti))
        return [], [*named, ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)]
    return [], named


def basic(client_id: str, secret: bytes) -> str:
    """Give `Basic ...` with both parts form-urlencoded first, as RFC 6749 section 2.3.1 wants, and RFC 7617 not."""
    return "Basic " + base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


def _assertion(config: TokenRequest, material: Material, wall: float, jti: str) -> str:
    assert config.client_key is not None
    claims = {
        "iss": config.client_id,
        "sub": config.client_id,
        "aud": config.client_audience or str(config.token_url),
        "jti": jti,
        "iat": int(wall),
        "exp": int(wall) + ASSERTION_LIFE,
    }
    header = {}
    if config.client_key_id is not None:
        header["kid"] = config.client_key_id
    if config.client_certificate is not None:  # How Microsoft Entra finds the key.
        header["x5t#S256"] = thumbprint(material.value(config.client_certificate))
    return sign(claims, material.value(config.client_key), config.client_algorithm, header)


def thumbprint(certificate: bytes) -> str:
    """Give the SHA-256 thumbprint (RFC 7515 section 4.1.8) of the first certificate in PEM. Raises TokenRefused."""
    inner, end, _ = certificate.partition(b"-----BEGIN CERTIFICATE-----")[2].partition(b"-----END CERTIFICATE-----")
    try:
        der = base64.b64decode(b"".join(inner.split()), validate=True) if end else b""
    except ValueError:
        der = b""
    if not der:
        raise TokenRefused("client_certificate is no certificate in PEM (-----BEGIN CERTIFICATE-----)")
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
