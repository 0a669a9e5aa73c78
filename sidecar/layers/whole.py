"""Whole: a JSON body wholly in hand, of a request or of an answer; it is looked at, and left there for its reader."""

import re
import zlib

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.headers import find, find_all, tokens
from sidecar.layers.idempotency.receiving import receive

# What these say of the body would not be true of another one (RFC 1864, RFC 3230, RFC 9530).
_DIGESTS = frozenset({b"content-md5", b"digest", b"content-digest", b"repr-digest"})
# Nor would these, of an answer that was put together here.
_OF_ITS_BYTES = _DIGESTS | {b"content-length", b"content-encoding", b"content-range", b"etag", b"last-modified"}
_CHARSET = re.compile(rb";[ \t]*charset=\"?([^\";]*)", re.IGNORECASE)
_UTF_8 = frozenset({b"utf-8", b"utf8", b"us-ascii"})
_SQUEEZED = ([b"gzip"], [b"x-gzip"], [b"deflate"])
_AUTO_WBITS = zlib.MAX_WBITS | 32  # gzip or zlib, whichever the first bytes say.
_NO_CONTENT = frozenset({204, 205})


class NotWhole(Exception):
    """The body is not JSON in hand; the sentence says why."""


async def request_json(call: Call, bytes_max: int, clock: Clock, what_for: str, bound: str) -> bytes:
    """Give the request's body once its last byte is in, and leave it there. Raises NotWhole.

    Raises DeadlineExceeded when the app sends it too slowly. `bound` names the key that `bytes_max` is from.
    """
    body = call.body
    if body is NO_BODY:
        raise NotWhole("the request has no body")
    _check_request(call.headers)
    if not await receive(call, bytes_max, clock, f"receiving the request's body, {what_for}"):
        raise NotWhole(f"the request's body is over {bound}, or broke off")
    if body.trailers:
        raise NotWhole("the request's body has trailers, which may tell about its bytes")
    return await body.ahead(bytes_max)


async def answer_json(reply: Reply, bytes_max: int, deadline_at: float, clock: Clock, bound: str) -> bytes:
    """Give the answer's body, unpacked, once its last byte is in, and leave it there as it came. Raises NotWhole."""
    body = reply.body
    if reply.tunnel is not None or reply.status in _NO_CONTENT:
        raise NotWhole("the answer has no body")
    if not _is_json(reply.headers):
        raise NotWhole("the answer is not JSON by its Content-Type")
    coding = tokens(find_all(reply.headers, b"content-encoding"))
    if coding not in ([], [b"identity"], *_SQUEEZED):
        raise NotWhole("the answer is encoded in a way that is not read here")
    if body.length is None or body.length <= bytes_max:
        try:
            async with clock.timeout_at(deadline_at):
                content = await body.ahead(bytes_max + 1)
        except TimeoutError:
            raise NotWhole("the answer's body did not end within the call's time") from None
        if body.is_complete and not body.is_failed and body.received_bytes <= bytes_max:
            return _unpacked(content, bytes_max, bound) if coding in _SQUEEZED else content
    raise NotWhole(f"the answer's body is over {bound}, or broke off")


def remade(reply: Reply, content: bytes) -> Reply:
    """Give an answer like `reply` with another body: without what was said of the bytes of its own."""
    headers = [field for field in reply.headers if field[0].lower() not in _OF_ITS_BYTES]
    body = Body.of(content)
    body.length = None  # No field of the head tells it, so whoever writes the head does.
    made = Reply(reply.status, reply.reason, headers, body, reply.source)
    made.has_urls = reply.has_urls
    return made


def asking_plainly(headers: Headers) -> Headers:
    """Give the fields of a request whose answer is to be read here: a new list."""
    return [
        *(field for field in headers if field[0].lower() != b"accept-encoding"),
        (b"Accept-Encoding", b"identity"),
    ]


def _check_request(headers: Headers) -> None:
    """Raise NotWhole when the head says that the body is not plain JSON, or tells about its bytes."""
    if not _is_json(headers):
        raise NotWhole("the request's body is not JSON by its Content-Type")
    if any(value.strip().lower() != b"identity" for value in find_all(headers, b"content-encoding")):
        raise NotWhole("the request's body is encoded")
    if any(field[0].lower() in _DIGESTS for field in headers):
        raise NotWhole("the request carries a digest of its body")


def _is_json(headers: Headers) -> bool:
    """Whether the media type is one of JSON, in UTF-8; where there is none, the content has to tell."""
    kind = find(headers, b"content-type")
    if kind is None:
        return True
    media = kind.partition(b";")[0].strip().lower()
    charset = _CHARSET.search(kind)
    return media.endswith((b"/json", b"+json")) and (charset is None or charset[1].strip().lower() in _UTF_8)


def _unpacked(content: bytes, bytes_max: int, bound: str) -> bytes:
    unpacker = zlib.decompressobj(_AUTO_WBITS)
    try:
        plain = unpacker.decompress(content, bytes_max + 1)
    except zlib.error:
        raise NotWhole("the answer cannot be unpacked") from None
    if len(plain) > bytes_max:
        raise NotWhole(f"the answer's body, unpacked, is over {bound}")
    if not unpacker.eof or unpacker.unused_data:
        raise NotWhole("the answer cannot be unpacked")
    return plain
