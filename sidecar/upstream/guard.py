"""Egress guard: an address that a vendor cannot have is not connected to.

A name in the config, or an answer of a name server, must not turn the sidecar into a way to the pod's neighbours, the
node, or the cloud's metadata service (server-side request forgery). The guard judges addresses, never names, and
`dial.py` connects to the very addresses that were judged: there is no second look-up to fool.

Sources: the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890); RFC 4291 (mapped, compatible), 2765
(translated), 6052 and 8215 (NAT64), 3056 (6to4), 4380 (Teredo), 5214 (ISATAP); the clouds' own manuals for metadata.

What cannot be seen here: an IPv4 address inside a NAT64 prefix of the network's own (RFC 6052 section 2.2), because
such an address looks like any other.
"""

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

JUDGED_MAX = 4096  # Full: the verdict asked for longest ago is computed anew when asked again.

# These hand out credentials or secrets of the machine. Other link-local services, such as the AWS name server
# 169.254.169.253 and clock 169.254.169.123, hand out none: they are denied as link-local, and open to allow_private.
METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Google, Azure, Oracle, OpenStack, DigitalOcean, Hetzner, IBM
            "169.254.169.252",  # GKE's metadata server on the node
            "169.254.170.2",  # AWS ECS task credentials
            "169.254.170.23",  # AWS EKS pod identity
            "169.254.0.23",  # Tencent
            "169.254.42.42",  # Scaleway
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's wire server, in public address space
            "192.0.0.192",  # Oracle classic
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # AWS EKS pod identity
            "fd20:ce::254",  # Google
            "fd00:42::42",  # Scaleway
            "fe80::a9fe:a9fe",  # OpenStack
        ),
    )
)

_IPV4 = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "an unspecified address (RFC 1122), which leads to this very machine"),
        ("10.0.0.0/8", "a private address (RFC 1918)"),
        ("100.64.0.0/10", "a carrier's shared address (RFC 6598)"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address (RFC 3927)"),
        ("172.16.0.0/12", "a private address (RFC 1918)"),
        ("192.0.0.0/24", "an address of a protocol assignment (RFC 6890)"),
        ("192.0.2.0/24", "a documentation address (RFC 5737)"),
        ("192.88.99.0/24", "a 6to4 relay address (RFC 7526)"),
        ("192.168.0.0/16", "a private address (RFC 1918)"),
        ("198.18.0.0/15", "a benchmarking address (RFC 2544)"),
        ("198.51.100.0/24", "a documentation address (RFC 5737)"),
        ("203.0.113.0/24", "a documentation address (RFC 5737)"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("240.0.0.0/4", "a reserved address (RFC 1112)"),
    )
)

_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_LAST_32_BITS = (_MAPPED, IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"), _NAT64, _NAT64_LOCAL)
_GLOBAL_UNICAST = IPv6Network("2000::/3")

# The first match names the reason, so the narrow ones stand first.
_IPV6 = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("::/128", "the unspecified address, which leads to this very machine"),
        ("::1/128", "the loopback address"),
        ("::/96", "an IPv4-compatible address (RFC 4291)"),
        ("::ffff:0:0:0/96", "an IPv4-translated address (RFC 2765)"),
        ("64:ff9b:1::/48", "a NAT64 address of a local network (RFC 8215)"),
        ("100::/64", "a discard address (RFC 6666)"),
        ("2001::/32", "a Teredo address (RFC 4380)"),
        ("2001:2::/48", "a benchmarking address (RFC 5180)"),
        ("2001::/23", "an address of a protocol assignment (RFC 2928)"),
        ("2001:db8::/32", "a documentation address (RFC 3849)"),
        ("2002::/16", "a 6to4 address (RFC 3056)"),
        ("3fff::/20", "a documentation address (RFC 9637)"),
        ("fc00::/7", "a unique local address (RFC 4193)"),
        ("fe80::/10", "a link-local address (RFC 4291)"),
        ("fec0::/10", "a site-local address (RFC 3879)"),
        ("ff00::/8", "a multicast address"),
    )
)


@lru_cache(maxsize=JUDGED_MAX)
def denied(address: str, *, allow_private: bool) -> str | None:
    """Say why `address` is not connected to, in a sentence, or None if it may be.

    With `allow_private` only metadata addresses are denied, also when hidden in IPv6. What is not an IP address is
    denied. A scope (`fe80::1%eth0`) does not change the verdict.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return f"{address[:64]!r} is not an IP address"
    if isinstance(parsed, IPv6Address):
        parsed = IPv6Address(int(parsed))  # Without its scope, which would make it differ from the one in a table.
        hidden = tuple(_hidden(parsed))
    else:
        hidden = ()
    for each in (parsed, *hidden):
        if each in METADATA:
            return f"{_named(parsed, each)} a cloud metadata address, which hands out the machine's own credentials"
    if allow_private:
        return None
    for each in (parsed, *hidden):
        why = _why_special(each)
        if why is not None:
            return f"{_named(parsed, each)} {why}"
    return None


def _named(address: IPv4Address | IPv6Address, judged: IPv4Address | IPv6Address) -> str:
    return f"{address} is" if judged is address else f"{address} hides {judged},"


def _why_special(address: IPv4Address | IPv6Address) -> str | None:
    """Name the special-purpose range that holds `address`, or None."""
    if isinstance(address, IPv4Address):
        return next((why for network, why in _IPV4 if address in network), None)
    why = next((why for network, why in _IPV6 if address in network), None)
    # Mapped and NAT64 addresses are as good as what they hide: an IPv6-only cluster reaches every IPv4 vendor by NAT64.
    if why is None and address not in _GLOBAL_UNICAST and address not in _MAPPED and address not in _NAT64:
        why = "not a global unicast address (RFC 4291)"
    return why


def _hidden(address: IPv6Address) -> Iterator[IPv4Address]:
    """Give every IPv4 address that some machine on the way may unpack from `address`."""
    bits = int(address)
    if any(address in network for network in _LAST_32_BITS):
        yield IPv4Address(bits & 0xFFFFFFFF)
    if address in _NAT64_LOCAL:
        yield from _nat64_local(bits)
    elif address in _SIX_TO_FOUR:
        yield IPv4Address(bits >> 80 & 0xFFFFFFFF)
    elif address in _TEREDO:
        yield IPv4Address(bits >> 64 & 0xFFFFFFFF)  # The server.
        yield IPv4Address(~bits & 0xFFFFFFFF)  # The client, stored inverted.
    if bits >> 32 & 0xFCFFFFFF == 0x00005EFE:  # ISATAP under any prefix; two flag bits of the interface id vary.
        yield IPv4Address(bits & 0xFFFFFFFF)


def _nat64_local(bits: int) -> Iterator[IPv4Address]:
    """Unpack a prefix of 48, 56 or 64 bits; RFC 6052 section 2.2 leaves bits 64 to 71 out of the address."""
    without_gap = bits >> 64 << 56 | bits & (1 << 56) - 1
    for prefix_bits in (48, 56, 64):
        yield IPv4Address(without_gap >> 120 - prefix_bits - 32 & 0xFFFFFFFF)
