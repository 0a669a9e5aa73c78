"""The configuration of a store in Google Cloud Secret Manager."""

import re
from urllib.parse import urlsplit

from sidecar.core.section import Section
from sidecar.core.units import Duration

PROJECT = re.compile(r"([a-z0-9.-]{1,60}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,20}")


class GcpStoreConfig(Section, kw_only=True, tag_field="kind", tag="gcp"):
    """`[secrets.<name>]` with `kind = "gcp"`: `<name>:<secret's name>#<field>`."""

    project: str  # Its id or its number. A reference may name another one: projects/<project>/secrets/<name>.
    credentials_file: str | None = None  # A service account's key (JSON). Absent: the metadata server's account.
    endpoint: str = "https://secretmanager.googleapis.com"
    ttl: Duration = Duration(300)  # Between two questions whether a secret changed.
    stale_max: Duration = Duration(86400)  # So long the last value is served while the store is away.
    timeout: Duration = Duration(5)  # For one question and its answer, an access token included.
    ca_file: str | None = None
    allow_private: bool = False  # True where Private Service Connect gives the endpoint an address of your network.

    def problems(self) -> list[tuple[str, str]]:
        """Give what is wrong."""
        wrong = []
        if not PROJECT.fullmatch(self.project):
            wrong.append(("project", 'write the id of a project, such as "checkout-production", or its number'))
        is_tls = _is_tls(self.endpoint)
        if is_tls is None:
            wrong.append(("endpoint", "write https://<host>, without a path"))
        elif not is_tls and not self.allow_private:
            wrong.append(("endpoint", "secrets are asked for over https; http needs allow_private"))
        wrong += [(key, "write a time above 0") for key in ("ttl", "timeout") if getattr(self, key) <= 0]
        if self.stale_max < self.ttl:
            wrong.append(("stale_max", "a value is asked for anew every ttl only; write at least as much as ttl"))
        return wrong


def _is_tls(url: str) -> bool | None:
    """Whether the URL asks for TLS; None if it is not the URL of a server."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_plain = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if not parts.hostname or not is_plain or parts.scheme not in {"http", "https"}:
        return None
    return parts.scheme == "https"
