"""Stores that outlive a process, for stories that kill one: their `[store]`, and the time of claims that passes."""

from pathlib import Path

from tests.kit.servers import Servers
from tests.kit.valkey import Valkey

KINDS = ["sqlite", "valkey"]


def kept_store(kind: str, servers: Servers, folder: Path) -> str:
    """Give an empty `[store]` of this kind."""
    if kind == "sqlite":
        return f'[store]\nkind = "sqlite"\npath = "{folder}/state.db"\n'
    valkey = servers.get(Valkey.serving)
    assert isinstance(valkey, Valkey)
    with valkey.client as client:
        client.flushall()
    return valkey_store(valkey, folder)


def valkey_store(valkey: Valkey, folder: Path, more: str = "") -> str:
    """Give `[store]` of a Valkey, with the store of secrets that its password is in."""
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    file = secrets / "valkey"
    file.touch(mode=0o600)
    file.write_text(valkey.password)
    return (
        f'[store]\nkind = "valkey"\nurl = "{valkey.url}"\npassword = "files:valkey"\n{more}'
        f'[secrets.files]\nkind = "file"\npath = "{secrets}"\n'
    )


def end_leases(valkey: Valkey) -> None:
    """Let the time of every claim pass."""
    with valkey.client as client:
        for key in client.scan_iter("*}:running"):
            for member in client.zrange(key, 0, -1):
                client.zadd(key, {member: 0}, xx=True)
