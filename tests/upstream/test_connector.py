import socket
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from sidecar.core.errors import AddressRefused
from sidecar.upstream.connector import Guarded
from sidecar.upstream.resolve import AddrInfo, Resolver
from sidecar.upstream.tls import client_context
from tests.kit.certificates import Authority
from tests.kit.clock import ManualClock
from tests.kit.vendor import Vendor, answer


class Names:
    """A name server that says what a test wants, and counts."""

    def __init__(self, **addresses: list[str]) -> None:
        self._addresses = addresses
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[AddrInfo]:
        """Look a name up."""
        self.asked.append(host)
        if host not in self._addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            (family[":" in address], socket.SOCK_STREAM, 6, "", (address, port)) for address in self._addresses[host]
        ]


async def get(url: str, names: Names, clock: ManualClock, *, allow_private: bool) -> bytes:
    """Ask once, with a session of its own."""
    connector = Guarded(Resolver(clock, names).resolve, allow_private=allow_private)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as reply:
        return await reply.read()


async def test_a_name_goes_through_our_resolver(clock: ManualClock) -> None:
    """And what it says is where the connection goes."""
    async with Vendor.answering(answer(b"hello")) as vendor:
        names = Names(store=["127.0.0.1"])
        assert await get(f"http://store:{vendor.port}/", names, clock, allow_private=True) == b"hello"
        assert names.asked == ["store"]
        assert vendor.requests[0].values("Host") == [f"store:{vendor.port}".encode()]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "store"])
async def test_a_private_address_is_not_connected_to(host: str, clock: ManualClock) -> None:
    """A literal one neither, which aiohttp asks no resolver for."""
    async with Vendor.answering(answer(b"hello")) as vendor:
        with pytest.raises(aiohttp.ClientConnectorError, match=r"loopback address; if .* write allow_private = true"):
            await get(f"http://{host}:{vendor.port}/", Names(store=["127.0.0.1"]), clock, allow_private=False)
        assert vendor.connections_opened == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "store"])
async def test_metadata_is_never_connected_to(host: str, clock: ManualClock) -> None:
    """By no word of the operator's."""
    names = Names(store=["169.254.169.254"])
    with pytest.raises(aiohttp.ClientConnectorError, match=r"cloud metadata.*allow_private does not change that"):
        await get(f"http://{host}/", names, clock, allow_private=True)


async def test_the_address_that_is_allowed_is_taken_beside_one_that_is_not(clock: ManualClock) -> None:
    """Each is judged by itself, at the moment of connecting."""
    async with Vendor.answering(answer(b"hello")) as vendor:
        names = Names(store=["169.254.169.254", "127.0.0.1"])
        assert await get(f"http://store:{vendor.port}/", names, clock, allow_private=True) == b"hello"


async def test_a_name_that_does_not_exist_has_the_resolvers_sentence(clock: ManualClock) -> None:
    """The same as for a vendor."""
    with pytest.raises(aiohttp.ClientConnectorError, match="the name nowhere does not exist"):
        await get("http://nowhere/", Names(), clock, allow_private=True)


async def test_a_name_with_denied_addresses_alone_has_the_guards_sentence(clock: ManualClock) -> None:
    """One of them, and not the mixture that aiohttp makes of several failures."""
    names = Names(store=["127.0.0.1", "::1"])
    with pytest.raises(aiohttp.ClientConnectorError) as refused:
        await get("http://store/", names, clock, allow_private=False)
    assert isinstance(refused.value.os_error, AddressRefused)
    assert refused.value.os_error.strerror == (
        "127.0.0.1 is a loopback address; if it is in your own network, write allow_private = true"
    )


async def test_a_socket_that_became_no_connection_is_closed_with_its_connector(clock: ManualClock) -> None:
    """However a handshake failed: aiohttp closes what it has a transport for."""
    connector = Guarded(Resolver(clock).resolve, allow_private=True, is_once=True)
    made = connector._make_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    assert made.fileno() >= 0
    await connector.close()
    assert made.fileno() == -1


async def test_a_connection_is_used_by_those_alone_who_trust_as_it_did(tmp_path: Path, clock: ManualClock) -> None:
    """Trust is said with each request: one with another gets a connection, and a handshake, of its own."""
    authority = Authority()
    trusting = client_context(str(authority.write_to(tmp_path / "ca.pem")))
    connector = Guarded(Resolver(clock).resolve, allow_private=True)
    async with (
        Vendor.answering(answer(b"hello"), tls=authority.server()) as vendor,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        for _ in range(2):
            async with session.get(vendor.url, ssl=trusting) as reply:
                assert await reply.read() == b"hello"
        assert vendor.connections_opened == 1
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(vendor.url, ssl=client_context())
        assert len(vendor.requests) == 2
