"""Dialling over real sockets on loopback: every way in which it fails has its sentence, and none leaves a socket."""

import asyncio
import errno
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from sidecar.core.call import AttemptRecord
from sidecar.core.errors import AddressDenied, ConnectFailed, DeadlineExceeded, DnsFailed
from sidecar.upstream import dial as dial_module
from sidecar.upstream.resolve import AddrInfo, system_lookup
from tests.kit.clock import ManualClock, settle
from tests.upstream.dialing import (
    NEVER,
    Recorder,
    black_hole,
    dialer,
    dialled,
    greet,
    hosts,
    looked_up,
    no_socket_left,
    port_that_refuses,
    serving,
)


async def test_plain_connection_carries_bytes_without_delay() -> None:
    """The protocol is given the transport, and small writes are not held back (Nagle)."""
    record = AttemptRecord()
    async with no_socket_left(), serving(greet) as port, dialled(dialer(f"http://api.test:{port}"), record) as vendor:
        await vendor.hear(b"hello")
        assert vendor.transport is not None
        raw = vendor.transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert record.connect_s > 0
        assert record.tls_s == 0


async def test_refused_port_says_so() -> None:
    """Nobody listens: connection_refused, with host, port and address."""
    async with no_socket_left():
        with port_that_refuses() as port, pytest.raises(ConnectFailed, match="refused") as raised:
            await dialer(f"http://api.test:{port}").dial(Recorder, AttemptRecord(), NEVER)
        assert raised.value.proxy_error == "connection_refused"
        assert raised.value.detail == f"api.test:{port} (127.0.0.1) refused the connection"


async def test_silent_address_ends_with_the_connect_timeout(clock: ManualClock) -> None:
    """A firewall that drops: the step's own limit ends it, and the record says how long it took."""
    record = AttemptRecord()
    async with no_socket_left():
        with black_hole() as port:
            call = asyncio.create_task(dialer(f"http://api.test:{port}", clock=clock).dial(Recorder, record, NEVER))
            await clock.advance(1.99)
            assert not call.done()
            await clock.advance(0.01)
            with pytest.raises(ConnectFailed, match="connect_timeout = 2s") as raised:
                await call
        assert raised.value.proxy_error == "connection_timeout"
        assert record.connect_s == pytest.approx(2.0)


async def test_silent_address_ends_with_the_deadline_if_that_comes_first(clock: ManualClock) -> None:
    """The call's deadline is not the vendor's connect timeout, and the answer names the step."""
    async with no_socket_left():
        with black_hole() as port:
            dialling = dialer(f"http://api.test:{port}", clock=clock)
            call = asyncio.create_task(dialling.dial(Recorder, AttemptRecord(), clock.now() + 0.5))
            await clock.advance(0.5)
            with pytest.raises(DeadlineExceeded, match="connecting"):
                await call


async def never_answers(host: str, port: int) -> Sequence[AddrInfo]:
    """Stand in for a name server behind a firewall."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def test_name_server_that_never_answers_ends_with_the_dns_timeout(clock: ManualClock) -> None:
    """dns_timeout is the type; the time went into the record."""
    record = AttemptRecord()
    dialling = dialer("http://api.test", clock=clock, lookup=never_answers)
    call = asyncio.create_task(dialling.dial(Recorder, record, NEVER))
    await clock.advance(2.0)
    with pytest.raises(DnsFailed, match="dns_timeout = 2s") as raised:
        await call
    assert raised.value.proxy_error == "dns_timeout"
    assert record.dns_s == pytest.approx(2.0)
    await dialling._resolver.stop()


async def test_name_server_that_never_answers_ends_with_the_deadline_if_that_comes_first(clock: ManualClock) -> None:
    """The answer names the step that used the time up."""
    dialling = dialer("http://api.test", clock=clock, lookup=never_answers)
    call = asyncio.create_task(dialling.dial(Recorder, AttemptRecord(), clock.now() + 1))
    await clock.advance(1.0)
    with pytest.raises(DeadlineExceeded, match="resolving the vendor's name"):
        await call
    await dialling._resolver.stop()


async def test_old_answer_serves_when_the_name_server_falls_silent(clock: ManualClock) -> None:
    """A look-up past its limit falls back on the last good answer, as a failed one does."""
    silent = False

    async def lookup(host: str, port: int) -> Sequence[AddrInfo]:
        return await never_answers(host, port) if silent else looked_up(("127.0.0.1", port))

    async with serving(greet) as port:
        dialling = dialer(f"http://api.test:{port}", clock=clock, lookup=lookup)
        async with dialled(dialling):
            pass
        silent = True
        await clock.advance(31)
        call = asyncio.create_task(dialling.dial(Recorder, AttemptRecord(), NEVER))
        await clock.advance(2.0)
        transport, protocol = await call
        await protocol.hear(b"hello")
        transport.abort()
        await protocol.lost
        assert dialling._resolver.stale_used == 1
        await dialling._resolver.stop()


async def test_dead_ipv6_falls_back_to_ipv4() -> None:
    """A vendor with a broken AAAA record is reached by its A record."""
    with port_that_refuses("::1") as dead:
        async with no_socket_left(), serving(greet) as port:

            async def lookup(host: str, _port: int) -> Sequence[AddrInfo]:
                return looked_up(("::1", dead), ("127.0.0.1", port))

            async with dialled(dialer("http://api.test", lookup=lookup)) as vendor:
                await vendor.hear(b"hello")


async def test_ipv6_address_in_the_url_is_dialled() -> None:
    """Brackets are the URL's, not the address's."""
    async with serving(greet, "::1") as port, dialled(dialer(f"http://[::1]:{port}")) as vendor:
        await vendor.hear(b"hello")


async def test_what_was_judged_is_what_is_dialled() -> None:
    """DNS rebinding: the name is asked once, and its second answer is never heard."""
    asked = 0

    async with serving(greet) as port:

        async def lookup(host: str, _port: int) -> Sequence[AddrInfo]:
            nonlocal asked
            asked += 1
            return looked_up(("127.0.0.1", port) if asked == 1 else ("169.254.169.254", 80))

        async with dialled(dialer("http://api.test", lookup=lookup)) as vendor:
            await vendor.hear(b"hello")
    assert asked == 1


async def test_denied_addresses_are_dropped_and_the_others_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a private and a public address is reached by the public one only."""
    tried: list[Any] = []

    async def start_connection(infos: Sequence[AddrInfo], **_: Any) -> socket.socket:
        tried.extend(info[4][0] for info in infos)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(dial_module, "start_connection", start_connection)
    lookup = hosts("127.0.0.1", "8.8.8.8", "::1", "::ffff:10.0.0.1")
    with pytest.raises(ConnectFailed, match="no route") as raised:
        await dialer("http://api.test", lookup=lookup, allow_private=False).dial(Recorder, AttemptRecord(), NEVER)
    assert tried == ["8.8.8.8"]
    assert raised.value.proxy_error == "destination_ip_unroutable"


async def test_private_address_is_denied_with_the_way_out() -> None:
    """The sentence names the address, the reason and the setting; nothing is connected."""
    with pytest.raises(AddressDenied) as raised:
        await dialer("http://api.test", allow_private=False).dial(Recorder, AttemptRecord(), NEVER)
    assert raised.value.proxy_error == "destination_ip_prohibited"
    assert raised.value.detail == (
        "api.test leads to 127.0.0.1: 127.0.0.1 is a loopback address; "
        "if this vendor is inside your own network, write allow_private = true"
    )


async def test_metadata_is_denied_without_a_way_out() -> None:
    """No setting opens it, so none is named."""
    with pytest.raises(AddressDenied, match="never connected to") as raised:
        await dialer("http://169.254.169.254/latest").dial(Recorder, AttemptRecord(), NEVER)
    assert "allow_private" not in raised.value.detail


@pytest.mark.parametrize("form", ["127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "0x7f000001"])
async def test_odd_forms_of_an_address_are_judged_by_what_they_mean(form: str) -> None:
    """The system reads them as addresses, so the guard sees the address."""
    with pytest.raises(AddressDenied, match="loopback"):
        await dialer(f"http://{form}", lookup=system_lookup, allow_private=False).dial(Recorder, AttemptRecord(), NEVER)


@pytest.mark.parametrize(
    ("number", "proxy_error"),
    [
        (errno.ETIMEDOUT, "connection_timeout"),
        (errno.EHOSTUNREACH, "destination_ip_unroutable"),
        (errno.ECONNRESET, "connection_terminated"),
        (errno.EMFILE, "proxy_internal_error"),
        (errno.EPERM, "destination_unavailable"),
    ],
)
async def test_every_failure_of_a_connect_becomes_ours(
    monkeypatch: pytest.MonkeyPatch, number: int, proxy_error: str
) -> None:
    """Also the system's own ETIMEDOUT, which has the type of our limits."""

    async def start_connection(*_: Any, **__: Any) -> socket.socket:
        raise OSError(number, "said the system")

    monkeypatch.setattr(dial_module, "start_connection", start_connection)
    with pytest.raises(ConnectFailed) as raised:
        await dialer("http://api.test").dial(Recorder, AttemptRecord(), NEVER)
    assert raised.value.proxy_error == proxy_error


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_want_of_file_descriptors_blames_nobody_outside(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The shortage is this pod's: counted against the vendor it would open the circuits of all that are well."""

    async def start_connection(*_: Any, **__: Any) -> socket.socket:
        raise OSError(number, "said the system")

    monkeypatch.setattr(dial_module, "start_connection", start_connection)
    with pytest.raises(ConnectFailed) as raised:
        await dialer("http://api.test").dial(Recorder, AttemptRecord(), NEVER)
    assert not raised.value.blames_vendor


async def test_several_failures_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two addresses that fail for different reasons have no one number; both reasons are told."""

    async def start_connection(*_: Any, **__: Any) -> socket.socket:
        raise OSError("Multiple exceptions: refused, unreachable")

    monkeypatch.setattr(dial_module, "start_connection", start_connection)
    with pytest.raises(ConnectFailed, match="refused, unreachable"):
        await dialer("http://api.test").dial(Recorder, AttemptRecord(), NEVER)


async def test_cancelled_while_resolving_leaves_nothing(clock: ManualClock) -> None:
    """The app hung up: its call ends at once."""
    async with no_socket_left():
        dialling = dialer("http://api.test", clock=clock, lookup=never_answers)
        call = asyncio.create_task(dialling.dial(Recorder, AttemptRecord(), NEVER))
        await settle()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await dialling._resolver.stop()


@pytest.mark.parametrize("addresses", [1, 3])
async def test_cancelled_while_connecting_leaves_no_socket(clock: ManualClock, addresses: int) -> None:
    """With one address and with a race of three."""
    async with no_socket_left():
        with black_hole() as port:

            async def lookup(host: str, _port: int) -> Sequence[AddrInfo]:
                return looked_up(*[("127.0.0.1", port)] * addresses)

            dialling = dialer(f"http://api.test:{port}", clock=clock, lookup=lookup)
            call = asyncio.create_task(dialling.dial(Recorder, AttemptRecord(), NEVER))
            await settle()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call


async def test_protocol_that_cannot_be_made_leaves_no_socket() -> None:
    """A fault of ours after the connect still closes the socket."""

    def broken() -> Recorder:
        raise RuntimeError("no memory")

    async with serving(greet) as port, no_socket_left():
        with pytest.raises(RuntimeError, match="no memory"):
            await dialer(f"http://api.test:{port}").dial(broken, AttemptRecord(), NEVER)


BY_ADDRESS = """
import asyncio, socket, uvloop
from pathlib import Path
from sidecar.core.call import AttemptRecord
from tests.upstream.dialing import NEVER, Recorder, dialer

async def main():
    with socket.create_server(("127.0.0.1", 0)) as server:
        dialing = dialer(f"http://127.0.0.1:{server.getsockname()[1]}")
        transport, _ = await dialing.dial(Recorder, AttemptRecord(), NEVER)
        transport.abort()
    print(len(list(Path("/proc/self/task").iterdir())))

uvloop.run(main())
"""


def test_connecting_to_an_address_takes_no_thread() -> None:
    """Uvloop looks up even an address, in its four threads, and starts them for the first look-up of all.

    Name servers that do not answer for one vendor hold these threads; with `sock_connect` of uvloop's own nobody got
    to any other vendor meanwhile, not even to an address that was known.
    """
    ran = subprocess.run([sys.executable, "-c", BY_ADDRESS], capture_output=True, text=True, check=False, timeout=30)
    assert (ran.stdout.strip(), ran.stderr) == ("1", "")
