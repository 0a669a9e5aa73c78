"""HTTP/1.1 towards a vendor, over real sockets: how answers are delimited, what of them passes, what is refused."""

import asyncio

import pytest

from sidecar.core.body import Body
from sidecar.core.errors import BadRequest, DeadlineExceeded, UpstreamProtocol, UpstreamReset
from sidecar.core.outcome import Outcome
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange
from tests.kit.vendor import Vendor, answer
from tests.upstream.sending import Way, call_of, until

OK = b"HTTP/1.1 200 OK\r\n"
KEPT, CLOSED = (1, 0, 0), (0, 0, 0)


def raw(head: str, body: bytes = b"") -> bytes:
    """Write an answer by its lines."""
    return "\r\n".join([*head.strip().split("\n"), "", ""]).encode("latin-1") + body


# How an answer ends.


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (raw("HTTP/1.1 200 OK\nContent-Length: 5", b"hello"), b"hello"),
        (raw("HTTP/1.1 200 OK\nContent-Length: 0"), b""),
        (raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"), b"hello"),
        (raw("HTTP/1.1 200 OK\nTransfer-Encoding: Chunked", b"0\r\n\r\n"), b""),
        (
            raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b'2;a=1;b="x;y"\r\nhe\r\n3\r\nllo\r\n0;e\r\n\r\n'),
            b"hello",
        ),
        (raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"0005\r\nhello\r\n000\r\n\r\n"), b"hello"),
        (raw("HTTP/1.1 200\nContent-Length: 2", b"ok"), b"ok"),
        (raw("HTTP/1.1 200 \nContent-Length: 2", b"ok"), b"ok"),
        (raw("HTTP/1.1 204 No Content"), b""),
        (raw("HTTP/1.1 304 Not Modified\nContent-Length: 1000"), b""),
        (raw("HTTP/1.1 304 Not Modified\nETag: x"), b""),
        (raw("HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 2", b"ok"), b"ok"),
    ],
)
async def test_an_answer_that_says_its_end_leaves_the_connection_for_the_next(sent: bytes, body: bytes) -> None:
    """Read to the last byte and no further: the second call goes over the same connection."""
    async with Vendor.answering(sent) as vendor, Way(vendor.url) as way:
        for _ in range(2):
            got = await way.ask()
            assert got.body == body
            assert way.counts() == KEPT
        assert vendor.connections_opened == 1


@pytest.mark.parametrize("sent", [
    raw("HTTP/1.1 200 OK", b"hello"),
    raw("HTTP/1.0 200 OK", b"hello"),
    raw("HTTP/1.0 200 OK\nConnection: keep-alive", b"hello"),
])  # fmt: skip
async def test_an_answer_without_a_length_ends_with_the_connection(sent: bytes) -> None:
    """RFC 9112 section 6.3, rule 8; also HTTP/1.0 without a length."""
    async with Vendor.cutting(sent, len(sent)) as vendor, Way(vendor.url) as way:
        got = await way.ask()
        assert got.body == b"hello"
        await way.until_counts(*CLOSED)


@pytest.mark.parametrize("sent", [
    raw("HTTP/1.1 200 OK\nContent-Length: 5\nConnection: close", b"hello"),
    raw("HTTP/1.1 200 OK\nContent-Length: 5\nConnection: x, Close", b"hello"),
    raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nConnection: close", b"5\r\nhello\r\n0\r\n\r\n"),
    raw("HTTP/1.0 200 OK\nContent-Length: 5", b"hello"),
])  # fmt: skip
async def test_a_vendor_that_will_close_is_not_asked_again_on_that_connection(sent: bytes) -> None:
    """Connection: close, and HTTP/1.0 without keep-alive."""
    async with Vendor.answering(sent) as vendor, Way(vendor.url) as way:
        for turn in range(2):
            assert (await way.ask()).body == b"hello"
            assert way.counts() == CLOSED
            assert vendor.connections_opened == turn + 1


@pytest.mark.parametrize(
    ("sent", "counts"),
    [
        (raw("HTTP/1.1 200 OK\nContent-Length: 5"), KEPT),
        (raw("HTTP/1.1 200 OK"), KEPT),
        (raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked"), CLOSED),
        (raw("HTTP/1.1 200 OK\nContent-Length: 5\nConnection: close"), CLOSED),
        (raw("HTTP/1.0 200 OK\nContent-Length: 5"), CLOSED),
    ],
)
async def test_an_answer_to_head_has_no_body_whatever_it_says(sent: bytes, counts: tuple[int, int, int]) -> None:
    """The length is that of the answer to GET, and passes; nothing is waited for."""
    async with Vendor.answering(sent) as vendor, Way(vendor.url) as way:
        got = await way.ask("HEAD")
        assert got.body == b""
        assert got.values("Content-Length") == ([b"5"] if b"Length" in sent else [])
        assert way.counts() == counts
        assert (await way.ask("HEAD")).status == 200


async def test_a_get_after_a_head_reads_its_body() -> None:
    """What the parser waits for after a HEAD is not taken from the next answer."""
    answers = (raw("HTTP/1.1 200 OK\nContent-Length: 5"), raw("HTTP/1.1 200 OK\nContent-Length: 5", b"hello"))
    async with Vendor.answering(*answers) as vendor, Way(vendor.url) as way:
        await way.ask("HEAD")
        assert (await way.ask("GET")).body == b"hello"
        assert vendor.connections_opened == 1


async def test_a_304_keeps_the_length_it_names() -> None:
    """It is that of the answer that was not sent again; a cache of the app's may want it."""
    async with (
        Vendor.answering(raw("HTTP/1.1 304 Not Modified\nContent-Length: 1000")) as vendor,
        Way(vendor.url) as way,
    ):
        got = await way.ask()
        assert (got.status, got.values("Content-Length")) == (304, [b"1000"])


async def test_trailers_of_a_chunked_answer_are_kept() -> None:
    """They come with the body's end; what belongs to the connection or to us is dropped."""
    trailers = [
        (b"Grpc-Status", b"0"), (b"X-Sum", b"1"), (b"X-Sum", b"2"), (b"Connection", b"x"), (b"Transfer-Encoding", b"y"),
        (b"Sidecar-Error", b"z"), (b"X-Request-Id", b"theirs"),
    ]  # fmt: skip
    async with Vendor.answering(answer(chunks=[b"he", b"llo"], trailers=trailers)) as vendor, Way(vendor.url) as way:
        got = await way.ask()
        assert got.body == b"hello"
        assert got.trailers == [(b"Grpc-Status", b"0"), (b"X-Sum", b"1"), (b"X-Sum", b"2")]


async def test_an_answer_in_single_bytes_is_the_same_answer() -> None:
    """No place in it depends on how it is cut into reads."""
    sent = answer(chunks=[b"he", b"llo"], trailers=[(b"X-Sum", b"1")], headers=[(b"X-A", b"1"), (b"x-a", b"2")])

    async def play(exchange: Exchange) -> None:
        for byte in sent:
            await exchange.send(bytes([byte]))

    async with Vendor(play) as vendor, Way(vendor.url) as way:
        got = await way.ask()
        assert (got.body, got.trailers, got.reason) == (b"hello", [(b"X-Sum", b"1")], b"OK")
        assert got.headers == [(b"X-A", b"1"), (b"x-a", b"2")]
        assert way.counts() == KEPT


# Interim answers.


@pytest.mark.parametrize("interim", [
    raw("HTTP/1.1 100 Continue"),
    raw("HTTP/1.1 103 Early Hints\nLink: </a.css>; rel=preload\nX-Interim: 1"),
    raw("HTTP/1.1 102 Processing") * 20,
    raw("HTTP/1.1 103 Early Hints\nX-Interim: 1") + raw("HTTP/1.1 100 Continue"),
])  # fmt: skip
async def test_interim_answers_are_no_answer(interim: bytes) -> None:
    """However many; and nothing of theirs gets into the final one."""
    final = raw("HTTP/1.1 201 Created\nContent-Length: 2\nX-Final: 1", b"ok")
    async with Vendor.answering(interim + final) as vendor, Way(vendor.url) as way:
        got = await way.ask()
        assert (got.status, got.reason, got.body) == (201, b"Created", b"ok")
        assert got.headers == [(b"Content-Length", b"2"), (b"X-Final", b"1")]
        assert way.counts() == KEPT


async def test_an_interim_answer_after_another_call_does_not_stick() -> None:
    """The state of one exchange ends with it."""
    answers = (raw("HTTP/1.1 103 Early Hints") + answer(b"one"), answer(b"two"))
    async with Vendor.answering(*answers) as vendor, Way(vendor.url) as way:
        assert [(await way.ask()).body for _ in range(2)] == [b"one", b"two"]


@pytest.mark.parametrize("switching", [
    raw("HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: h2c"),
    raw("HTTP/1.1 101 Switching Protocols"),
])  # fmt: skip
async def test_a_101_nobody_asked_for_is_refused(switching: bytes) -> None:
    """What follows it would not be HTTP."""
    async with Vendor.answering(switching + answer(b"ok")) as vendor, Way(vendor.url) as way:
        with pytest.raises(UpstreamProtocol, match="without being asked"):
            await way.ask()
        await way.until_counts(*CLOSED)


async def test_a_101_that_names_no_protocol_is_refused_also_when_one_was_asked_for() -> None:
    """RFC 9110 section 15.2.2: it must say what it switches to. The call does not hang until its deadline."""
    async with Vendor.answering(raw("HTTP/1.1 101 Switching Protocols")) as vendor, Way(vendor.url) as way:
        call = call_of()
        call.upgrade = b"websocket"
        with pytest.raises(UpstreamProtocol):
            await way.begin(call)
        await way.until_counts(*CLOSED)


# Expect: 100-continue.


def expecting(content: bytes = b"hello") -> Body:
    """Make a body of which nothing is in hand yet, so that it is streamed."""
    return Body(len(content))


async def test_a_body_that_waits_for_100_is_sent_when_it_comes() -> None:
    """And not before."""
    allow = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        assert exchange.request.values("Expect") == [b"100-continue"]
        await allow.wait()
        assert not exchange.request.body
        await exchange.send(raw("HTTP/1.1 100 Continue"))
        await exchange.read_body()
        await exchange.send(answer(exchange.request.body))

    async with Vendor(play, reads_body=False) as vendor, Way(vendor.url) as way:
        body = expecting()
        call = call_of("POST", body=body)
        call.expects_continue = True
        begun = asyncio.create_task(way.begin(call))
        await vendor.wait_for_head()
        body.feed(b"hello")
        body.finish()
        allow.set()
        assert (await way.finish(call, await begun)).body == b"hello"
        assert way.counts() == KEPT


async def test_a_final_answer_instead_of_100_spares_the_body() -> None:
    """417 or 413: the body is not sent, and the connection, on which it is still owed, is not used again."""
    async with (
        Vendor.answering(answer(b"no", status=417, reason=b"Expectation Failed")) as vendor,
        Way(vendor.url) as way,
    ):
        vendor._reads_body = False
        call = call_of("POST", body=expecting())
        call.expects_continue = True
        got = await way.finish(call, await way.begin(call))
        assert (got.status, got.body) == (417, b"no")
        await vendor.wait_for_closed()
        assert way.counts() == CLOSED
        assert call.body.is_untouched


async def test_after_a_second_of_silence_the_body_is_sent_anyway(clock: ManualClock) -> None:
    """An older vendor knows no 100 (RFC 9110 section 10.1.1)."""
    async with Vendor.echoing() as vendor, Way(vendor.url, clock=clock) as way:
        vendor._continues = False
        body = expecting()
        call = call_of("POST", body=body)
        call.expects_continue = True
        begun = asyncio.create_task(way.begin(call))
        request = await vendor.wait_for_head()
        body.feed(b"hello")
        body.finish()
        await clock.advance(0.9)
        assert not request.is_whole
        await clock.advance(0.2)
        await vendor.wait_for_request()
        assert b'"body": "hello"' in (await way.finish(call, await begun)).body
        assert way.counts() == KEPT


# Early answers.


async def test_an_answer_before_the_bodys_end_reaches_the_app() -> None:
    """413 while the body is still on its way; the connection is not used again, and the body's sender ends."""
    async with (
        Vendor.answering(answer(b"too large", status=413, reason=b"Too Large")) as vendor,
        Way(vendor.url) as way,
    ):
        vendor._reads_body = False
        body = Body(10**9)
        body.feed(b"x" * 1000)
        call = call_of("POST", body=body)
        got = await way.finish(call, await way.begin(call))
        assert (got.status, got.body) == (413, b"too large")
        await vendor.wait_for_closed()
        assert way.counts() == CLOSED
        await until(lambda: not len(way.tasks), "the body's sender to end")


async def test_an_early_answer_survives_that_the_vendor_stops_reading() -> None:
    """413, then the vendor reads nothing more: the answer ends the call, not the body that cannot be sent."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(answer(b"too large", status=413, reason=b"Too Large"))
        await closed.wait()
        exchange.reset()

    closed = asyncio.Event()
    async with Vendor(play, reads_body=False) as vendor, Way(vendor.url) as way:
        body = Body(10**9)
        for _ in range(64):
            body.feed(b"x" * 256 * 1024)
        call = call_of("POST", body=body)
        got = await way.finish(call, await way.begin(call))
        assert (got.status, got.body) == (413, b"too large")
        closed.set()
        await vendor.wait_for_closed()


async def test_an_early_answer_survives_that_the_vendor_hangs_up_behind_it() -> None:
    """413, then the connection is gone with much of the body unread: a reset may follow, but the answer was here."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(answer(b"too large", status=413, reason=b"Too Large", headers=[(b"Connection", b"close")]))
        await exchange.close()

    async with Vendor(play, reads_body=False) as vendor, Way(vendor.url) as way:
        for turn in range(20):
            body = Body(10**9)
            body.feed(b"x" * 1000)
            call = call_of("POST", body=body)
            begun = asyncio.create_task(way.begin(call))
            await vendor.wait_for_closed(turn + 1)
            body.feed(b"x" * 256 * 1024)
            got = await way.finish(call, await begun)
            assert (got.status, got.body) == (413, b"too large")
        assert way.counts() == CLOSED
        await until(lambda: not len(way.tasks), "the body's sender to end")


async def test_both_directions_may_stream_at_once() -> None:
    """A vendor that echoes each piece as it comes: the answer begins before the request ends."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked"))
        pieces: asyncio.Queue[bytes] = asyncio.Queue()
        reading = asyncio.create_task(exchange.read_body(seen=pieces.put_nowait))
        for _ in range(3):
            piece = await pieces.get()
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await reading
        await exchange.send(b"0\r\n\r\n")

    async with Vendor(play, reads_body=False) as vendor, Way(vendor.url) as way:
        body = Body(None)
        call = call_of("POST", body=body)
        reply = await way.begin(call)
        for piece in (b"one", b"two", b"three"):
            body.feed(piece)
            assert await reply.body.read() == piece
        body.finish()
        assert await reply.body.read() == b""
        await vendor.wait_for_request()
        call.end(Outcome.SUCCESS)
        assert way.counts() == KEPT


# Request bodies.


async def test_a_streamed_body_of_unknown_length_is_sent_in_chunks_with_its_trailers() -> None:
    """Chunked both directions; the trailers follow the last chunk."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        body = Body(None)
        call = call_of("POST", body=body)
        begun = asyncio.create_task(way.begin(call))
        await vendor.wait_for_head()
        body.feed(b"hel")
        body.feed(b"lo")
        body.trailers.append((b"X-Sum", b"1"))
        body.finish()
        await way.finish(call, await begun)
        request = vendor.requests[0]
        assert request.values("Transfer-Encoding") == [b"chunked"]
        assert (request.body, request.trailers) == (b"hello", [(b"X-Sum", b"1")])
        assert way.counts() == KEPT


async def test_a_body_in_hand_goes_with_its_length() -> None:
    """Also one that came in chunks: what is known is said."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        body = Body(None)
        body.feed(b"hello")
        body.finish()
        await way.ask("POST", body=body)
        assert vendor.requests[0].values("Content-Length") == [b"5"]
        assert vendor.requests[0].values("Transfer-Encoding") == []


@pytest.mark.parametrize(("method", "length"), [("POST", [b"0"]), ("PUT", [b"0"]), ("GET", []), ("DELETE", [])])
async def test_a_post_without_a_body_says_so(method: str, length: list[bytes]) -> None:
    """Some vendors answer 411 to a POST without a length; a GET has none."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        await way.ask(method)
        assert vendor.requests[0].values("Content-Length") == length


async def test_a_body_that_fails_at_the_app_ends_the_exchange() -> None:
    """The vendor sees a request that breaks off, never one that looks whole."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        body = Body(None)
        body.feed(b"hel")
        begun = asyncio.create_task(way.begin(call_of("POST", body=body)))
        await vendor.wait_for_head()
        body.fail(BadRequest("the chunk is malformed"))
        with pytest.raises(BadRequest):
            await begun
        assert (await vendor.wait_for_request()).is_cut_off
        await way.until_counts(*CLOSED)


# What passes of a head.


async def test_headers_keep_their_order_spelling_and_duplicates() -> None:
    """All but what belongs to the connection, and what a vendor may not say in our name."""
    sent = raw(
        "HTTP/1.1 200 Fine, thanks\n"
        "Set-Cookie: a=1\nX-rAtE: 10\nset-cookie: b=2\nX-RATE: 20\nSet-Cookie: a=1\n"
        "Connection: keep-alive, X-Hop\nX-Hop: secret\nKeep-Alive: timeout=5, max=100\nProxy-Authenticate: Basic\n"
        "Upgrade: h2c\nTE: x\nSidecar-Source: cache\nSIDECAR-Error: shed\nX-Request-Id: theirs\nX-Empty:\n"
        "X-Latin: caf\xe9\nContent-Encoding: gzip\nContent-Length: 2\nDate: now",
        b"ok",
    )
    async with Vendor.answering(sent) as vendor, Way(vendor.url) as way:
        got = await way.ask()
        assert got.reason == b"Fine, thanks"
        assert got.headers == [
            (b"Set-Cookie", b"a=1"), (b"X-rAtE", b"10"), (b"set-cookie", b"b=2"), (b"X-RATE", b"20"),
            (b"Set-Cookie", b"a=1"), (b"Sidecar-Upstream-Request-Id", b"theirs"), (b"X-Empty", b""),
            (b"X-Latin", b"caf\xe9"), (b"Content-Encoding", b"gzip"), (b"Content-Length", b"2"), (b"Date", b"now"),
        ]  # fmt: skip


async def test_framing_cannot_be_named_away() -> None:
    """`Connection: content-length` does not take the length off the answer that passes."""
    sent = raw("HTTP/1.1 200 OK\nConnection: content-length, content-type\nContent-Length: 2\nContent-Type: a/b", b"ok")
    async with Vendor.answering(sent) as vendor, Way(vendor.url) as way:
        got = await way.ask()
        assert got.values("Content-Length") == [b"2"]
        assert got.values("Content-Type") == [b"a/b"]


@pytest.mark.parametrize(("value", "seconds"), [
    (b"timeout=5, max=100", 5.0), (b"max=100,timeout = 7", 7.0), (b"timeout=", None), (b"timeout=abc", None),
    (b"timeout=99999999999999999999", 999999999.0), (b"", None), (b"timeout=-1", None), (b"timeout=\xb2", None),
])  # fmt: skip
async def test_a_keep_alive_hint_is_read(value: bytes, seconds: float | None) -> None:
    """And nonsense in it is no hint."""
    async with Vendor.answering(answer(b"ok", headers=[(b"Keep-Alive", value)])) as vendor, Way(vendor.url) as way:
        await way.ask()
        assert way.connections[0].keepalive_hint == seconds


# What is refused.

MALFORMED = [
    b"\r\n\r\n\r\n\x00",
    b"garbage\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 -20 OK\r\n\r\n",
    OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
    OK + b"Content-Length: 2, 3\r\n\r\nokk",
    OK + b"Content-Length: +2\r\n\r\nok",
    OK + b"Content-Length: -2\r\n\r\nok",
    OK + b"Content-Length: 0x2\r\n\r\nok",
    OK + b"Content-Length: 99999999999999999999999\r\n\r\nok",
    OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: gzip\r\n\r\nok",
    OK + b"Transfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    OK + b"X-Canary: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
    OK + b"X-Canary : 1\r\nContent-Length: 0\r\n\r\n",
    OK + b" X-Canary: 1\r\nContent-Length: 0\r\n\r\n",
    OK + b"X-Canary: a\x00b\r\nContent-Length: 0\r\n\r\n",
    OK + b"X-Canary: a\rb: c\r\nContent-Length: 0\r\n\r\n",
    OK + b"X-Canary: a\nX-Two: b\nContent-Length: 0\n\n",
    OK + b"X-Canary: a\x01b\r\nContent-Length: 0\r\n\r\n",
    OK + b"X-Canary: a\x7fb\r\nContent-Length: 0\r\n\r\n",
    OK + b"X-Canary: a\x0bb\r\nContent-Length: 0\r\n\r\n",
    OK + b"X-Canary: \x1b[2J\r\nContent-Length: 0\r\n\r\n",
    OK + b"X\x00Canary: a\r\nContent-Length: 0\r\n\r\n",
    OK + b": a\r\nContent-Length: 0\r\n\r\n",
    OK + b"no colon\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    OK + b"X-Canary: " + b"a" * 140_000 + b"\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 " + b"a" * 140_000,
    OK + b"X-Canary: a\r\n" * 20_000,
    raw("HTTP/1.1 103 Early Hints\nX-Interim: " + "a" * 1000) * 200,
]


@pytest.mark.parametrize("sent", MALFORMED, ids=lambda sent: sent[:50].hex() if len(sent) > 1000 else repr(sent)[2:-1])
async def test_a_malformed_head_is_refused_and_the_connection_closed(sent: bytes) -> None:
    """No guess is made what it might have meant; the vendor closes here, so a parser that waits would show."""
    async with Vendor.cutting(sent, len(sent)) as vendor, Way(vendor.url) as way:
        with pytest.raises(UpstreamProtocol):
            await way.ask()
        await way.until_counts(*CLOSED)


@pytest.mark.parametrize("chunks", [
    b"xyz\r\n", b"-2\r\nok\r\n0\r\n\r\n", b"+2\r\nok\r\n0\r\n\r\n", b"0x2\r\nok\r\n0\r\n\r\n",
    b" 2\r\nok\r\n0\r\n\r\n", b"2\r\nokk\r\n0\r\n\r\n", b"2\nok\n0\n\n", b"2\r\nok0\r\n\r\n",
    b"fffffffffffffffff\r\nok", b"\r\n2\r\nok\r\n0\r\n\r\n",
    b"2\r\nok\r\n0\r\nX-A\x00: b\r\n\r\n", b"2\r\nok\r\n0\r\n" + b"X-Sum: 1\r\n" * 20_000 + b"\r\n",
    b"2;\x00\r\nok\r\n0\r\n\r\n", b"2;a\nb\r\nok\r\n0\r\n\r\n",
])  # fmt: skip
async def test_malformed_chunks_break_the_answer_off(chunks: bytes) -> None:
    """The head has passed, so the body fails; it never ends as if it were whole."""
    sent = raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked") + chunks
    async with Vendor.cutting(sent, len(sent)) as vendor, Way(vendor.url) as way:
        with pytest.raises(UpstreamProtocol):
            await way.ask()
        await way.until_counts(*CLOSED)


@pytest.mark.parametrize("surplus", [
    b"!", b"\r\n", b"more", answer(b"a second answer"), b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"0\r\n\r\n", b"\x00",
    raw("HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: h2c") + b"x",
])  # fmt: skip
@pytest.mark.parametrize("whole", [answer(b"ok"), answer(chunks=[b"ok"]), raw("HTTP/1.1 204 No Content")])
async def test_what_comes_behind_an_answer_is_never_taken_for_the_next(whole: bytes, surplus: bytes) -> None:
    """More than Content-Length, two answers: the first passes, and the connection is not used again."""
    async with Vendor.answering(whole + surplus, answer(b"the next")) as vendor, Way(vendor.url) as way:
        assert (await way.ask()).body == (b"" if b"204" in whole else b"ok")
        assert (await way.ask()).body == b"the next"
        # An empty line may be thrown away (RFC 9112 section 2.2); anything else ends the connection's use.
        assert vendor.connections_opened == 2 or surplus == b"\r\n"


async def test_bytes_while_idle_close_the_connection() -> None:
    """A vendor that speaks without being asked is not listened to."""
    speak = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await exchange.send(answer(b"ok"))
        if exchange.number == 1:
            await speak.wait()
            await exchange.send(answer(b"poison"))

    async with Vendor(play) as vendor, Way(vendor.url) as way:
        await way.ask()
        assert way.counts() == KEPT
        speak.set()
        await way.until_counts(*CLOSED)
        assert (await way.ask()).body == b"ok"


# What breaks off.


@pytest.mark.parametrize("by_reset", [False, True])
@pytest.mark.parametrize("sent", [answer(b"hello"), answer(chunks=[b"he", b"llo"]), raw("HTTP/1.1 200 OK", b"hello")])
async def test_an_answer_cut_off_anywhere_is_never_whole(sent: bytes, by_reset: bool) -> None:
    """Closed or reset after each byte: an error, and never a clean end, except where the close is the end."""
    is_delimited = b"\r\nContent-Length" in sent or b"chunked" in sent
    head_end = sent.index(b"\r\n\r\n") + 4
    position = 0

    async def play(exchange: Exchange) -> None:
        await exchange.send(sent[:position])
        if by_reset:
            exchange.reset()
        else:
            await exchange.close()

    async with Vendor(play) as vendor, Way(vendor.url) as way:
        for position in range(len(sent)):
            if not by_reset and not is_delimited and position >= head_end:
                assert (await way.ask()).body == sent[head_end:position]
            else:
                with pytest.raises(UpstreamReset):
                    await way.ask("POST")
            await way.until_counts(*CLOSED)
    await until(lambda: not len(way.tasks), "the body's sender to end")


async def test_a_body_is_given_as_far_as_it_came() -> None:
    """What arrived before the break reaches the reader first, then the error."""
    async with Vendor.cutting(answer(b"hello"), len(answer(b"hello")) - 2) as vendor, Way(vendor.url) as way:
        call = call_of()
        reply = await way.begin(call)
        assert await reply.body.read() == b"hel"
        with pytest.raises(UpstreamReset, match="in the middle of its answer"):
            await reply.body.read()
        call.end(Outcome.FAILURE)


# Time.


async def test_a_vendor_that_stops_in_the_body_is_given_idle_timeout(clock: ManualClock) -> None:
    """Between two bytes; each byte starts it anew, whatever the call's deadline says."""
    go_on = asyncio.Event()
    sent = answer(b"hello")

    async def play(exchange: Exchange) -> None:
        await exchange.send(sent[:-4])
        await go_on.wait()
        await exchange.send(sent[-4:-2])
        await asyncio.Event().wait()

    async with Vendor(play) as vendor, Way(vendor.url, clock=clock, idle=20.0) as way:
        call = call_of()
        reply = await way.begin(call)
        assert await reply.body.read() == b"h"
        await clock.advance(19.9)
        go_on.set()
        assert await reply.body.read() == b"el"
        await clock.advance(19.9)
        rest = asyncio.create_task(reply.body.read())
        await clock.advance(0.2)
        with pytest.raises(DeadlineExceeded, match="idle_timeout = 20 s"):
            await rest
        call.end(Outcome.FAILURE)
        await way.until_counts(*CLOSED)


async def test_a_slow_app_is_not_the_vendors_fault(clock: ManualClock) -> None:
    """While the app does not read, the vendor is not read either, and its idle time stands still."""
    content = b"x" * 2_000_000
    async with Vendor.answering(answer(content)) as vendor, Way(vendor.url, clock=clock, idle=20.0) as way:
        call = call_of()
        reply = await way.begin(call)
        await until(lambda: reply.body.is_paused)
        await clock.advance(300)
        got = await way.finish(call, reply)
        assert got.body == content
        assert way.counts() == KEPT


async def test_a_connection_left_with_an_unread_body_is_not_lent_again() -> None:
    """All of the body is here but unread, and the socket is paused: the next call would wait for ever."""
    content = b"x" * (256 * 1024 + 1000)
    async with Vendor.answering(answer(content), answer(b"next")) as vendor, Way(vendor.url) as way:
        call = call_of()
        reply = await way.begin(call)
        await until(lambda: reply.body.is_paused and reply.body.is_complete)
        call.end(Outcome.CANCELLED)  # The app hung up.
        assert (await way.ask()).body == b"next"
