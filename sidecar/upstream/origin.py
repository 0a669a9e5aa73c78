"""Origin: where a service's vendor is, taken apart once at load.

SNI, Host and the dialled name all come from here, so they are one (tokenizer 56 had three).
"""

import re
from urllib.parse import urlsplit

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
IPV6 = re.compile(r"[0-9A-Fa-f:.]+")
_VISIBLE = re.compile(r"[!-~]*")
DEFAULT_PORTS = {"http": 80, "https": 443}
PORT_MAX = 65535


class BaseUrl(str):
    """`https://api.crm.example/v2`: scheme, host, port and base path of a vendor; no query, no userinfo."""

    __slots__ = ("authority", "base_path", "host", "is_tls", "port")

    authority: bytes  # As sent in Host: with the port only if it is not the scheme's own.
    base_path: bytes  # Without a slash at the end; b"" at the root.
    host: str  # Lower case, without brackets.
    is_tls: bool
    port: int

    @classmethod
    def parse(cls, text: object) -> "BaseUrl":
        """Read a base URL. Raises ValueError with a sentence that says what to write."""
        if not isinstance(text, str):
            raise ValueError('write a URL such as "https://api.crm.example/v2"')
        if not _VISIBLE.fullmatch(text):  # Python's reader would leave blanks and line breaks out.
            raise ValueError("a URL holds visible ASCII characters only; percent-encode others, and write xn-- names")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:  # Its text repeats a piece of the URL, which may be a password.
            raise ValueError('this is not a URL; write one such as "https://api.crm.example/v2"') from None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError('this is not a URL; write one such as "https://api.crm.example/v2"')
        if parts.username is not None or parts.password is not None:
            raise ValueError('a URL holds no credentials; write auth = { kind = "basic", ... } with a secret reference')
        if parts.query or parts.fragment or "?" in text or "#" in text:
            raise ValueError("a base URL has no query and no fragment")
        host = parts.hostname.lower()
        if not (IPV6 if ":" in host else HOST).fullmatch(host):
            if host.endswith("."):
                raise ValueError("write the host name without the dot at its end, as it stands in the certificate")
            raise ValueError(f"{host!r} is not a host name; write internationalised names in their xn-- form")
        self = cls(text)
        self.is_tls = parts.scheme == "https"
        self.host = host
        self.port = port if port is not None else DEFAULT_PORTS[parts.scheme]
        if not 0 < self.port <= PORT_MAX:
            raise ValueError(f"port {self.port} does not exist; ports are 1 to {PORT_MAX}")
        name = f"[{host}]" if ":" in host else host
        self.authority = (name if self.port == DEFAULT_PORTS[parts.scheme] else f"{name}:{self.port}").encode()
        self.base_path = parts.path.rstrip("/").encode()
        return self

    @property
    def root(self) -> bytes:
        """Scheme and authority, as a vendor writes them in front of a path."""
        return (b"https://" if self.is_tls else b"http://") + self.authority
