"""Hosts: which `Host` values are the pod's own; any other comes from a page that rebound its name in DNS to us."""

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{0,5})?")
HOST_MAX = 260  # Characters: a name has at most 253 (RFC 1035), and a port. Longer: not ours.
ANSWERS_MAX = 512  # Remembered answers. Full: the one not asked for longest is worked out again.


def is_local_host(host: str | bytes, extra: frozenset[str] = frozenset()) -> bool:
    """Say whether a Host value (with or without port) is localhost, below it, a loopback literal, or in `extra`.

    `extra` holds lower-case names without port and without a dot at the end.
    """
    return len(host) <= HOST_MAX and _is_local(host, extra)


@lru_cache(maxsize=ANSWERS_MAX)
def _is_local(host: str | bytes, extra: frozenset[str]) -> bool:
    match = _HOST.fullmatch((host.decode("latin-1") if isinstance(host, bytes) else host).lower())
    if match is None:
        return False
    name = match["name"].removesuffix(".")
    if name == "localhost" or name.endswith(".localhost") or name in extra:
        return True
    return _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        address = ip_address(name[1:-1] if name.startswith("[") else name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if not name.startswith("["):
            return False
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped.is_loopback
    return address.is_loopback
