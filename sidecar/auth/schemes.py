"""Schemes: the static ways in which a vendor wants a credential on a request."""

import base64
from typing import Literal
from urllib.parse import quote

import msgspec

from sidecar.auth.oauth.config import Grant
from sidecar.auth.signing.config import Signing
from sidecar.core.secret import SecretRef
from sidecar.core.section import Section


class Bearer(Section, kw_only=True, tag_field="kind", tag="bearer"):
    """`Authorization: Bearer <secret>`; another header or prefix where a vendor differs."""

    secret: SecretRef
    header: str = "Authorization"
    prefix: str = "Bearer "
    pool: bool = False  # The value is a JSON list, or has one token in each line: each call carries one of them.

    def field(self, value: bytes) -> tuple[bytes, bytes]:
        """Give the header field for the secret."""
        return self.header.encode(), self.prefix.encode() + value


class ApiKey(Section, kw_only=True, tag_field="kind", tag="api_key"):
    """A key of the vendor's own, in a header or in the query."""

    secret: SecretRef
    place: Literal["header", "query"] = msgspec.field(name="in", default="header")
    name: str = "X-Api-Key"
    prefix: str = ""
    pool: bool = False  # The value is a JSON list, or has one key in each line: each call carries one of them.

    def field(self, value: bytes) -> tuple[bytes, bytes]:
        """Give the header field, or the query parameter ready to stand in a URL."""
        if self.place == "query":
            return quote(self.name, safe="").encode(), quote(self.prefix.encode() + value, safe="").encode()
        return self.name.encode(), self.prefix.encode() + value


class Basic(Section, kw_only=True, tag_field="kind", tag="basic"):
    """HTTP Basic (RFC 7617): the name stands in the config, the password in a secret store."""

    username: str
    secret: SecretRef

    def field(self, value: bytes) -> tuple[bytes, bytes]:
        """Give the header field for name and password."""
        return b"Authorization", basic(self.username, value)


def basic(username: str, password: bytes) -> bytes:
    """Give the value of an Authorization or Proxy-Authorization field (RFC 7617 section 2)."""
    return b"Basic " + base64.b64encode(username.encode() + b":" + password)


Static = Bearer | ApiKey | Basic
Auth = Static | Grant | Signing
