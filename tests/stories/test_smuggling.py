"""Requests that two readers would cut differently: none of them reaches the vendor as anything but itself."""

from pathlib import Path

import pytest

from tests.kit.app import App
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

SMUGGLED = b"GET /vendor/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET = b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /vendor/x HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

LENGTHS = [
    b"3\r\nContent-Length: 3", b"3\r\nContent-Length: 4", b"3\r\ncontent-length: 0", b"3, 3", b"3, 4", b"+3", b"-3",
    b"0x3", b"3 3", b"", b"1e1", b"3.0", b"99999999999999999999999", b"18446744073709551616", b"3;a", b"\xd9\xa3",
    b'"3"',
]  # fmt: skip
CODINGS = [
    b"xchunked", b"identity", b"gzip", b"chunked, gzip", b"gzip, chunked", b"chunked, chunked", b"identity, chunked",
    b"chunked\r\nTransfer-Encoding: chunked", b"chunked\r\nTransfer-Encoding: identity",
    b"identity\r\nTransfer-Encoding: chunked", b"gzip\r\nTransfer-Encoding: chunked", b"\x0bchunked", b"\x0cchunked",
    b"chunked\x0b", b"chunked;q=1", b'"chunked"', b"chunked,", b",chunked", b"", b"chunkedx", b"chun ked",
    b"\x00chunked", b"\r\n chunked", b"\n chunked", b"chunk\xc3\xa9d",
]  # fmt: skip
HEADS = {
    "CL+TE": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE+CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "TE+CL in HTTP/1.0": b"POST /vendor/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "TE in HTTP/1.0": b"POST /vendor/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "space before CL's colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "space in a name": GET + b"X Y: z\r\n\r\n",
    "no name": GET + b": z\r\n\r\n",
    "no colon": GET + b"X\r\n\r\n",
    "first field folded": b"GET /vendor/x HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "obs-fold by a space": GET + b"X: a\r\n b\r\n\r\n",
    "obs-fold by a tab": GET + b"X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n",
    "bare LF everywhere": b"GET /vendor/x HTTP/1.1\nHost: localhost\n\n",
    "bare LF after the request line": b"GET /vendor/x HTTP/1.1\nHost: localhost\r\n\r\n",
    "bare LF after a field": GET + b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF at the end": GET + b"X: a\r\n\n",
    "bare CR in a value": GET + b"X: a\rTransfer-Encoding: chunked\r\n\r\n",
    "bare CR after a field": GET + b"X: a\rY: b\r\n\r\n",
    "bare CR at the end": GET + b"X: a\r\n\rX",
    "CR CR LF": GET + b"X: a\r\r\nY: b\r\n\r\n",
    "NUL in a value": GET + b"X: a\x00b\r\n\r\n",
    "NUL in a name": GET + b"X\x00: a\r\n\r\n",
    "NUL in the target": b"GET /vendor/\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "control byte in a value": GET + b"X: a\x08b\r\n\r\n",
    "DEL in a value": GET + b"X: a\x7fb\r\n\r\n",
    "DEL in the target": b"GET /vendor/\x7f HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "high byte in the target": b"GET /vendor/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "high byte in a name": GET + b"X\xe4: a\r\n\r\n",
    "bracket in a name": GET + b"X(a): a\r\n\r\n",
    "slash in a name": GET + b"X/Y: a\r\n\r\n",
    "HTTP/0.9": b"GET /vendor/x\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "HTTP/2.0": b"GET /vendor/x HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "HTTP/0.9 in words": b"GET /vendor/x HTTP/0.9\r\nHost: localhost\r\n\r\n",
    "HTTP/1.2": b"GET /vendor/x HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "HTTP/9.9": b"GET /vendor/x HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "HTTP/11.1": b"GET /vendor/x HTTP/11.1\r\nHost: localhost\r\n\r\n",
    "HTTP/1.10": b"GET /vendor/x HTTP/1.10\r\nHost: localhost\r\n\r\n",
    "HTTP/1.": b"GET /vendor/x HTTP/1.\r\nHost: localhost\r\n\r\n",
    "HTTP/1": b"GET /vendor/x HTTP/1\r\nHost: localhost\r\n\r\n",
    "http in lower case": b"GET /vendor/x http/1.1\r\nHost: localhost\r\n\r\n",
    "another protocol": b"GET /vendor/x SIP/2.0\r\nHost: localhost\r\n\r\n",
    "a version with a tail": b"GET /vendor/x HTTP/1.1x\r\nHost: localhost\r\n\r\n",
    "a method in lower case": b"get /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method in mixed case": b"Get /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method with a NUL": b"GE\x00T /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no method": b" /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space in the target": b"GET /vendor/x y HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a request within": b"GET /vendor/x HTTP/1.1 /y HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tab in the request line": b"GET\t/vendor/x\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space before the method": b" GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space after the version": b"GET /vendor/x HTTP/1.1 \r\nHost: localhost\r\n\r\n",
}  # fmt: skip
CHUNKS = {
    "a negative size": b"-1\r\nabc\r\n0\r\n\r\n",
    "a prefixed size": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a signed size": b"+3\r\nabc\r\n0\r\n\r\n",
    "an overflowing size": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "a much overflowing size": b"F" * 32 + b"\r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "no hex": b"g\r\nabc\r\n0\r\n\r\n",
    "a space before the size": b" 3\r\nabc\r\n0\r\n\r\n",
    "an underscore in the size": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "a size that ends in LF": b"3\nabc\r\n0\r\n\r\n",
    "a size that ends in CR": b"3\rabc\r\n0\r\n\r\n",
    "an extension that ends in LF": b"3;a\nabc\r\n0\r\n\r\n",
    "an extension with a CR": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "an extension with a NUL": b"3;a\x00\r\nabc\r\n0\r\n\r\n",
    "no CRLF after the data": b"3\r\nabc0\r\n\r\n",
    "LF after the data": b"3\r\nabc\n0\r\n\r\n",
    "CR after the data": b"3\r\nabc\r0\r\n\r\n",
    "more data than the size": b"3\r\nabcdef\r\n0\r\n\r\n",
    "a trailer without a colon": b"0\r\nX\r\n\r\n",
    "a folded trailer": b"0\r\nX: a\r\n b\r\n\r\n",
    "a trailer that ends in LF": b"0\r\nX: a\nY: b\r\n\r\n",
    "a trailer with a space before the colon": b"0\r\nX : a\r\n\r\n",
    "a last chunk that ends in LF": b"0\r\n\n",
    "a trailer with a length": b"3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n",
    "a trailer with a coding": b"3\r\nabc\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a trailer with a NUL": b"0\r\nX: \x00\r\n\r\n",
}


HEADS |= {f"CL {length!r}": POST + b"Content-Length: " + length + b"\r\n\r\nabc" for length in LENGTHS}
HEADS |= {f"TE {coding!r}": POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n" for coding in CODINGS}


async def _refused(app: App) -> None:
    """Read one whole 4xx, and then the end."""
    reply = await app.read_answer()
    assert reply.status in {400, 405, 431, 501}, (reply.raw_head, reply.body)
    assert reply.value("Connection") == "close"
    assert reply.value("Sidecar-Source") == "sidecar"
    assert not reply.is_cut_off
    assert await app.read_until_closed() == b"", "a second answer would be to what was smuggled"


@pytest.mark.parametrize("raw", list(HEADS.values()), ids=list(HEADS))
async def test_a_head_that_can_be_read_in_two_ways_is_refused_whole(tmp_path: Path, raw: bytes) -> None:
    """400 and the end of the connection: not one byte of it at the vendor, and the next connection is served."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(raw + SMUGGLED)
            await _refused(app)
        assert vendor.connections_opened == 0
        await _is_served(pod, vendor)


@pytest.mark.parametrize("raw", list(CHUNKS.values()), ids=list(CHUNKS))
@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "after the head"])
async def test_a_body_that_can_be_read_in_two_ways_is_cut_off(tmp_path: Path, raw: bytes, *, is_late: bool) -> None:
    """The vendor gets no whole request of it, and nothing behind it: what streamed already breaks off visibly."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            if is_late:
                await app.send(CHUNKED)
                await vendor.wait_for_head()
                await app.send(raw + SMUGGLED)
            else:
                await app.send(CHUNKED + raw + SMUGGLED)
            await _refused(app)
        await pod.assert_nothing_left()
        for request in list(vendor.requests):
            await vendor.until(lambda request=request: request.is_cut_off, "the break")  # type: ignore[misc]
            assert request.target == b"/x"
            assert request.body in {b"", b"abc"}
        vendor.requests.clear()
        await _is_served(pod, vendor)


async def _is_served(pod: Pod, vendor: Vendor) -> None:
    async with pod.app() as app:
        reply = await app.ask("GET", "/vendor/next")
        assert (reply.status, reply.json()["target"]) == (200, "/next")
    assert [request.target for request in vendor.requests] == [b"/next"]
    await pod.assert_nothing_left()


@pytest.mark.parametrize(
    "junk", [b"GARBAGE\r\n\r\n", b"\x00", b"abc", b"\r\n\r\n\x16\x03", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
)
async def test_junk_behind_a_request_ends_the_connection_after_its_answer(tmp_path: Path, junk: bytes) -> None:
    """The request before it was whole, so it is answered; then 400 and the end."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(POST + b"Content-Length: 3\r\n\r\nabc" + junk + SMUGGLED)
            reply = await app.read_answer()
            assert (reply.status, reply.json()["body"]) == (200, "abc")
            await _refused(app)
        assert [request.target for request in vendor.requests] == [b"/x"]
        await pod.assert_nothing_left()


# What is legal, and must not be mistaken for the above.


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    """A hundred at once, half of them with bodies of both framings; each answer belongs to its request."""
    raw = b""
    for number in range(0, 100, 4):
        raw += b"GET /vendor/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number
        raw += b"POST /vendor/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nGET" % (number + 1)
        raw += b"PUT /vendor/%d HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" % (number + 2)
        raw += b"3\r\nabc\r\n0\r\n\r\n\r\n"  # And one empty line too many, which is legal (RFC 9112 section 2.2).
        raw += b"HEAD /vendor/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % (number + 3)
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(raw)
            for number in range(100):
                reply = await app.read_answer("HEAD" if number % 4 == 3 else "GET")
                assert reply.status == 200
                if number % 4 != 3:
                    assert reply.json()["target"] == f"/{number}"
                    assert reply.json()["body"] == ["", "GET", "abc"][number % 4]
        assert [request.target for request in vendor.requests] == [b"/%d" % number for number in range(100)]
        await pod.assert_nothing_left()


@pytest.mark.parametrize(
    "offer",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n",
        b"Upgrade: TLS/1.2\r\nConnection: upgrade\r\n",
    ],
    ids=["Java", "another order", "TLS"],
)
async def test_an_offer_to_upgrade_is_ignored_and_stripped(tmp_path: Path, offer: bytes) -> None:
    """Java's HttpClient offers h2c with each first request: body, answer and the requests behind it are unharmed."""
    requests = [
        GET + offer + b"\r\n",
        POST + offer + b"Content-Length: 3\r\n\r\nabc",
        POST + offer + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        POST + offer + b"Content-Length: 0\r\n\r\n",
        GET + b"\r\n",
    ]
    bodies = ["", "abc", "abc", "", ""]
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as one_by_one, pod.app() as at_once, pod.app() as byte_by_byte:
            for raw, body in zip(requests, bodies, strict=True):
                await one_by_one.send(raw)
                assert (await one_by_one.read_answer()).json()["body"] == body
            await at_once.send(b"".join(requests))
            await byte_by_byte.send(*(bytes([byte]) for byte in b"".join(requests)))
            for app in (at_once, byte_by_byte):
                assert [(await app.read_answer()).json()["body"] for _ in requests] == bodies
        assert len(vendor.requests) == 15
        for request in vendor.requests:
            assert request.values("Upgrade") + request.values("HTTP2-Settings") + request.values("Connection") == []
        await pod.assert_nothing_left()


async def test_an_upload_that_asks_first_is_told_to_continue(tmp_path: Path) -> None:
    """`Expect: 100-continue`: the body is asked for when the vendor wants it."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        for framing, body in [
            (b"Content-Length: 3", b"abc"),
            (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
        ]:
            await app.send(POST + b"Expect: 100-continue\r\n" + framing + b"\r\n\r\n")
            assert (await app.read_interim()).status == 100
            await app.send(body)
            reply = await app.read_answer()
            assert (reply.status, reply.interim, reply.json()["body"]) == (200, [], "abc")
        await app.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")  # It did not wait.
        assert (await app.read_answer()).json()["body"] == "abc"


async def test_an_upload_that_asks_first_may_be_refused_unsent(tmp_path: Path) -> None:
    """The vendor's refusal comes instead of 100, and the body is never taken for a request."""
    refusal = answer(b"no", status=403, reason=b"Forbidden")
    async with Vendor.answering(refusal) as vendor, Pod(tmp_path, vendor) as pod:
        vendor._reads_body = False
        async with pod.app() as app:
            await app.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            reply = await app.read_answer()
            assert (reply.status, reply.interim, reply.body) == (403, [], b"no")
            assert reply.value("Connection") == "close"
        await pod.assert_nothing_left()


async def test_http_1_0_is_spoken(tmp_path: Path) -> None:
    """It closes unless keep-alive is asked for, may lack Host, and gets no chunks."""
    chunked = answer(chunks=[b"abc", b"def"])
    async with Vendor.answering(chunked) as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            await app.send(b"GET /vendor/x HTTP/1.0\r\n\r\n" + SMUGGLED)
            reply = await app.read_answer()
            assert (reply.status, reply.body, reply.value("Connection")) == (200, b"abcdef", "close")
            assert reply.values("Transfer-Encoding") == []
            assert await app.read_until_closed() == b""
        assert len(vendor.requests) == 1
    small = tmp_path / "small"
    small.mkdir()
    async with Vendor.echoing() as vendor, Pod(small, vendor) as pod:
        async with pod.app() as app:
            for _ in range(2):
                head = b"POST /vendor/x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n"
                await app.send(head + b"Content-Length: 3\r\n\r\nabc")
                reply = await app.read_answer()
                assert (reply.status, reply.json()["body"]) == (200, "abc")
                assert reply.value("Connection") == "keep-alive"
        await pod.assert_nothing_left()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "DELETE", "PATCH", "PUT", "QUERY", "PROPFIND"])
async def test_methods_go_on_as_they_are(tmp_path: Path, method: str) -> None:
    """A method is the vendor's business; the connection stays in step behind each."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        for _ in range(2):
            assert (await app.ask(method, "/vendor/x")).status == 200
        assert [request.method for request in vendor.requests] == [method, method]


async def test_trailers_of_an_upload_go_on(tmp_path: Path) -> None:
    """Trailers reach the vendor, without what belongs to the connection."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        await app.send(
            POST + b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'3;ext="a;b"\r\nabc\r\n3;x\r\ndef\r\n000\r\nX-Sum: 1\r\nConnection: X-Sum\r\nX-Sum: 2\r\n\r\n'
        )  # fmt: skip
        reply = await app.read_answer()
        assert reply.status == 200, reply.body
        assert reply.json()["body"] == "abcdef"
        assert reply.json()["trailers"] == [["X-Sum", "1"], ["X-Sum", "2"]]
        assert (await app.ask("GET", "/vendor/x")).status == 200


@pytest.mark.parametrize(
    "trailer",
    [b"Host: evil.example", b"Authorization: Bearer x", b"Sidecar-Token: x", b"X-Forwarded-For: x"],
)
async def test_a_trailer_smuggles_no_field_that_a_head_may_not_have(tmp_path: Path, trailer: bytes) -> None:
    """What is held back from a head is held back from trailers, which some vendors merge into it."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        await app.send(CHUNKED + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\nX-Sum: 1\r\n\r\n")
        reply = await app.read_answer()
        assert (reply.status, reply.json()["trailers"]) == (200, [["X-Sum", "1"]])


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n" + GET + b"\r\n",
        b"\r\n\r\n\r\n" + GET + b"\r\n",
        b"GET  /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /vendor/x HTTP/1.1\r\nhOST:localhost\r\n\r\n",
        b"GET /vendor/x HTTP/1.1\r\nHost: \t localhost \t \r\n\r\n",
        GET + b"X:\r\nX: \xe4\xf6\r\nX:a\t b\r\n\r\n",
        GET + b"Transfer-Encoding: cHuNkEd\r\n\r\n0\r\n\r\n",
        GET + b"Transfer-Encoding: \t chunked \r\n\r\n0\r\n\r\n",
        GET + b"Content-Length: 00\r\n\r\n",
        GET + b"Content-Length: \t0 \r\n\r\n",
    ],
)
async def test_odd_but_legal_requests_pass(tmp_path: Path, raw: bytes) -> None:
    """They have one reading only; what the vendor gets is written anew, and plain."""
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor) as pod:
        async with pod.app() as app:
            for _ in range(2):
                await app.send(raw)
                reply = await app.read_answer()
                assert (reply.status, reply.json()["target"]) == (200, "/x")
        assert len(vendor.requests) == 2
        await pod.assert_nothing_left()
