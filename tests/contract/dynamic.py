"""A real engine that makes credentials: OpenBao's database engine, which makes users of a real Valkey."""

import secrets
from typing import Any

import redis

from tests.contract.bao import Bao
from tests.kit.valkey import Valkey

MAY = '["~*", "+@read", "+@connection"]'  # What a user that is made may do.


class Engine:
    """A mount of the engine with roles of its own; the operator's side, and the user's."""

    def __init__(self, bao: Bao, valkey: Valkey) -> None:
        self.bao = bao
        self.mount = f"db-{secrets.token_hex(4)}"
        self._valkey = valkey
        bao.ask("POST", f"sys/mounts/{self.mount}", {"type": "database"})
        connection = {
            "plugin_name": "valkey-database-plugin",
            "host": "127.0.0.1",
            "port": valkey.port,
            "username": "default",
            "password": valkey.password,
            "allowed_roles": ["*"],
        }
        bao.ask("POST", f"{self.mount}/config/valkey", connection)

    def role(self, ttl: str = "1h", ttl_max: str = "24h", name: str | None = None) -> str:
        """Make a role, and give the path at which its users are made."""
        name = name or f"r{secrets.token_hex(4)}"
        body = {"db_name": "valkey", "creation_statements": MAY, "default_ttl": ttl, "max_ttl": ttl_max}
        self.bao.ask("POST", f"{self.mount}/roles/{name}", body)
        return f"creds/{name}"

    def remove(self, path: str) -> None:
        """Delete the role."""
        self.bao.ask("DELETE", f"{self.mount}/roles/{path.removeprefix('creds/')}")

    def policy(self, *, may_revoke: bool = True) -> str:
        """Write a policy that allows to have users made; to renew their leases is in the default policy."""
        rules = f'path "{self.mount}/creds/*" {{ capabilities = ["read"] }}\n'
        if may_revoke:
            rules += 'path "sys/leases/revoke" { capabilities = ["update"] }\n'
        return self.bao.policy(rules)

    def leases(self, path: str) -> list[str]:
        """Give the ids of the leases that there are."""
        try:
            found: list[str] = self.bao.ask("LIST", f"sys/leases/lookup/{self.mount}/{path}")["data"]["keys"]
        except OSError:  # 404: none.
            return []
        return [f"{self.mount}/{path}/{key}" for key in found]

    def revoke(self, path: str) -> None:
        """Take all credentials of a role away, as an operator would."""
        self.bao.ask("PUT", f"sys/leases/revoke-prefix/{self.mount}/{path}", {"sync": True})

    def works(self, credential: dict[str, Any]) -> bool:
        """Whether somebody is let in with it."""
        user = redis.Redis(
            port=self._valkey.port, username=credential["username"], password=credential["password"], socket_timeout=5
        )
        try:
            with user:
                return bool(user.ping())
        except redis.exceptions.AuthenticationError:
            return False
