"""Token URL: where tokens are asked for, taken apart once at load."""

import re
from urllib.parse import urlsplit

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")
_VISIBLE = re.compile(r"[!-~]+")
_SAY = 'write a URL such as "https://id.crm.example/oauth/token"'


class TokenUrl(str):
    """`https://id.crm.example/token`; a query may stand in it (RFC 6749 section 3.2), a fragment and a password not."""

    __slots__ = ("host", "is_tls", "without_query")

    host: str  # Lower case, without brackets.
    is_tls: bool
    without_query: str  # What a DPoP proof names (RFC 9449 section 4.2).

    @classmethod
    def parse(cls, text: object) -> "TokenUrl":
        """Read a URL. Raises ValueError with a sentence that says what to write, and repeats nothing."""
        if not isinstance(text, str) or not _VISIBLE.fullmatch(text):
            raise ValueError(_SAY)
        try:
            parts = urlsplit(text)
            is_port = parts.port is None or parts.port > 0
        except ValueError:  # Its text repeats a piece of the URL, which may be a password.
            raise ValueError(f"this is not a URL; {_SAY}") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or not is_port:
            raise ValueError(f"this is not a URL; {_SAY}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a URL holds no credentials; write client_id and client_secret, a secret reference")
        if "#" in text:
            raise ValueError("a token URL has no fragment")
        if not HOST.fullmatch(parts.hostname):
            raise ValueError("this is no host name; write internationalised names in their xn-- form")
        self = cls(text)
        self.is_tls = parts.scheme == "https"
        self.host = parts.hostname.lower()
        self.without_query = text.partition("?")[0]
        return self
