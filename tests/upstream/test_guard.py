"""The egress guard, range by range and disguise by disguise."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.upstream.guard import METADATA, denied

SPECIAL = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "shared",
    "100.127.255.255": "shared",
    "127.0.0.1": "loopback",
    "127.8.8.8": "loopback",
    "169.254.0.1": "link-local",
    "169.254.169.253": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.8": "protocol assignment",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relay",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::808:808": "IPv4-compatible",
    "::ffff:0:808:808": "IPv4-translated",
    "64:ff9b:1::808:808": "NAT64",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:2::1": "benchmarking",
    "2001:20::1": "protocol assignment",
    "2001:db8::1": "documentation",
    "2002:808:808::1": "6to4",
    "3fff::1": "documentation",
    "4000::1": "not a global unicast",
    "5f00::1": "not a global unicast",
    "fc00::1": "unique local",
    "fdff::1": "unique local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
INSIDE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10"]
DISGUISES = (
    "mapped", "compatible", "translated", "nat64", "nat64_local_96", "nat64_local_48", "nat64_local_56",
    "nat64_local_64", "6to4", "teredo_server", "teredo_client", "isatap", "isatap_universal",
)  # fmt: skip


def disguised(address: IPv4Address, disguise: str) -> str:
    """Hide an IPv4 address in an IPv6 one."""
    bits = int(address)
    local = 0x0064FF9B0001 << 80
    hidden = {
        "mapped": 0xFFFF << 32 | bits,
        "compatible": bits,
        "translated": 0xFFFF << 48 | bits,
        "nat64": 0x0064FF9B << 96 | bits,
        "nat64_local_96": local | bits,
        "nat64_local_48": local | bits >> 16 << 64 | (bits & 0xFFFF) << 40,
        "nat64_local_56": local | bits >> 24 << 64 | (bits & 0xFFFFFF) << 32,
        "nat64_local_64": local | bits << 24,
        "6to4": 0x2002 << 112 | bits << 80,
        "teredo_server": 0x20010000 << 96 | bits << 64 | (0x08080808 ^ 0xFFFFFFFF),
        "teredo_client": 0x20010000 << 96 | 0x08080808 << 64 | bits ^ 0xFFFFFFFF,
        "isatap": 0x2606470000000000 << 64 | 0x00005EFE << 32 | bits,
        "isatap_universal": 0x2606470000000000 << 64 | 0x02005EFE << 32 | bits,
    }
    return str(IPv6Address(hidden[disguise]))


@pytest.mark.parametrize(("address", "word"), SPECIAL.items())
def test_special_address_is_denied_with_its_reason(address: str, word: str) -> None:
    """Each range of the registries is denied, and the sentence names it."""
    why = denied(address, allow_private=False)
    assert why is not None
    assert word in why


@pytest.mark.parametrize("address", SPECIAL)
def test_special_address_is_open_to_allow_private(address: str) -> None:
    """A vendor inside the operator's own network is the operator's decision."""
    assert denied(address, allow_private=True) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_passes(address: str) -> None:
    """The neighbours of every range pass, and public IPv4 in the forms that real networks use."""
    assert denied(address, allow_private=False) is None


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("address", sorted(map(str, METADATA)))
def test_metadata_is_denied_whatever_the_service_allows(address: str, allow_private: bool) -> None:
    """They hand out the machine's own credentials, so no setting opens them."""
    why = denied(address, allow_private=allow_private)
    assert why is not None
    assert "metadata" in why


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("address", sorted(str(each) for each in METADATA if each.version == 4))
def test_metadata_hidden_in_ipv6_is_denied_whatever_the_service_allows(address: str, disguise: str) -> None:
    """A gateway on the way may unpack the address."""
    why = denied(disguised(IPv4Address(address), disguise), allow_private=True)
    assert why is not None
    assert "metadata" in why


def test_scope_does_not_hide_metadata() -> None:
    """A scope makes an IPv6Address unequal to the same one without; the guard takes it off."""
    assert denied("fe80::a9fe:a9fe%eth0", allow_private=True) is not None


@pytest.mark.parametrize(
    "address", ["", "localhost", "127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "8.8.8.8%eth0", "8.8.8.8 ", "::g"]
)
def test_what_is_no_address_is_denied(address: str) -> None:
    """The guard judges what the system resolved to; whatever else comes is not connected to."""
    assert denied(address, allow_private=True) is not None


def test_reason_names_the_hidden_address() -> None:
    """Who reads the sentence at three should not have to decode IPv6."""
    why = denied("64:ff9b::a00:5", allow_private=False)
    assert why == "64:ff9b::a00:5 hides 10.0.0.5, a private address (RFC 1918)"


@given(st.sampled_from(INSIDE), st.integers(0, 2**32 - 1), st.sampled_from(DISGUISES))
def test_no_disguise_opens_a_private_address(network: str, chance: int, disguise: str) -> None:
    """Any IPv4 address of the inside, in any IPv6 form that may be unpacked, is denied."""
    inside = IPv4Network(network)
    address = inside[chance % inside.num_addresses]
    assert denied(str(address), allow_private=False) is not None
    assert denied(disguised(address, disguise), allow_private=False) is not None


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_that_python_calls_private_passes(address: IPv4Address | IPv6Address) -> None:
    """The standard library's own registries judge ours, for all but the two forms that hide public addresses."""
    if denied(str(address), allow_private=False) is None:
        hidden = isinstance(address, IPv6Address) and not int(address) >> 125
        assert hidden or (address.is_global and not address.is_multicast)


def test_verdicts_do_not_pile_up() -> None:
    """The cache is bounded, whatever a name server answers."""
    for number in range(10_000):
        denied(str(ip_address(0x08000000 + number)), allow_private=False)
    assert denied.cache_info().currsize <= 4096
