"""Document: the JSON in the first bytes of an answer, within bounds; no document is no news."""

import zlib

import msgspec

from sidecar.core.advice import Advice
from sidecar.core.body import Headers
from sidecar.core.headers import find, find_all, tokens
from sidecar.upstream.hints.doubts import doubt_body

_PLAIN, _SQUEEZED = ((), (b"identity",)), ((b"gzip",), (b"x-gzip",), (b"deflate",))
_AUTO_WBITS = zlib.MAX_WBITS | 32  # gzip or zlib, whichever the first bytes say.


def is_json(headers: Headers) -> bool:
    """Whether the content type is one of JSON: `application/json`, `application/problem+json`, Amazon's own."""
    return b"json" in (find(headers, b"content-type") or b"").partition(b";")[0].lower()


def read_document(headers: Headers, body: bytes, bytes_max: int, advice: Advice) -> object:
    """Give the JSON document; None when the answer is not JSON, is cut off, or is longer than `bytes_max` unpacked.

    The content type decides before the content does: what an edge in front of the vendor writes is not the vendor's.
    """
    if not is_json(headers):
        return None
    coding = tuple(tokens(find_all(headers, b"content-encoding")))
    if coding not in _PLAIN:
        if coding not in _SQUEEZED:
            return None
        try:
            unpacker = zlib.decompressobj(_AUTO_WBITS)
            body = unpacker.decompress(body, bytes_max + 1)
        except zlib.error:
            return None
        if not unpacker.eof:
            return None
    if len(body) > bytes_max:
        return None
    try:
        return msgspec.json.decode(body)
    except ValueError:
        return None
    except RecursionError:
        doubt_body(advice, "the JSON", "it is nested too deeply")
        return None
