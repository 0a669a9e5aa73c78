"""OAuth, as configured: the grants, the ways in which a client shows who it is, and what a token request holds."""

import re
from collections.abc import Iterator
from typing import Literal

from sidecar.auth.login.config import LoginConfig
from sidecar.auth.oauth.url import TokenUrl
from sidecar.core.secret import SecretRef
from sidecar.core.section import Section
from sidecar.core.units import Duration

ClientAuth = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "none"]
Algorithm = Literal["RS256", "PS256", "ES256", "EdDSA"]

# The keys by which the client shows who it is.
NEEDS: dict[ClientAuth, tuple[str, ...]] = {
    "client_secret_basic": ("client_id", "client_secret"),
    "client_secret_post": ("client_id", "client_secret"),
    "private_key_jwt": ("client_id", "client_key"),
    "tls_client_auth": ("client_id", "client_certificate", "client_key"),
    "none": (),
}
ASSERTION_LIFE_MAX = 3600.0  # Seconds: Google's limit, and nobody grants more.
VISIBLE = re.compile(r"[ -~]*")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2.
SECRET_PARAMS = frozenset({
    "client_secret", "client_assertion", "refresh_token", "assertion", "subject_token", "actor_token", "access_token",
    "password", "code",
})  # fmt: skip
OURS = frozenset({"content-type", "content-length", "host", "authorization", "dpop", "transfer-encoding", "cookie"})

_KEY_MISSING = (
    "where the client has no secret, dpop = true binds the refresh token to the key that it was asked for with (RFC"
    " 9449 section 5), so the login and every process after it need the same one; make it by `openssl genpkey"
    " -algorithm EC -pkeyopt ec_paramgen_curve:P-256`, put it into a secret store, and write its reference"
)

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  a grant's name
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"


class TokenRequest(Section, kw_only=True):
    """What every grant has: the endpoint, how the client shows who it is, and what is asked for."""

    token_url: TokenUrl
    client_id: str = ""
    client_secret: SecretRef | None = None
    client_auth: ClientAuth = "client_secret_basic"
    client_key: SecretRef | None = None  # PEM or JWK: signs for private_key_jwt, belongs to the certificate for TLS.
    client_key_id: str | None = None  # `kid`: which of the client's keys it is.
    client_algorithm: Algorithm = "RS256"
    client_audience: str | None = None  # Absent: the token URL.
    client_certificate: SecretRef | None = None  # PEM, with its chain.
    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    resources: tuple[str, ...] = ()  # RFC 8707: the APIs that the token is for.
    params: dict[str, str] = {}  # Further parameters; what stands here wins over ours.
    headers: dict[str, str] = {}  # Further headers of the token request.
    body: Literal["form", "json"] = "form"
    dpop: bool = False  # Tokens that only the holder of a key can use (RFC 9449).
    dpop_key: SecretRef | None = None  # That key: EC P-256, PEM or JWK. Absent: each process makes one of its own.
    token_life: Duration | None = None  # Where the answer does not say. Absent: until the vendor refuses it.
    base_url_from: str | None = None  # The answer's member that says where the API is, such as "instance_url".
    ca_file: str | None = None
    allow_private: bool = False
    timeout: Duration = Duration(10)

    def problems(self) -> list[tuple[str, str]]:
        """Give what does not go together."""
        return [*self._transport_problems(), *self._client_problems(), *self._text_problems()]

    def _transport_problems(self) -> Iterator[tuple[str, str]]:
        if not self.token_url.is_tls and not self.allow_private:
            yield "token_url", "secrets are sent there, so it is asked over https; http needs allow_private"
        if not 0 < self.timeout <= 60:
            yield "timeout", "a token request takes seconds; write more than 0 and at most 60s"

    def _client_problems(self) -> Iterator[tuple[str, str]]:
        for name in NEEDS[self.client_auth]:
            if not getattr(self, name):
                yield name, f'client_auth = "{self.client_auth}" needs it'
        if self.client_auth not in {"client_secret_basic", "client_secret_post"} and self.client_secret is not None:
            yield "client_secret", f'client_auth = "{self.client_auth}" does not use it'
        if self.client_auth not in {"private_key_jwt", "tls_client_auth"} and self.client_key is not None:
            yield "client_key", f'client_auth = "{self.client_auth}" does not use it'
        if self.dpop_key is not None and not self.dpop:
            yield "dpop_key", "it is used with dpop = true alone; write that as well"
        if self.client_auth == "tls_client_auth" and not self.token_url.is_tls:
            yield "client_auth", "a client certificate is shown over https only"

    def _text_problems(self) -> Iterator[tuple[str, str]]:
        for name in SECRET_PARAMS & self.params.keys():
            yield f"params.{name}", "a secret never stands in the config; there is a key of its own for a reference"
        for name, value in self.headers.items():
            if not HEADER.fullmatch(name) or name.lower() in OURS:
                yield f"headers.{name}", "this is no header that a token request may be given"
            elif not VISIBLE.fullmatch(value):
                yield f"headers.{name}", "a header holds visible ASCII characters only"


class ClientCredentials(TokenRequest, kw_only=True, tag_field="kind", tag="oauth2_client_credentials"):
    """`kind = "oauth2_client_credentials"` (RFC 6749 section 4.4)."""

    grant_type: str = "client_credentials"  # Zoom calls it account_credentials.


class RefreshToken(TokenRequest, kw_only=True, tag_field="kind", tag="oauth2_refresh_token"):
    """`kind = "oauth2_refresh_token"` (RFC 6749 section 6): somebody consented once, `sidecar login` or by hand."""

    refresh_token: SecretRef  # Read from there, and written there when the endpoint gives a new one.
    login: LoginConfig | None = None  # For `sidecar login`.

    def problems(self) -> list[tuple[str, str]]:
        """Give what does not go together."""
        found = TokenRequest.problems(self)
        if self.dpop and self.client_auth == "none" and self.dpop_key is None:
            found.append(("dpop_key", _KEY_MISSING))
        return found


class JwtBearer(TokenRequest, kw_only=True, tag_field="kind", tag="oauth2_jwt_bearer"):
    """`kind = "oauth2_jwt_bearer"` (RFC 7523): a key of ours signs for each token; Google, Salesforce, DocuSign."""

    client_auth: ClientAuth = "none"
    key: SecretRef  # PEM or JWK.
    key_id: str | None = None
    algorithm: Algorithm = "RS256"
    issuer: str
    subject: str | None = None  # On whose behalf.
    audience: str | None = None  # Absent: the token URL, as Google wants it; Salesforce: the login host.
    assertion_life: Duration = Duration(60)
    scopes_in: Literal["assertion", "request"] = "assertion"  # Google and DocuSign read them there.
    claims: dict[str, str] = {}  # Further claims, such as { box_sub_type = "enterprise" }.

    def problems(self) -> list[tuple[str, str]]:
        """Give what does not go together."""
        found = TokenRequest.problems(self)
        if not 1 <= self.assertion_life <= ASSERTION_LIFE_MAX:
            found.append(("assertion_life", "write at least 1s and at most 1h"))
        return found


class TokenExchange(TokenRequest, kw_only=True, tag_field="kind", tag="oauth2_token_exchange"):
    """`kind = "oauth2_token_exchange"` (RFC 8693): a token that the pod has already is given for the vendor's."""

    client_auth: ClientAuth = "none"
    subject_token: SecretRef | None = None
    subject_token_file: str | None = None  # Such as a projected service-account token; read for each request.
    subject_token_type: str = JWT_TYPE
    actor_token: SecretRef | None = None
    actor_token_type: str = JWT_TYPE
    requested_token_type: str | None = None
    audiences: tuple[str, ...] = ()

    def problems(self) -> list[tuple[str, str]]:
        """Give what does not go together."""
        found = TokenRequest.problems(self)
        if (self.subject_token is None) == (self.subject_token_file is None):
            found.append(("subject_token", "write either this or subject_token_file"))
        return found


Grant = ClientCredentials | RefreshToken | JwtBearer | TokenExchange


def references(grant: Grant) -> list[SecretRef]:
    """Give every secret that the token request needs, beside the refresh token, which is handed in."""
    found = [grant.client_secret, grant.client_key, grant.client_certificate, grant.dpop_key]
    if isinstance(grant, JwtBearer):
        found.append(grant.key)
    elif isinstance(grant, TokenExchange):
        found += [grant.subject_token, grant.actor_token]
    return [reference for reference in found if reference is not None]
