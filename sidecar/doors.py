"""Doors: every listener of the process; a reload opens the new ones before the old ones close."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from sidecar.admin.door import runner
from sidecar.config.model import Config
from sidecar.config.problem import ConfigError, Problem
from sidecar.core.address import Address
from sidecar.core.clock import Clock
from sidecar.core.tasks import Tasks
from sidecar.downstream.listener import Handle, Listener, remove_stale_socket
from sidecar.downstream.router import Door

MakeApp = Callable[[frozenset[str]], web.Application]


class PeopleDoor(NamedTuple):
    """An aiohttp listener, for people and probes."""

    address: str
    hosts: frozenset[str]
    runner: web.AppRunner
    bound: str  # Where it really listens, when the port was 0.


class Doors:
    """The app's doors by address, and the two for people."""

    def __init__(self, handle: Handle, clock: Clock, people: dict[str, MakeApp]) -> None:
        self._handle = handle
        self._clock = clock
        self._people = people  # By key of [listen]: admin, telemetry.
        self._egress: dict[tuple[str, str | None], Listener] = {}
        self._open: dict[str, PeopleDoor] = {}
        self._closing = Tasks()

    @property
    def egress(self) -> list[Listener]:
        """The app's listeners, in the order of the config."""
        return list(self._egress.values())

    def bound(self, key: str) -> str:
        """Where `admin` or `telemetry` listens."""
        return self._open[key].bound

    @property
    def busy(self) -> int:
        """Connections with a request that is being read or answered."""
        return sum(listener.busy for listener in self._egress.values())

    async def use(self, config: Config, drain_timeout: float) -> None:
        """Open what the config asks for, then close what it does not. Raises ConfigError, with nothing changed."""
        wanted = _wanted(config)
        fresh: dict[tuple[str, str | None], Listener] = {}
        fresh_people: dict[str, PeopleDoor] = {}
        try:
            for key, path in wanted.items():
                if key not in self._egress:
                    fresh[key] = await self._open_egress(key, path, config)
            for name in self._people:
                if not self._is_same(name, config):
                    fresh_people[name] = await self._open_people(name, config)
        except BaseException:
            for listener in fresh.values():
                listener.stop_accepting()
                await listener.drain(0)
            for door in fresh_people.values():
                await door.runner.cleanup()
            raise
        gone = [listener for key, listener in self._egress.items() if key not in wanted]
        old_people = [self._open[name] for name in fresh_people if name in self._open]
        self._egress = {key: fresh.get(key) or self._egress[key] for key in wanted}
        self._open |= fresh_people
        for listener in self._egress.values():
            listener.use(config.listen)
        for listener in gone:
            listener.stop_accepting()
            self._closing.spawn(listener.drain(drain_timeout), f"closing {listener.address}")
        for door in old_people:
            self._closing.spawn(door.runner.cleanup(), f"closing {door.address}")

    def _is_same(self, name: str, config: Config) -> bool:
        door = self._open.get(name)
        return door is not None and (door.address, door.hosts) == (getattr(config.listen, name), _hosts(config))

    async def _open_egress(self, key: tuple[str, str | None], path: str, config: Config) -> Listener:
        address = Address.parse(key[0])
        listener = Listener(address, Door(key[1], bool(address.path)), config.listen, self._handle, self._clock)
        try:
            await listener.open()
        except OSError as error:
            raise _taken(path, key[0], error) from None
        return listener

    async def _open_people(self, name: str, config: Config) -> PeopleDoor:
        text = getattr(config.listen, name)
        hosts = _hosts(config)
        old = self._open.get(name)
        door = runner(self._people[name](hosts))
        await door.setup()
        address = Address.parse(text)
        try:
            if old is not None and old.address == text:
                # The same address with other names: the old one has to let go of it first.
                await old.runner.cleanup()
            if address.path:
                await asyncio.to_thread(remove_stale_socket, Path(address.path))
                await web.UnixSite(door, address.path).start()
            else:
                await web.TCPSite(door, address.host, address.port, reuse_address=True).start()
        except OSError as error:
            await door.cleanup()
            raise _taken(f"listen.{name}", text, error) from None
        where = door.addresses[0]
        bound = f"{where[0]}:{where[1]}" if isinstance(where, tuple) else f"unix:{where}"
        return PeopleDoor(text, hosts, door, bound)

    def stop_accepting(self) -> None:
        """Close the app's doors; calls under way go on."""
        for listener in self._egress.values():
            listener.stop_accepting()

    async def drain(self, seconds: float) -> int:
        """Wait for the calls under way; give the number that had to be cut off."""
        drains = [self._closing.spawn(listener.drain(seconds), "drain") for listener in self._egress.values()]
        if drains:
            await asyncio.wait(drains)
        return sum(drain.result() for drain in drains)

    async def close(self) -> None:
        """Close the people's doors, last: probes see the drain to its end."""
        await self._closing.stop()
        for door in self._open.values():
            await door.runner.cleanup()
        self._open.clear()
        self._egress.clear()


def _hosts(config: Config) -> frozenset[str]:
    return frozenset(host.lower().rstrip(".") for host in config.listen.hosts)


def _wanted(config: Config) -> dict[tuple[str, str | None], str]:
    """Give the app's doors: (address, service or None), with the path of the key that asks for each."""
    wanted: dict[tuple[str, str | None], str] = {
        (address, None): f"listen.egress[{index}]" for index, address in enumerate(config.listen.egress)
    }
    for name, entry in config.services.items():
        for index, address in enumerate(entry.config.listen):
            wanted[address, name] = f"services.{name}.listen[{index}]"
    return wanted


def _taken(path: str, address: str, error: OSError) -> ConfigError:
    # asyncio puts a sentence of its own, with the address, in place of the system's words.
    number = error.errno or 0
    why = (os.strerror(number) if number in errno.errorcode else error.strerror or str(error)).lower()
    hint = "; is another process on it?" if number == errno.EADDRINUSE else ""
    return ConfigError([Problem(path, f"cannot listen on {address}: {why}{hint}")])
