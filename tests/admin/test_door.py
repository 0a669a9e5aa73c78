"""The bounds of the doors for people and probes, over real sockets: slow peers, many peers, names that change."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.admin.door import HEAD_TIMEOUT, KEEPALIVE_S, SHUTDOWN_S, WRITE_TIMEOUT, PeopleDoor
from sidecar.admin.health import health_app
from sidecar.downstream.listener import bind_unix
from tests.kit.app import App
from tests.kit.clock import ManualClock

ROOM = 4  # Connections.
HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


class Held:
    """A door that answers `/metrics` only when told, and then with more than the kernel holds."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.asked = asyncio.Semaphore(0)

    def app(self) -> web.Application:
        """Make the application."""

        async def metrics(_: web.Request) -> web.Response:
            self.asked.release()
            await self.told.wait()
            return web.Response(body=bytes(32 * 2**20))

        async def livez(_: web.Request) -> web.Response:
            return web.Response(text="alive\n")

        app = web.Application()
        app.router.add_get("/metrics", metrics)
        app.router.add_get("/livez", livez)
        return app


@pytest.fixture
def held() -> Held:
    """What answers behind the door."""
    return Held()


@pytest.fixture
async def door(clock: ManualClock, held: Held) -> AsyncIterator[PeopleDoor]:
    """A small door whose time moves by hand."""
    door = PeopleDoor(clock, connections_max=ROOM)
    await door.open(held.app(), ("127.0.0.1", 0))
    yield door
    held.told.set()
    await door.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for the other end of a socket."""
    async with asyncio.timeout(10):
        while not is_so():
            moment = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.005, moment.set_result, None)
            await moment


@pytest.mark.parametrize("sent", [b"", b"G", HEAD, HEAD + b"X: " + b"a" * 4000])
async def test_a_peer_that_sends_no_whole_head_is_closed_in_time(
    door: PeopleDoor, clock: ManualClock, sent: bytes
) -> None:
    """Whatever it sends meanwhile: the time runs from the connection on."""
    async with App.to(door.bound) as app:
        await app.send(sent)
        await until(lambda: door.connections == 1)
        for _ in range(9):
            await clock.advance(HEAD_TIMEOUT / 10)
            await app.send(b"Y: y\r\n" if sent == HEAD else b"")
        assert door.connections == 1
        await clock.advance(HEAD_TIMEOUT / 10)
        assert await app.read_until_closed() == b""
        await until(lambda: door.connections == 0)


async def test_a_further_head_on_the_connection_has_the_same_time(door: PeopleDoor, clock: ManualClock) -> None:
    """Between two requests a probe may be idle for long; once it begins it must go on."""
    async with App.to(door.bound) as app:
        assert (await app.ask("GET", "/livez")).status == 200
        await clock.advance(KEEPALIVE_S - 1)
        assert (await app.ask("GET", "/livez")).status == 200
        await app.send(b"GET /li")
        await until(lambda: all(one._has_begun for one in door._watched.values()))
        await clock.advance(HEAD_TIMEOUT)
        assert await app.read_until_closed() == b""


async def test_a_request_under_way_may_take_its_time(door: PeopleDoor, clock: ManualClock, held: Held) -> None:
    """A reload that reads slow files is not the peer's slowness."""
    async with App.to(door.bound) as app:
        await app.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await held.asked.acquire()
        await clock.advance(10 * KEEPALIVE_S)
        held.told.set()
        assert len((await app.read_answer()).body) == 32 * 2**20


async def test_a_peer_that_does_not_read_is_cut_off(door: PeopleDoor, clock: ManualClock, held: Held) -> None:
    """An answer of many megabytes would stay in memory for as long as it likes."""
    async with App.to(door.bound) as app:
        app.stop_reading()
        held.told.set()
        await app.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: any(one._write_alarm._timer is not None for one in door._watched.values()))
        await clock.advance(WRITE_TIMEOUT)
        await until(lambda: door.connections == 0)


async def test_a_probe_gets_in_whoever_keeps_the_door_full(door: PeopleDoor) -> None:
    """The oldest connection without a request makes room."""
    idle = [await asyncio.open_connection(*_place(door)) for _ in range(3 * ROOM)]
    await until(lambda: door.connections == ROOM)
    for _ in range(3):
        async with App.to(door.bound) as app:
            assert (await app.ask("GET", "/livez")).status == 200
    assert await idle[0][0].read() == b""
    for _, writer in idle:
        writer.close()
    await until(lambda: door.connections == 0)


async def test_when_all_have_a_request_under_way_the_next_is_told_so(door: PeopleDoor, held: Held) -> None:
    """503 and the end, and nothing of those under way is lost."""
    peers = [await asyncio.open_connection(*_place(door)) for _ in range(ROOM)]
    for _, writer in peers:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await held.asked.acquire()
    async with App.to(door.bound) as app:
        reply = await app.read_answer()
        assert (reply.status, reply.value("Connection")) == (503, "close")
    held.told.set()
    for reader, writer in peers:
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_another_application_takes_over_at_the_same_socket(door: PeopleDoor) -> None:
    """A reload with other names closes the door for nobody; connections of before end in order."""
    async with App.to(door.bound) as app:
        assert (await app.ask("GET", "/livez")).body == b"alive\n"
        before = await door.use(health_app(lambda: "held back", lambda: (b"", "text/plain")))
        async with App.to(door.bound) as other:
            assert (await other.ask("GET", "/readyz")).status == 503
        assert before is not None
        await before.cleanup()
        assert await app.read_until_closed() == b""


async def test_a_door_that_closes_waits_for_what_is_under_way(clock: ManualClock) -> None:
    """A body that is still on its way is read to its end, and its request answered; whoever is idle is let go."""
    door = PeopleDoor(clock)
    await door.open(_echo(), ("127.0.0.1", 0))
    async with App.to(door.bound) as idle, App.to(door.bound) as app, App.to(door.bound) as stuck:
        assert (await idle.ask("GET", "/")).status == 200
        for one in (app, stuck):
            await one.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        await until(lambda: [one.is_busy for one in door._watched.values()] == [False, True, True])
        closing = asyncio.create_task(door.close())
        await refused(door)
        await app.send(b"cd")
        assert (await app.read_answer()).body == b"abcd"
        assert not closing.done()
        await clock.advance(SHUTDOWN_S)
        await closing
        assert await stuck.read_until_closed() == b""
        assert await idle.read_until_closed() == b""
    assert door.connections == 0


async def refused(door: PeopleDoor) -> None:
    """Wait until the door listens no more."""
    place = _place(door)
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection(*place)
            except ConnectionRefusedError:
                return
            writer.close()


def _echo() -> web.Application:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application()
    app.router.add_route("*", "/", echo)
    return app


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization Bearer CANARY\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization: CANARY\0\r\n\r\n",
        b"GET /livez?CANARY HTTP/9.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"CANARY" * 2000 + b"\r\n\r\n",
    ],
)
async def test_a_malformed_head_is_not_quoted(door: PeopleDoor, head: bytes) -> None:
    """Who sends it gets 400 in constant words: on the way back it might be written down."""
    async with App.to(door.bound) as app:
        await app.send(head)
        reply = await app.read_answer()
        assert reply.status == 400
        assert reply.body == b"the request is malformed HTTP\n"
        assert b"CANARY" not in reply.raw_head


async def test_a_unix_socket_is_never_open_to_others(tmp_path: Path, clock: ManualClock, held: Held) -> None:
    """Its mode is right before anybody could connect, whatever the umask says."""
    path = tmp_path / "admin.sock"
    bound = await asyncio.to_thread(bind_unix, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as early, pytest.raises(ConnectionRefusedError):
        early.connect(str(path))
    door = PeopleDoor(clock)
    await door.open(held.app(), bound)
    async with App.to(door.bound) as app:
        assert (await app.ask("GET", "/livez")).status == 200
    await door.close()


def _place(door: PeopleDoor) -> tuple[str, int]:
    host, _, port = door.bound.rpartition(":")
    return host, int(port)
