"""Config: where a Vault is, how we log in there, and which engine holds the secrets."""

import re
from typing import Literal
from urllib.parse import urlsplit

from sidecar.core.section import Section
from sidecar.core.units import Duration

_VISIBLE = re.compile(r"[!-~]+")
PATH = re.compile(r"[!\"$&-.0->@-~]+(/[!\"$&-.0->@-~]+)*")  # Visible ASCII but "#", "%" and "?".
_SAY = 'write a URL such as "https://vault.example:8200"'
SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105  Where Kubernetes puts it.


class VaultAddress(str):
    """`https://vault.example:8200`: scheme, host and port; Vault's API is always at the root."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "VaultAddress":
        """Read an address. Raises ValueError with a sentence that repeats nothing, since a password may stand in it."""
        if not isinstance(text, str) or not _VISIBLE.fullmatch(text):
            raise ValueError(_SAY)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError(_SAY) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
            raise ValueError(_SAY)
        if parts.username is not None or parts.password is not None:
            raise ValueError("an address holds no credentials; write auth = { method = ..., ... }")
        if parts.path.rstrip("/") or parts.query or parts.fragment or "?" in text or "#" in text:
            raise ValueError(f"the address has no path; the engine is named by `mount`; {_SAY}")
        return cls(f"{parts.scheme}://{parts.netloc.lower()}")


class Kubernetes(Section, kw_only=True, tag_field="method", tag="kubernetes"):
    """Log in with the pod's service-account token; its audience is what the pod's volume asked for."""

    role: str
    mount: str = "kubernetes"
    token_file: str = SERVICE_ACCOUNT_TOKEN

    def problems(self) -> list[tuple[str, str]]:
        """Hold the mount to a path."""
        return _mount_problems(self.mount)


class AppRole(Section, kw_only=True, tag_field="method", tag="approle"):
    """Log in with a role's id and a secret id from a file."""

    role_id: str
    secret_id_file: str
    mount: str = "approle"

    def problems(self) -> list[tuple[str, str]]:
        """Hold the mount to a path."""
        return _mount_problems(self.mount)


class Jwt(Section, kw_only=True, tag_field="method", tag="jwt"):
    """Log in with a JWT from a file, such as a projected service-account token or a workload identity."""

    role: str
    token_file: str
    mount: str = "jwt"

    def problems(self) -> list[tuple[str, str]]:
        """Hold the mount to a path."""
        return _mount_problems(self.mount)


class TokenFile(Section, kw_only=True, tag_field="method", tag="token"):
    """Use the token that another, such as Vault's agent, writes to a file and replaces there."""

    token_file: str


VaultAuth = Kubernetes | AppRole | TokenFile | Jwt


class VaultStoreConfig(Section, kw_only=True, tag_field="kind", tag="vault"):
    """`[secrets.<name>]` with `kind = "vault"`: `<name>:<path>#<field>` names a field of a secret below `mount`.

    With `engine = "dynamic"` the path is a role's, `creds/<role>`, and its fields are those of one credential.
    """

    address: VaultAddress
    auth: VaultAuth
    engine: Literal["kv", "dynamic"] = "kv"  # "dynamic": one that makes a credential for us, with a lease.
    mount: str = "secret"
    kv_version: Literal[1, 2] | None = None  # Absent: the server is asked at each login.
    namespace: str | None = None
    ttl: Duration = Duration(300)  # Between two questions whether a secret changed.
    stale_max: Duration = Duration(86400)  # So long the last value is served while the store is away.
    timeout: Duration = Duration(5)  # For one question and its answer.
    ca_file: str | None = None
    allow_private: bool = True  # Unlike a vendor, a vault is inside your own network as a rule.

    def problems(self) -> list[tuple[str, str]]:
        """Hold the paths to what can stand in a URL and a header."""
        wrong = _mount_problems(self.mount)
        if self.namespace is not None and not _is_path(self.namespace):
            wrong.append(("namespace", 'write it without a slash at either end, such as "team/payments"'))
        wrong += [(key, "write a time above 0") for key in ("ttl", "timeout") if getattr(self, key) <= 0]
        if self.engine == "dynamic" and self.kv_version is not None:
            wrong.append(
                ("kv_version", 'an engine that makes credentials has none; leave it out, or write engine = "kv"')
            )
        if self.stale_max < self.ttl:
            wrong.append(("stale_max", "a value is asked for anew every ttl only; write at least as much as ttl"))
        return wrong


def is_segment(text: str) -> bool:
    """Whether a part of a path is one that leads down."""
    return text not in {"", ".", ".."}


def _is_path(text: str) -> bool:
    return PATH.fullmatch(text) is not None and all(map(is_segment, text.split("/")))


def _mount_problems(mount: str) -> list[tuple[str, str]]:
    return [] if _is_path(mount) else [("mount", 'write the path of the mount without a slash at either end, as "kv"')]
