"""The resolver, with a look-up by hand and time by hand."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence

import pytest

from sidecar.core.errors import DnsFailed
from sidecar.upstream.resolve import NAMES_MAX, AddrInfo, Resolver, system_lookup
from tests.kit.clock import ManualClock, settle


def at(*addresses: str) -> list[AddrInfo]:
    """Make a look-up's answer."""
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443)) for address in addresses]


class Names:
    """A name server of a test's own: answers when told to, with what it is told."""

    def __init__(self) -> None:
        self.answer: Sequence[AddrInfo] | Exception = at("192.0.2.1")
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, host: str, port: int) -> Sequence[AddrInfo]:  # noqa: ARG002 - a name server has no ports.
        """Answer a look-up."""
        self.asked.append(host)
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
async def names() -> Names:
    """Give a name server."""
    return Names()


@pytest.fixture
def resolver(clock: ManualClock, names: Names) -> Resolver:
    """Give a resolver that asks it."""
    return Resolver(clock, names, ttl=30.0)


async def test_name_is_asked_once_until_its_time_is_over(clock: ManualClock, names: Names, resolver: Resolver) -> None:
    """For the length of the TTL the answer is the same list; then the system is asked again."""
    await resolver.resolve("api.test", 443)
    await clock.advance(29.9)
    assert await resolver.resolve("api.test", 443) == at("192.0.2.1")
    assert len(names.asked) == 1
    names.answer = at("192.0.2.2")
    await clock.advance(0.1)
    assert await resolver.resolve("api.test", 443) == at("192.0.2.2")
    assert len(names.asked) == 2


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
async def test_literal_address_is_its_own_answer(names: Names, resolver: Resolver, host: str) -> None:
    """No look-up, and the address is as written."""
    [found] = await resolver.resolve(host, 8443)
    assert found[4][:2] == (host, 8443)
    assert found[0] == (socket.AF_INET6 if ":" in host else socket.AF_INET)
    assert names.asked == []


async def test_waiters_share_one_lookup(names: Names, resolver: Resolver) -> None:
    """A burst of first calls asks once."""
    names.gate.clear()
    calls = [asyncio.create_task(resolver.resolve("api.test", 443)) for _ in range(10)]
    await settle()
    names.gate.set()
    assert await asyncio.gather(*calls) == [at("192.0.2.1")] * 10
    assert names.asked == ["api.test"]


async def test_waiter_that_leaves_does_not_disturb_the_others(names: Names, resolver: Resolver) -> None:
    """The first caller began the look-up; its hanging up does not end it."""
    names.gate.clear()
    first, second = (asyncio.create_task(resolver.resolve("api.test", 443)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    names.gate.set()
    assert await second == at("192.0.2.1")
    assert names.asked == ["api.test"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "does not exist"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "no name server answered"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "Non-recoverable failure"),
        (UnicodeError("label too long"), "not a name that DNS can hold"),
    ],
)
async def test_failed_lookup_says_what_helps(names: Names, resolver: Resolver, error: Exception, words: str) -> None:
    """Each kind of failure has its sentence, and the type of RFC 9209."""
    names.answer = error
    with pytest.raises(DnsFailed, match=words) as raised:
        await resolver.resolve("api.test", 443)
    assert raised.value.proxy_error == "dns_error"


async def test_name_without_an_address_is_a_failure(names: Names, resolver: Resolver) -> None:
    """An empty answer is not handed on."""
    names.answer = []
    with pytest.raises(DnsFailed, match="no address"):
        await resolver.resolve("api.test", 443)


async def test_failure_is_remembered_for_a_second(clock: ManualClock, names: Names, resolver: Resolver) -> None:
    """A burst of calls does not beat a name server that is down; a second later it is asked again."""
    names.answer = OSError("down")
    for _ in range(3):
        with pytest.raises(DnsFailed):
            await resolver.resolve("api.test", 443)
    assert len(names.asked) == 1
    await clock.advance(1.0)
    names.answer = at("192.0.2.1")
    assert await resolver.resolve("api.test", 443) == at("192.0.2.1")


async def test_last_good_answer_bridges_five_minutes_of_failure(
    clock: ManualClock, names: Names, resolver: Resolver
) -> None:
    """While look-ups fail the old answer serves, counted; then the failure is told."""
    await resolver.resolve("api.test", 443)
    names.answer = OSError("down")
    await clock.advance(329.0)
    assert await resolver.resolve("api.test", 443) == at("192.0.2.1")
    assert resolver.stale_used == 1
    await clock.advance(1.0)
    with pytest.raises(DnsFailed):
        await resolver.resolve("api.test", 443)
    assert resolver.stale_used == 1


async def test_names_are_bounded_and_the_oldest_is_forgotten(clock: ManualClock, names: Names) -> None:
    """A bound of two keeps the two looked up last."""
    resolver = Resolver(clock, names, names_max=2)
    for host in ("a.test", "b.test", "c.test", "b.test", "c.test", "a.test"):
        await resolver.resolve(host, 443)
    assert names.asked == ["a.test", "b.test", "c.test", "a.test"]
    assert len(resolver) == 2
    assert NAMES_MAX == 1024


async def test_many_addresses_are_cut(names: Names, resolver: Resolver) -> None:
    """An answer with thousands of addresses does not become thousands of sockets."""
    names.answer = at(*(f"192.0.2.{number % 256}" for number in range(1000)))
    assert len(await resolver.resolve("api.test", 443)) == 64


async def test_stop_ends_lookups_under_way(names: Names, resolver: Resolver) -> None:
    """Who waits for one gets an answer, not a cancellation that nobody asked for."""
    names.gate.clear()
    call = asyncio.create_task(resolver.resolve("api.test", 443))
    await settle()
    await resolver.stop()
    with pytest.raises(DnsFailed, match="stopping"):
        await call


async def test_system_finds_localhost() -> None:
    """The real look-up honours /etc/hosts, and reads the odd forms of an address."""
    found = {info[4][0] for info in await system_lookup("localhost", 80)}
    assert found & {"127.0.0.1", "::1"}
    assert [info[4] for info in await system_lookup("0x7f.1", 80)] == [("127.0.0.1", 80)]


async def test_a_process_without_file_descriptors_does_not_blame_the_name(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's resolver cannot read its own files then, and says that the name is not known."""

    def no_more(number: int) -> int:
        raise OSError(errno.EMFILE, f"no more beside {number}")

    async def lookup(host: str, port: int) -> list[AddrInfo]:
        monkeypatch.setattr(os, "dup", no_more)
        raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {host}:{port}")

    with pytest.raises(DnsFailed, match=r"no file descriptor is free for the look-up of a\.example") as raised:
        await Resolver(clock, lookup).resolve("a.example", 443)
    assert not raised.value.blames_vendor
