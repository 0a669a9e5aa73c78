"""A corporate proxy on the way, by CONNECT, over real sockets."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence

import pytest
import trustme

from sidecar.core.call import AttemptRecord
from sidecar.core.errors import AddressDenied, ConnectFailed, DeadlineExceeded, DnsFailed
from sidecar.upstream.origin import BaseUrl
from sidecar.upstream.proxy import ANSWER_MAX, Proxy
from sidecar.upstream.resolve import AddrInfo
from tests.kit.clock import ManualClock
from tests.upstream.dialing import (
    NEVER,
    Recorder,
    dialer,
    dialled,
    greet,
    hosts,
    no_socket_left,
    port_that_refuses,
    server_context,
    serving,
    stay_silent,
    trusting,
)

OK = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n"


class Tunnelling:
    """A proxy that answers with `pieces`, and joins the two ends after a 2xx."""

    def __init__(self, *pieces: bytes, vendor_port: int = 0) -> None:
        self.pieces = pieces
        self.vendor_port = vendor_port
        self.asked = b""
        self.has_asked = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.asked = await reader.readuntil(b"\r\n\r\n")
        self.has_asked.set()
        for piece in self.pieces:
            writer.write(piece)
            await writer.drain()
        if not self.vendor_port:
            await reader.read()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.vendor_port)
        back = asyncio.create_task(copy(far_reader, writer))
        try:
            await copy(reader, far_writer)
        finally:
            far_writer.transport.abort()
            back.cancel()
            await asyncio.wait([back])


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way."""
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass  # An end left.


def via(port: int, authorization: Callable[[], bytes] | None = None) -> Proxy:
    """Make a proxy's config."""
    return Proxy(BaseUrl.parse(f"http://proxy.test:{port}"), authorization)


async def refusal(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> ConnectFailed:
    """Dial through a proxy that does not let us through, and give the error."""
    async with no_socket_left(), serving(serve) as port:
        with pytest.raises(ConnectFailed) as raised:
            await dialer("https://api.test", proxy=via(port)).dial(Recorder, AttemptRecord(), NEVER)
    return raised.value


async def test_tls_is_spoken_with_the_vendor_through_the_proxy() -> None:
    """The certificate is the vendor's, SNI too; the proxy saw a CONNECT with host and port, and no credential."""
    authority = trustme.CA()
    record = AttemptRecord()
    async with no_socket_left(), serving(greet, tls=server_context(authority, "api.test")) as vendor_port:
        proxy = Tunnelling(OK, vendor_port=vendor_port)
        async with serving(proxy) as port:
            dialling = dialer("https://api.test", tls=trusting(authority), proxy=via(port), allow_private=False)
            async with dialled(dialling, record) as vendor:
                await vendor.hear(b"hello")
    assert proxy.asked == b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n"
    assert record.connect_s > 0
    assert record.tls_s > 0


async def test_credentials_are_asked_for_each_connection() -> None:
    """A rotated password serves the next connection."""
    given = [b"Basic " + secrets.token_hex(8).encode() for _ in range(2)]
    left = iter(given)
    proxy = Tunnelling(OK)
    async with serving(proxy) as port:
        dialling = dialer("http://api.test:8080", proxy=via(port, lambda: next(left)))
        for value in given:
            async with dialled(dialling):
                assert b"\r\nProxy-Authorization: " + value + b"\r\n" in proxy.asked


async def test_name_is_left_to_the_proxy_to_resolve() -> None:
    """Only the proxy's own name is looked up here: inside, the vendor's name may not even exist."""
    asked: list[str] = []

    async def lookup(host: str, port: int) -> Sequence[AddrInfo]:
        asked.append(host)
        return await hosts("127.0.0.1")(host, port)

    async with (
        serving(Tunnelling(OK)) as port,
        dialled(dialer("http://api.test", proxy=via(port), lookup=lookup)),
    ):
        pass
    assert asked == ["proxy.test"]


@pytest.mark.parametrize("split", range(1, len(OK)))
async def test_answer_may_come_in_any_two_pieces_and_what_follows_is_the_vendors(split: int) -> None:
    """Not a byte after the answer's end is lost, wherever the pieces were cut."""
    proxy = Tunnelling(OK[:split], OK[split:] + b"hello")
    async with serving(proxy) as port, dialled(dialer("http://api.test", proxy=via(port))) as vendor:
        await vendor.hear(b"hello")


async def test_interim_answers_are_read_over() -> None:
    """A 1xx is not yet the answer (RFC 9110 section 15.2)."""
    proxy = Tunnelling(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"hello")
    async with serving(proxy) as port, dialled(dialer("http://api.test", proxy=via(port))) as vendor:
        await vendor.hear(b"hello")


async def test_proxy_that_wants_credentials_says_what_to_write() -> None:
    """407 without any."""
    error = await refusal(Tunnelling(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"))
    assert "upstream_proxy_auth = {" in error.detail
    assert "asks for credentials" in error.detail


async def test_proxy_that_refuses_credentials_does_not_repeat_them() -> None:
    """407 with some: the detail names the setting, never the value."""
    value = secrets.token_hex(8).encode()
    async with serving(Tunnelling(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")) as port:
        with pytest.raises(ConnectFailed, match="does not accept the credentials") as raised:
            await dialer("http://api.test", proxy=via(port, lambda: value)).dial(Recorder, AttemptRecord(), NEVER)
    assert value.decode() not in raised.value.detail


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(302, True), (403, True), (407, True), (408, False), (429, False), (502, False), (504, False)],
)
async def test_rule_of_the_proxy_is_final_and_its_trouble_is_not(status: int, is_final: bool) -> None:
    """A rule does not change within half a second, so no attempt is spent on it."""
    error = await refusal(Tunnelling(b"HTTP/1.1 %d no\r\n\r\n" % status))
    assert error.is_final is is_final


async def test_refusal_of_the_proxy_is_passed_on_with_its_status() -> None:
    """Its reason is for people, so it goes along, without what a terminal would obey."""
    error = await refusal(Tunnelling(b"HTTP/1.1 403 not \x1b[31m here\r\nContent-Length: 2\r\n\r\nno"))
    assert "status 403 not [31m here" in error.detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "did not answer in HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 OK\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * ANSWER_MAX + b"\r\n\r\n", "more than 16384 bytes"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "more than 16384 bytes"),
    ],
)
async def test_garbage_from_the_proxy_is_refused(answer: bytes, words: str) -> None:
    """What is not a short HTTP answer ends the connection."""
    error = await refusal(Tunnelling(answer))
    assert words in error.detail


async def test_proxy_that_hangs_up_is_told_as_such() -> None:
    """The connection ended where the answer should have been."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    error = await refusal(hang_up)
    assert error.proxy_error == "connection_terminated"


async def test_refused_proxy_port_names_the_proxy() -> None:
    """The operator looks at the proxy, not at the vendor."""
    with port_that_refuses() as port, pytest.raises(ConnectFailed, match=r"the proxy proxy\.test:"):
        await dialer("https://api.test", proxy=via(port)).dial(Recorder, AttemptRecord(), NEVER)


@pytest.mark.parametrize(("deadline", "error"), [(NEVER, ConnectFailed), (1.0, DeadlineExceeded)])
async def test_proxy_that_stays_silent_ends_in_time(
    clock: ManualClock, deadline: float, error: type[Exception]
) -> None:
    """Its answer counts as part of the connect."""
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await stay_silent(reader, writer)

    async with no_socket_left(), serving(silent) as port:
        dialling = dialer("https://api.test", proxy=via(port), clock=clock)
        call = asyncio.create_task(dialling.dial(Recorder, AttemptRecord(), clock.now() + deadline))
        await asked.wait()
        await clock.advance(2.0)
        with pytest.raises(error):
            await call


async def test_cancelled_while_the_proxy_thinks_leaves_no_socket() -> None:
    """The app hung up before the proxy answered."""
    proxy = Tunnelling()
    async with serving(proxy) as port, no_socket_left():
        call = asyncio.create_task(dialer("https://api.test", proxy=via(port)).dial(Recorder, AttemptRecord(), NEVER))
        await proxy.has_asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.parametrize("host", ["10.0.0.1", "[::1]", "127.1", "0x7f.0.0.1", "2130706433"])
async def test_private_address_in_the_url_is_denied_through_a_proxy_too(host: str) -> None:
    """Where no name has to be resolved the guard can judge, and does."""
    with pytest.raises(AddressDenied):
        await dialer(f"http://{host}", proxy=via(3128), allow_private=False).dial(Recorder, AttemptRecord(), NEVER)


async def test_proxy_at_a_metadata_address_is_denied() -> None:
    """A private proxy is the rule; the metadata service is none."""
    with pytest.raises(AddressDenied, match="metadata"):
        await dialer("https://api.test", proxy=via(80), lookup=hosts("169.254.169.254")).dial(
            Recorder, AttemptRecord(), NEVER
        )


async def test_unknown_proxy_name_is_told_as_such() -> None:
    """The name that failed is the proxy's."""

    async def lookup(host: str, port: int) -> Sequence[AddrInfo]:
        return []

    with pytest.raises(DnsFailed, match=r"proxy\.test"):
        await dialer("https://api.test", proxy=via(80), lookup=lookup).dial(Recorder, AttemptRecord(), NEVER)


def test_proxy_is_spoken_to_in_plain_http() -> None:
    """TLS to the proxy itself is not offered; the sentence says what to write."""
    with pytest.raises(ValueError, match="http://proxy:3128"):
        Proxy(BaseUrl.parse("https://proxy.test"))
