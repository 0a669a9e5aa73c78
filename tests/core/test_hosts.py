"""Hosts: only the pod's own names pass, in every spelling, and nothing that looks like them."""

import pytest

from sidecar.core.hosts import is_local_host

OWN = [
    "localhost",
    "LOCALHOST:4000",
    "localhost.",
    "crm.localhost:4000",
    "a.b.localhost.",
    "127.0.0.1",
    "127.0.0.1:4000",
    "127.8.9.1",
    "[::1]",
    "[::1]:4000",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "sidecar.internal:80",
]
STRANGE = [
    "",
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evillocalhost",
    "10.0.0.1",
    "0.0.0.0",
    "[::]",
    "::1",
    "[::1",
    "[::ffff:10.0.0.1]",
    "user@localhost",
    "localhost:80:80",
    "localhost/x",
    "localhost evil",
    "evil.example#localhost",
    "localhost,evil.example",
    "2130706433",
    "0x7f.1",
    "127.1",
    "localhost\n",
    "x" * 5000,
    "sidecar.internal.evil.example",
    "[::1%lo]",
    "localhost:http",
]


@pytest.mark.parametrize("host", OWN)
def test_the_pods_own_names_pass(host: str) -> None:
    """As text and as bytes, with and without port."""
    extra = frozenset({"sidecar.internal"})
    assert is_local_host(host, extra)
    assert is_local_host(host.encode(), extra)


@pytest.mark.parametrize("host", STRANGE)
def test_no_other_name_passes(host: str) -> None:
    """A page that rebinds its own name in DNS still sends that name."""
    extra = frozenset({"sidecar.internal"})
    assert not is_local_host(host, extra)
    assert not is_local_host(host.encode(), extra)
