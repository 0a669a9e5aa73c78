"""Chunks against the examples in AWS's own documentation.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html
"""

import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.auth.signing.aws_chunks import CHUNK_BYTES, CHUNK_MAX, ChunkSigner, ResignedBody, SignedBody
from sidecar.auth.signing.sigv4 import signing_key
from sidecar.core.body import Body
from sidecar.core.errors import BadRequest
from sidecar.layers.retry.replay import Replay
from tests.layers.calls import read_all

MOMENT = "20130524T000000Z"
SCOPE = "20130524/us-east-1/s3/aws4_request"
KEY = signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SCOPE)  # AWS's example.
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
TRAILER_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
DATA = b"a" * 66560
SIGNATURES = [
    b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
]
TRAILER_SIGNATURES = [
    b"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    b"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    b"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435",
]
PLACEHOLDER = b"0" * 64


def signer(seed: str = SEED) -> ChunkSigner:
    """Make the signer of the example."""
    return ChunkSigner(KEY, MOMENT, SCOPE, seed)


def framed(signatures: list[bytes], trailers: bytes = b"\r\n") -> bytes:
    """Write the example's body with these signatures."""
    first, second, last = signatures[:3]
    return b"".join([
        b"10000;chunk-signature=", first, b"\r\n", DATA[:65536], b"\r\n",
        b"400;chunk-signature=", second, b"\r\n", DATA[65536:], b"\r\n",
        b"0;chunk-signature=", last, b"\r\n", trailers,
    ])  # fmt: skip


def trickling(content: bytes, sizes: list[int] | None = None) -> Body:
    """Make a body whose pieces are cut anywhere."""
    body = Body(len(content))
    at = 0
    for size in sizes or [len(content)]:
        body.feed(content[at : at + size])
        at += size
    body.feed(content[at:])
    body.finish()
    return body


async def test_a_plain_body_is_cut_and_signed_as_in_the_example() -> None:
    """66,560 bytes in chunks of 64 KiB, and its length is known before."""
    body = SignedBody(Body.of(DATA), signer())
    assert body.length == 66824
    content = await read_all(body)
    assert content == framed(SIGNATURES)
    assert body.is_complete


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 7])
async def test_the_length_said_is_the_length_sent(size: int) -> None:
    """S3 counts; the head goes first."""
    content = secrets.token_bytes(size)
    body = SignedBody(trickling(content, [1, 70000]), signer())
    sent = await read_all(body)
    assert len(sent) == body.length
    assert b"".join(re.split(rb"(?:\r\n)?[0-9a-f]+;chunk-signature=[0-9a-f]{64}\r\n", sent)) == content + b"\r\n"


async def test_the_apps_placeholders_are_signed_anew_in_place() -> None:
    """Same chunks, same length; the app's own signatures are nowhere."""
    body = ResignedBody(trickling(framed([PLACEHOLDER] * 3)), signer(), has_trailers=False)
    assert body.length == 66824
    assert await read_all(body) == framed(SIGNATURES)


async def test_trailers_are_signed_as_in_the_example() -> None:
    """A checksum at the end, with the signature over it; not a byte besides moves."""
    trailers = b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:%b\r\n\r\n"
    body = ResignedBody(
        trickling(framed([PLACEHOLDER] * 3, trailers % PLACEHOLDER)), signer(TRAILER_SEED), has_trailers=True
    )
    assert await read_all(body) == framed(TRAILER_SIGNATURES, trailers % TRAILER_SIGNATURES[3])


@given(st.lists(st.integers(min_value=1, max_value=40000), max_size=12))
async def test_where_the_network_cuts_means_nothing(sizes: list[int]) -> None:
    """In heads, data, and between."""
    body = ResignedBody(trickling(framed([PLACEHOLDER] * 3), sizes), signer(), has_trailers=False)
    assert await read_all(body) == framed(SIGNATURES)


async def test_a_second_attempt_is_signed_from_the_first_byte_on() -> None:
    """What the app sent once is kept by retry, and each attempt has a signer of its own."""
    replay = Replay(trickling(DATA, [100, 60000]), 10**6)
    for _ in range(2):
        assert await read_all(SignedBody(replay.fresh(), signer())) == framed(SIGNATURES)


GOOD = b"3;chunk-signature=%b\r\nabc\r\n0;chunk-signature=%b\r\n\r\n" % (PLACEHOLDER, PLACEHOLDER)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        GOOD[:10],
        GOOD.replace(b"abc\r\n", b"abcd\r\n"),
        GOOD.replace(PLACEHOLDER, b"0" * 63),
        GOOD[:-2],
        GOOD + b"more",
        GOOD.replace(b"3;", b"-3;"),
        GOOD.replace(b"3;", b"3;ext=1;"),
        GOOD + b"x-amz-checksum-crc32c:1\r\n",
        b"%x;chunk-signature=%b\r\n" % (CHUNK_MAX + 1, PLACEHOLDER),
        b"x" * 100_000,
    ],
)
async def test_what_is_not_in_chunks_is_refused(content: bytes) -> None:
    """Nothing of it is signed, and no more than a chunk is held."""
    with pytest.raises(BadRequest):
        await read_all(ResignedBody(trickling(content), signer(), has_trailers=False))
    with pytest.raises(BadRequest):
        await read_all(ResignedBody(trickling(content), signer(), has_trailers=True))


async def test_what_the_app_breaks_off_with_is_raised() -> None:
    """After the chunks that were whole."""
    source = Body(100)
    source.feed(GOOD[: GOOD.index(b"0;chunk")])
    source.fail(BadRequest("broken off"))
    body = ResignedBody(source, signer(), has_trailers=False)
    assert b"abc" in await body.read()
    with pytest.raises(BadRequest, match="broken off"):
        await body.read()
    assert not body.is_awaited
