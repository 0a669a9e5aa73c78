"""Resolve: the addresses behind a vendor's name, asked of the system and kept for a while.

The system's resolver (getaddrinfo, off the loop) rather than aiodns and c-ares: it honours nsswitch, /etc/hosts, search
domains and ndots exactly as the app's own calls do, and it is no further dependency. The price: it does not tell how
long DNS lets an answer live, so `dns_ttl` is a fixed time. Under uvloop libuv runs two such look-ups at once and lines
up the others; each name is asked once in `dns_ttl`, so the line is short.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any

from sidecar.core.clock import Clock
from sidecar.core.errors import DnsFailed
from sidecar.core.tasks import Tasks

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]  # As getaddrinfo gives it: family, type, protocol, name, address.
Lookup = Callable[[str, int], Awaitable[Sequence[AddrInfo]]]

DNS_TTL = 30.0
FAILED_TTL = (
    1.0  # A failed look-up is not repeated for so long, so that a burst of calls does not beat the name server.
)
STALE_MAX = 300.0  # So long past its time an answer is used while look-ups fail: vendors move seldom, resolvers break.
NAMES_MAX = 1024  # Full: the name looked up longest ago is forgotten.
ADDRESSES_MAX = 64  # More behind one name: the rest is not tried.


async def system_lookup(host: str, port: int) -> Sequence[AddrInfo]:
    """Ask the system. Raises OSError (socket.gaierror), or UnicodeError for a name that DNS cannot hold."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)


class _Known:
    """What the last look-ups of one name brought."""

    __slots__ = ("addresses", "asked_at", "failure", "good_at", "is_ours")

    def __init__(self) -> None:
        self.addresses: list[AddrInfo] = []
        self.good_at = float("-inf")
        self.asked_at = float("-inf")
        self.failure: str | None = None  # Why the last look-up failed; None when it did not.
        self.is_ours = False  # It failed for want of something of this pod's.


class Resolver:
    """A cache over `lookup`, with one look-up at a time per name; `ttl` in seconds."""

    def __init__(
        self, clock: Clock, lookup: Lookup = system_lookup, ttl: float = DNS_TTL, names_max: int = NAMES_MAX
    ) -> None:
        assert names_max >= 1
        self._clock = clock
        self._lookup = lookup
        self._ttl = ttl
        self._names_max = names_max
        self._known: dict[tuple[str, int], _Known] = {}  # The name looked up last stands last.
        self._flights: dict[tuple[str, int], asyncio.Task[_Known]] = {}
        self._tasks = Tasks()
        self.lookups = 0  # How often the system was asked.
        self.stale_used = 0  # How often an answer past its time was given because look-ups fail.

    def __len__(self) -> int:
        return len(self._known)

    async def resolve(self, host: str, port: int) -> list[AddrInfo]:
        """Give the addresses of `host`, at least one. A literal IP address is its own answer.

        It takes as long as the system takes: the caller bounds it, and leaving does not disturb others who wait for
        the same name. Raises DnsFailed.
        """
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        key = (host, port)
        known = self._known.get(key)
        if known is None or not self._is_fresh(known):
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = self._tasks.spawn(self._ask(key), f"resolve {host}")
            await asyncio.wait((flight,))
            if flight.cancelled():
                raise DnsFailed(f"the look-up of {host} was given up: the sidecar is stopping")
            known = flight.result()
        if known.failure is None:
            return known.addresses
        stale = self._stale(known)
        if stale is None:
            failed = DnsFailed(known.failure)
            failed.blames_vendor = not known.is_ours
            raise failed
        return stale

    def last_good(self, host: str, port: int) -> list[AddrInfo] | None:
        """Give the last good answer, for a caller whose patience with a look-up ended; None if it is too old."""
        known = self._known.get((host, port))
        return None if known is None else self._stale(known)

    async def stop(self) -> None:
        """Give up the look-ups under way; who waits for one gets DnsFailed."""
        await self._tasks.stop()

    def _is_fresh(self, known: _Known) -> bool:
        return self._clock.now() - known.asked_at < (self._ttl if known.failure is None else FAILED_TTL)

    def _stale(self, known: _Known) -> list[AddrInfo] | None:
        if self._clock.now() - known.good_at >= self._ttl + STALE_MAX:
            return None
        self.stale_used += 1
        return known.addresses

    async def _ask(self, key: tuple[str, int]) -> _Known:
        known = self._known.get(key) or _Known()
        self.lookups += 1
        try:
            addresses = await self._lookup(*key)
            known.failure = None if addresses else f"there is no address behind the name {key[0]}"
        except (OSError, UnicodeError) as error:
            addresses = ()
            known.is_ours = _is_out_of_files()
            known.failure = _sentence(key[0], error, is_out_of_files=known.is_ours)
        finally:
            del self._flights[key]
        known.asked_at = self._clock.now()
        if addresses:
            known.addresses = list(addresses[:ADDRESSES_MAX])
            known.good_at = known.asked_at
        self._keep(key, known)
        return known

    def _keep(self, key: tuple[str, int], known: _Known) -> None:
        self._known.pop(key, None)
        self._known[key] = known
        if len(self._known) > self._names_max:
            del self._known[next(iter(self._known))]


def _literal(host: str, port: int) -> AddrInfo | None:
    """Make the answer for a plain IP address; every other form of one (octal, hex, with a scope) is the system's."""
    if "%" in host:
        return None
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    if version == 4:
        return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))
    return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))


def _is_out_of_files() -> bool:
    try:
        os.close(os.dup(2))
    except OSError as error:
        return error.errno in {errno.EMFILE, errno.ENFILE}
    return False


def _sentence(host: str, error: OSError | UnicodeError, *, is_out_of_files: bool) -> str:
    if isinstance(error, UnicodeError):
        return f"{host[:80]!r} is not a name that DNS can hold"
    if is_out_of_files:
        # The system's resolver cannot open its own files then, and calls that "not known".
        return f"no file descriptor is free for the look-up of {host}"
    if error.errno == socket.EAI_NONAME:
        return f"the name {host} does not exist; is base_url right?"
    if error.errno == socket.EAI_AGAIN:
        return f"no name server answered for {host}; is DNS reachable from this pod?"
    return f"the name {host} could not be resolved: {error.strerror or error}"
