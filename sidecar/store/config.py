"""Config: `[store]`, where what outlives a call is kept."""

import re
from typing import Literal
from urllib.parse import urlsplit

from sidecar.core.secret import SecretRef
from sidecar.core.section import Section
from sidecar.core.units import Duration, Size

PREFIX = re.compile(r"[!-z|~]{1,64}")  # No braces: they choose the slot of a cluster.
MASTER = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NODE = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
NODES = re.compile(f"rediss?://{_NODE}(?:,{_NODE})*(?:/[0-9]*)?")
_SAY = 'write "redis://host:6379" or, over TLS, "rediss://host:6379"; several hosts stand with commas between them'
NODES_MAX = 64
ROOM_MIN = 2**20  # Bytes.


class Nodes(str):
    """`redis://host:6379` or `rediss://a:6379,b:6379/0`: where servers are, whether over TLS, and which database."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "Nodes":
        """Read it. Raises ValueError with a sentence that repeats nothing, since a password may stand in it."""
        if not isinstance(text, str):
            raise ValueError(_SAY)
        if "@" in text:
            raise ValueError("a URL holds no credentials; write username = and password =, a secret reference")
        nodes = cls(text)
        try:
            is_good = NODES.fullmatch(text) is not None and len(nodes.hosts) <= NODES_MAX and nodes.database >= 0
        except ValueError:
            is_good = False
        if not is_good:
            raise ValueError(_SAY)
        return nodes

    @property
    def _scheme(self) -> str:
        return self.partition("://")[0]

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self._scheme == "rediss"

    @property
    def hosts(self) -> list[tuple[str, int]]:
        """Give each host with its port. Raises ValueError."""
        found = []
        for part in self.partition("://")[2].partition("/")[0].split(","):
            split = urlsplit(f"//{part}")
            if not split.hostname or split.port == 0:
                raise ValueError(part)
            found.append((split.hostname, split.port or 6379))
        return found

    @property
    def database(self) -> int:
        """Give the number of the database. Raises ValueError when it has thousands of digits."""
        return int(self.partition("://")[2].partition("/")[2] or 0)


OF = {  # What belongs to some kinds only.
    "bytes_max": ("memory", "sqlite"),
    "path": ("sqlite",),
    **dict.fromkeys(
        (
            "url", "mode", "master", "username", "password", "sentinel_password", "ca_file", "prefix", "timeout",
            "connections_max", "encryption_key", "fallback",
        ),
        ("valkey",),
    ),
}  # fmt: skip
_OF_FILE = ("bytes_max", "path")  # Of the file, which a store of kind valkey has as its fallback.


class StoreConfig(Section, kw_only=True):
    """In memory, where nothing outlives the process; in a file of this process's; or in Valkey, shared by all pods."""

    kind: Literal["memory", "sqlite", "valkey"] = "memory"
    bytes_max: Size = Size(256 * 2**20)  # Of the memory, the file, or the fallback. Full: what is new is refused.
    path: str = "state.db"  # Of the file, or of the fallback; beside the config's, unless it begins with "/".
    url: Nodes | None = None  # Valkey 7.2 or later, or Redis 7 or later.
    mode: Literal["sentinel", "cluster"] | None = None  # Absent: one server.
    master: str | None = None  # The name under which sentinels know it; `url` names the sentinels, then.
    username: str | None = None
    password: SecretRef | None = None
    sentinel_password: SecretRef | None = None  # Of the sentinels themselves, where they have one.
    ca_file: str | None = None
    prefix: str = "sidecar"  # In front of every key, before the environment's name; pods that agree have the same.
    timeout: Duration = Duration(2)  # For one question.
    connections_max: int = 32  # Opened as they are needed. Full: the next question waits.
    encryption_key: SecretRef | None = None  # Tokens are shared under it; without, they stay in each pod's memory.
    fallback: Literal["sqlite"] | None = None  # Where jobs are accepted while Valkey is away; absent: nowhere.

    def problems(self) -> list[tuple[str, str]]:
        """Hold the keys to the kind, and to each other."""
        defaults = StoreConfig.__struct_defaults__
        found = [
            (name, f'this belongs to kind = {_homes(name)}; this store is of kind = "{self.kind}"')
            for name, default in zip(StoreConfig.__struct_fields__, defaults, strict=True)
            if name in OF and not self._has(name) and getattr(self, name) != default
        ]
        if self.bytes_max < ROOM_MIN:
            found.append(("bytes_max", "that holds hardly anything; write 1MiB or more"))
        return found or (self._valkey_problems() if self.kind == "valkey" else [])

    @property
    def nodes(self) -> Nodes:
        """Give where Valkey is, for a store of that kind."""
        assert self.url is not None, "it is held to have one"
        return self.url

    def _has(self, name: str) -> bool:
        """Whether a key means something to this store."""
        return self.kind in OF[name] or (name in _OF_FILE and self.kind == "valkey" and self.fallback == "sqlite")

    def _valkey_problems(self) -> list[tuple[str, str]]:
        found = []
        if self.url is None:
            return [("url", f"a store of kind valkey is somewhere; {_SAY}")]
        if (self.mode == "sentinel") != (self.master is not None):
            found.append(("master", 'sentinels are asked for a name: write mode = "sentinel" and master = "mymaster"'))
        if self.master is not None and not MASTER.fullmatch(self.master):
            found.append(("master", "a name has letters, digits, dots, dashes and underscores"))
        if self.sentinel_password is not None and self.mode != "sentinel":
            found.append(("sentinel_password", 'there are sentinels only with mode = "sentinel"'))
        if self.mode == "cluster" and self.url.database:
            found.append(("url", "a cluster has one database only; leave its number out"))
        if self.mode is None and len(self.url.hosts) > 1:
            found.append(("url", 'there are several hosts; say which they are: mode = "sentinel" or "cluster"'))
        if self.ca_file is not None and not self.url.is_tls:
            found.append(("ca_file", "nothing is verified without TLS; write rediss:// in url"))
        if not PREFIX.fullmatch(self.prefix):
            found.append(("prefix", "a prefix is up to 64 visible ASCII characters without braces"))
        return found


def _homes(name: str) -> str:
    kinds = " or ".join(f'"{kind}"' for kind in OF[name])
    return f'{kinds}, or to "valkey" with fallback = "sqlite"' if name in _OF_FILE else kinds
