"""Address: where a listener listens, `host:port`, `[v6]:port` or `unix:/path.sock`, taken apart."""

import re
from ipaddress import ip_address

import msgspec

HOST = r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?))"
_TCP = re.compile(HOST + r":(?P<port>[0-9]{1,5})")
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  named to find overlaps, not to bind
_PORT_MAX = 65535
UNIX_PATH_MAX = 107  # sun_path holds 108 bytes with its NUL, unix(7).


class Address(msgspec.Struct, frozen=True):
    """A TCP address, or a path of a Unix socket; port 0 takes a free one."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address. Raises ValueError with a sentence that says what to write."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/") or "\0" in path:
                raise ValueError('a Unix socket has an absolute path, such as "unix:/run/sidecar/egress.sock"')
            if len(path.encode()) > UNIX_PATH_MAX:
                raise ValueError(f"the path of a Unix socket has at most {UNIX_PATH_MAX} bytes")
            return cls(path=path)
        match = _TCP.fullmatch(text)
        if match is None:
            raise ValueError('write "host:port", "[v6]:port" or "unix:/path.sock", such as "127.0.0.1:4000"')
        port = int(match["port"])
        if port > _PORT_MAX:
            raise ValueError(f"port {port} does not exist; ports are 1 to {_PORT_MAX}, and 0 for any free one")
        return cls(_host(match["v6"], match["host"]), port)

    @property
    def is_local(self) -> bool:
        """Whether only this pod can reach it."""
        return bool(self.path) or is_loopback(self.host)

    def overlaps(self, other: "Address") -> bool:
        """Whether one of the two could not be bound beside the other."""
        if self.path or other.path:
            return self.path == other.path
        if self.port != other.port or self.port == 0:
            return False
        return self.host == other.host or any(host in _ANYWHERE for host in (self.host, other.host))


def _host(v6: str | None, host: str) -> str:
    if v6 is not None:
        try:
            return str(ip_address(v6))
        except ValueError:
            raise ValueError("the text between the brackets is not an IPv6 address") from None
    host = host.lower()
    return "127.0.0.1" if host == "localhost" else host


def is_loopback(host: str) -> bool:
    """Whether a host as written is this machine by name or by address; nothing is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
