import asyncio
import socket
from collections.abc import Sequence

import aiohttp
import pytest

from sidecar.upstream.connector import guarded
from sidecar.upstream.resolve import AddrInfo, Resolver
from sidecar.upstream.tls import client_context
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
    context = await asyncio.to_thread(client_context)
    connector = guarded(Resolver(clock, names), context, allow_private=allow_private)
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
        with pytest.raises(aiohttp.ClientConnectorError, match=r"not connected to.*loopback.*allow_private = true"):
            await get(f"http://{host}:{vendor.port}/", Names(store=["127.0.0.1"]), clock, allow_private=False)
        assert vendor.connections_opened == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "store"])
async def test_metadata_is_never_connected_to(host: str, clock: ManualClock) -> None:
    """By no word of the operator's."""
    names = Names(store=["169.254.169.254"])
    with pytest.raises(aiohttp.ClientConnectorError, match="metadata addresses never are"):
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
