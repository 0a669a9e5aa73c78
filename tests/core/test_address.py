"""Where a listener listens."""

import pytest

from sidecar.core.address import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4000", Address("127.0.0.1", 4000)),
        ("LOCALHOST:0", Address("127.0.0.1", 0)),
        ("[::0001]:80", Address("::1", 80)),
        ("unix:/run/a.sock", Address(path="/run/a.sock")),
    ],
)
def test_an_address_is_taken_apart_into_one_form(text: str, address: Address) -> None:
    """Two spellings of one address are equal, so that a clash is seen."""
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["", "4000", ":4000", "a:", "a:b", "::1:80", "[::1]", "a:99999", "unix:", "unix:a"])
def test_what_is_no_address_is_refused_with_a_sentence(text: str) -> None:
    """The sentence shows a right one."""
    with pytest.raises(ValueError, match=r"such as|ports are|between the brackets"):
        Address.parse(text)


def test_a_wildcard_takes_its_port_on_every_address() -> None:
    """The kernel would refuse the second; port 0 is free at all times."""
    anywhere, local = Address.parse("0.0.0.0:1"), Address.parse("127.0.0.1:1")
    assert anywhere.overlaps(local)
    assert local.overlaps(anywhere)
    assert not local.overlaps(Address.parse("[::1]:1"))
    assert not Address.parse("a:0").overlaps(Address.parse("a:0"))
    assert not Address.parse("unix:/a").overlaps(Address.parse("unix:/b"))


@pytest.mark.parametrize(
    ("text", "is_local"), [("localhost:1", True), ("[::1]:1", True), ("unix:/a", True), ("a:1", False)]
)
def test_what_only_this_pod_reaches_is_local(text: str, is_local: bool) -> None:
    """Loopback by address, or a Unix socket."""
    assert Address.parse(text).is_local is is_local
