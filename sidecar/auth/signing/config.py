"""The sections of the auth kinds that sign: `hmac`, `aws_sigv4`, `github_app`, `mtls`; and `passthrough`."""

import re
from typing import Literal

from sidecar.auth.oauth.url import TokenUrl
from sidecar.auth.signing.template import Template
from sidecar.core.secret import SecretRef
from sidecar.core.section import Section
from sidecar.core.units import Duration, Size

# The transport writes these after the signing, so no signature can cover them.
_LATE = frozenset({
    "connection", "content-length", "expect", "te", "traceparent", "transfer-encoding", "upgrade", "x-request-id",
})  # fmt: skip
_MOMENT = frozenset({"timestamp", "date", "nonce", "key_id"})
_TO_SIGN = _MOMENT | {"method", "path", "query", "target", "body", "body_sha256", "body_sha256:base64"}
_HEADERS = _MOMENT | {"body_sha256", "body_sha256:base64"}
_VALUE = _HEADERS | {"signature"}
FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2.
REGION = re.compile(r"[a-z0-9-]+")
NUMBER = re.compile(r"[0-9]+")
PERMISSIONS = ("read", "write", "admin")


class Hmac(Section, kw_only=True, tag_field="kind", tag="hmac"):
    """A keyed hash over parts of the request, in a header. Templates are read once, at load.

    They hold text and `{names}`; a brace of their own is written twice. `to_sign` may name: method, path, query (what
    stands behind the `?`), target (path and query) as they are sent; timestamp, date (RFC 9110 section 5.6.7, sent as
    `Date`, too), nonce, key_id; body, body_sha256 (hex), body_sha256:base64; and header:<Name>, whose values are
    joined by ", ", and which is empty where there is none. `headers` are sent besides, and signed where named.
    """

    secret: SecretRef
    to_sign: str
    key_id: str = ""
    algorithm: Literal["sha256", "sha512", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"  # Of the signature.
    secret_encoding: Literal["raw", "hex", "base64"] = "raw"  # noqa: S105 - how the store holds the key
    header: str = "X-Signature"
    value: str = "{signature}"  # Such as "HMAC {key_id}:{signature}".
    headers: dict[str, str] = {}  # Such as { "X-Timestamp" = "{timestamp}", "X-Nonce" = "{nonce}" }.
    timestamp: Literal["s", "ms", "rfc3339"] = "s"  # What {timestamp} is: Unix seconds, milliseconds, or text in UTC.
    body_max: Size = Size(2**20)  # Where a template names the body. A longer one is refused: it is needed whole.

    def problems(self) -> list[tuple[str, str]]:
        """Say what no template can mean."""
        found = []
        for field, text, known in (
            ("to_sign", self.to_sign, _TO_SIGN),
            ("value", self.value, _VALUE),
            *((f"headers.{name}", text, _HEADERS) for name, text in self.headers.items()),
        ):
            found += [(field, sentence) for sentence in _objections(text, known, has_fields=field == "to_sign")]
        if "{signature}" not in self.value:
            found.append(("value", 'the signature is not in it; write for example "HMAC {key_id}:{signature}"'))
        for field, name in (("header", self.header), *(("headers", name) for name in self.headers)):
            if not FIELD_NAME.fullmatch(name) or name.lower() in _LATE | {"host"}:
                found.append((field, f"{name!r} is not the name of a header that may be set here"))
        if self.key_id and not (self.key_id.isascii() and self.key_id.isprintable()):
            found.append(("key_id", "a header holds visible ASCII characters only"))
        return found


def _objections(text: str, known: frozenset[str], *, has_fields: bool) -> list[str]:
    try:
        names = Template(text).names
    except ValueError as error:
        return [str(error)]
    found = []
    for name in sorted(names - known):
        field = name.removeprefix("header:")
        if not (has_fields and field != name):
            found.append(f"{{{name}}} is unknown here; known are {', '.join(sorted(known))}")
        elif not FIELD_NAME.fullmatch(field):
            found.append(f"{field!r} is not the name of a header")
        elif field.lower() in _LATE:
            found.append(f"{field} is written after the signing, so it cannot be signed")
    if not has_fields and not (text.isascii() and text.isprintable()):
        found.append("a header holds visible ASCII characters only")
    return found


class AwsSigv4(Section, kw_only=True, tag_field="kind", tag="aws_sigv4"):
    """AWS Signature Version 4, with keys from a store, or with the pod's own role."""

    region: str
    service: str  # As it stands in the scope of the signature: "s3", "dynamodb", "execute-api", "bedrock" ...
    access_key: SecretRef | None = None
    secret_key: SecretRef | None = None
    session_token: SecretRef | None = None
    credentials: Literal["default"] | None = None  # The pod's role: web identity (IRSA), pod identity, node.
    body_max: Size = Size(2**20)  # A longer body streams to S3, and is refused elsewhere: its hash goes first.

    def problems(self) -> list[tuple[str, str]]:
        """Say where the keys are missing or doubled."""
        found = []
        if self.credentials is None and (self.access_key is None or self.secret_key is None):
            found.append(
                ("access_key", 'write access_key and secret_key, or credentials = "default" for the role of this pod')
            )
        if self.credentials is not None and (self.access_key or self.secret_key or self.session_token):
            found.append(("credentials", "write either keys or credentials: two identities cannot sign one call"))
        if not REGION.fullmatch(self.region):
            found.append(("region", 'write a region such as "eu-central-1"'))
        if not REGION.fullmatch(self.service):
            found.append(("service", 'write the name that AWS signs for, such as "s3" or "execute-api"'))
        return found


class GithubApp(Section, kw_only=True, tag_field="kind", tag="github_app"):
    """A GitHub App: a JWT by its private key is exchanged for an installation's token, which lives for one hour."""

    app_id: str  # Or the client id, which GitHub takes as well.
    private_key: SecretRef  # PEM, as GitHub gives it.
    installation_id: str
    permissions: dict[str, str] = {}  # Less than the installation has, such as { issues = "read" }. Absent: all.
    repositories: tuple[str, ...] = ()  # Names without the owner. Absent: all.
    api_base: TokenUrl = TokenUrl.parse("https://api.github.com")  # Enterprise Server: "https://HOST/api/v3".
    ca_file: str | None = None
    allow_private: bool = False
    timeout: Duration = Duration(10)

    def problems(self) -> list[tuple[str, str]]:
        """Say which ids cannot be, and what GitHub would refuse."""
        found = []
        if not NUMBER.fullmatch(self.installation_id):
            found.append(
                ("installation_id", 'write the number at the end of the installation\'s page, such as "12345"')
            )
        if not FIELD_NAME.fullmatch(self.app_id):
            found.append(("app_id", 'write the number of the app, or its client id, such as "Iv23..."'))
        if self.api_base.endswith("/") or "?" in self.api_base:
            found.append(("api_base", 'write a URL without a slash at its end, such as "https://api.github.com"'))
        if not self.api_base.is_tls and not self.allow_private:
            found.append(("api_base", "tokens are asked for over https; http needs allow_private"))
        if not 0 < self.timeout <= 60:
            found.append(("timeout", "a token request takes seconds; write more than 0 and at most 60s"))
        for name, level in self.permissions.items():
            if level not in PERMISSIONS:
                found.append((f"permissions.{name}", f"write one of {', '.join(PERMISSIONS)}"))
        return found


class Mtls(Section, kw_only=True, tag_field="kind", tag="mtls"):
    """A client certificate (RFC 8446 section 4.4.2): the vendor knows us by our TLS connection."""

    certificate: SecretRef  # PEM: our certificate first, then the chain up to what the vendor trusts.
    private_key: SecretRef  # PEM.
    password: SecretRef | None = None  # Of an encrypted key.


class Passthrough(Section, kw_only=True, tag_field="kind", tag="passthrough"):
    """The app's own `Authorization` goes on to the vendor as it is, and is nowhere written.

    For vendors whose tokens belong to the app's users. What it means: the app holds these credentials, not the
    sidecar; nothing here renews or replaces them, a 401 is the app's to answer, and every process that reaches the
    door may call the vendor with what it brings. A call without `Authorization` goes on without.
    """


Signing = Hmac | AwsSigv4 | GithubApp | Mtls | Passthrough


def references(auth: Signing) -> list[SecretRef]:
    """Give every secret that the section names."""
    values = (getattr(auth, field) for field in auth.__struct_fields__)
    return [value for value in values if isinstance(value, SecretRef)]
