"""Doors: every listener of the process; a reload opens the new ones before the old ones close."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from sidecar.admin.door import CONNECTIONS_MAX, PeopleDoor
from sidecar.config.model import Config
from sidecar.config.problem import ConfigError, Problem
from sidecar.core.address import Address
from sidecar.core.clock import Clock
from sidecar.core.tasks import Tasks
from sidecar.downstream.listener import Handle, Listener, bind_unix
from sidecar.downstream.router import Door

WEBHOOK_CONNECTIONS_MAX = 1024  # Full: as at the other doors that are no app's.

MakeApp = Callable[[frozenset[str]], web.Application]


class People(NamedTuple):
    """A door for people, probes and vendors, as the config asked for it."""

    address: str
    hosts: frozenset[str]
    door: PeopleDoor


class Doors:
    """The app's doors by address, and those for people, probes and vendors."""

    def __init__(self, handle: Handle, clock: Clock, people: dict[str, MakeApp]) -> None:
        self._handle = handle
        self._clock = clock
        self._people = people  # By key of [listen]: admin, telemetry, webhooks.
        self._egress: dict[tuple[str, str | None], Listener] = {}
        self._leaving: set[Listener] = set()  # The config asks for them no more; their last calls are under way.
        self._open: dict[str, People] = {}
        self._closing = Tasks()

    @property
    def egress(self) -> list[Listener]:
        """The app's listeners, in the order of the config."""
        return list(self._egress.values())

    def bound(self, key: str) -> str:
        """Where `admin`, `telemetry` or `webhooks` listens."""
        return self._open[key].door.bound

    @property
    def others(self) -> dict[str, str]:
        """Where the doors listen that are no app's."""
        return {name: people.door.bound for name, people in self._open.items()}

    @property
    def busy(self) -> int:
        """Connections with a request that is being read or answered."""
        return sum(listener.busy for listener in self._listeners())

    def _listeners(self) -> list[Listener]:
        return [*self._egress.values(), *self._leaving]

    async def use(self, config: Config, drain_timeout: float) -> None:
        """Open what the config asks for, then close what it does not. Raises ConfigError, with nothing changed."""
        wanted = _wanted(config)
        moved = self._moved(wanted)
        fresh: dict[tuple[str, str | None], Listener] = {}
        fresh_people: dict[str, People] = {}
        try:
            for key, path in wanted.items():
                if key not in self._egress and key not in moved:
                    fresh[key] = await self._open_egress(key, path, config)
            asked = [name for name in self._people if name != "webhooks" or config.webhooks]
            for name in asked:
                if name not in self._open or self._open[name].address != getattr(config.listen, name):
                    fresh_people[name] = await self._open_people(name, config)
        except BaseException:
            for listener in fresh.values():
                listener.stop_accepting()
                await listener.drain(0)
            for people in fresh_people.values():
                await _close(people)
            raise
        stays = {*wanted, *moved.values()}
        gone = [listener for key, listener in self._egress.items() if key not in stays]
        old_people = [self._open.pop(name) for name in list(self._open) if name in fresh_people or name not in asked]
        self._egress = {key: fresh.get(key) or self._egress[moved.get(key, key)] for key in wanted}
        for key in moved:
            self._egress[key].lead_to(_door(key))
        self._open |= fresh_people
        for listener in self._egress.values():
            listener.use(config.listen)
        for listener in gone:
            listener.stop_accepting()
            self._leaving.add(listener)
            self._closing.spawn(self._let_go(listener, drain_timeout), f"closing {listener.address}")
        for people in old_people:
            self._closing.spawn(_close(people), f"closing {people.address}")
        await self._rename(_hosts(config))

    def _moved(self, wanted: Iterable[tuple[str, str | None]]) -> dict[tuple[str, str | None], tuple[str, str | None]]:
        """Pair the doors that stay where they are and lead elsewhere, such as to a service of another name."""
        left = {key[0]: key for key in self._egress if key not in wanted}
        return {key: left[key[0]] for key in wanted if key not in self._egress and key[0] in left}

    async def _let_go(self, listener: Listener, seconds: float) -> None:
        try:
            await listener.drain(seconds)
        finally:
            self._leaving.discard(listener)

    async def _rename(self, hosts: frozenset[str]) -> None:
        """Have the people's doors answer to these names; at the same socket, so that no probe finds them closed."""
        for name, people in self._open.items():
            if people.hosts != hosts:
                before = await people.door.use(self._people[name](hosts))
                self._open[name] = people._replace(hosts=hosts)
                if before is not None:
                    self._closing.spawn(before.cleanup(), f"renaming {people.address}")

    async def _open_egress(self, key: tuple[str, str | None], path: str, config: Config) -> Listener:
        address = Address.parse(key[0])
        listener = Listener(address, _door(key), config.listen, self._handle, self._clock)
        try:
            await listener.open()
        except OSError as error:
            raise _taken(path, key[0], error) from None
        return listener

    async def _open_people(self, name: str, config: Config) -> People:
        text = getattr(config.listen, name)
        hosts = _hosts(config)
        address = Address.parse(text)
        door = PeopleDoor(self._clock, WEBHOOK_CONNECTIONS_MAX if name == "webhooks" else CONNECTIONS_MAX)
        try:
            place: tuple[str, int] | socket.socket = (address.host, address.port)
            if address.path:
                place = await asyncio.to_thread(bind_unix, Path(address.path))
            await door.open(self._people[name](hosts), place)
        except OSError as error:
            raise _taken(f"listen.{name}", text, error) from None
        return People(text, hosts, door)

    def stop_accepting(self) -> None:
        """Close the app's doors; calls under way go on."""
        for listener in self._egress.values():
            listener.stop_accepting()

    def cut_short(self) -> None:
        """End the drain now, with what is under way cut off."""
        for listener in self._listeners():
            listener.cut_short()

    async def drain(self, seconds: float) -> int:
        """Wait for the calls under way; give the number that had to be cut off."""
        drains = [self._closing.spawn(listener.drain(seconds), "drain") for listener in self._listeners()]
        if drains:
            await asyncio.wait(drains)
        return sum(drain.result() for drain in drains)

    async def close(self) -> None:
        """Close the people's doors, last: probes see the drain to its end."""
        await self._closing.stop()
        for people in self._open.values():
            await _close(people)
        self._open.clear()
        self._egress.clear()


async def _close(people: People) -> None:
    await people.door.close()
    path = Address.parse(people.address).path
    if path:
        with suppress(FileNotFoundError):
            await asyncio.to_thread(os.unlink, path)


def _door(key: tuple[str, str | None]) -> Door:
    return Door(key[1], is_unix=bool(Address.parse(key[0]).path))


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
    hint = "; is another process on it, or this one by another key?" if number == errno.EADDRINUSE else ""
    return ConfigError([Problem(path, f"cannot listen on {address}: {why}{hint}")])
