"""Record: what is stored of a call with a key of the app's, and under which name.

First a claim, then that the vendor answered, then the answer. The name is a hash, so neither the app's key nor anything
else of the call stands in it; of the request's body there is a hash alone. What the sidecar puts on the call for the
vendor, credentials above all, is put on further in, and in none of it.
"""

import hashlib

import msgspec

from sidecar.core.body import Body, Headers
from sidecar.core.call import Call, Reply

_REPLAYED = b"idempotency-replayed"


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """A whole answer, as it came out of the layers further in."""

    reason: bytes
    headers: Headers
    content: bytes
    length: int | None  # None: no field of the head tells it.
    trailers: Headers
    has_urls: bool

    def __repr__(self) -> str:
        return f"Answer(*** {len(self.content)} bytes)"


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """How far a call came."""

    payload: bytes  # SHA-256 of the request's body.
    status: int = 0  # Of the vendor's answer; 0: there is none yet.
    answer: Answer | None = None  # None beside a status: it is on its way still, or it could not be kept.

    def __repr__(self) -> str:
        return f"Entry(status={self.status}, answer={self.answer!r})"


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Entry).decode


def name_of(call: Call, key: bytes, credentials: Headers) -> str:
    """Name the record of a call: the same for the same service, method, path and query, app and key.

    `credentials` are those of the app's own that go on to the vendor: what one user was told is not for another.
    """
    # As one encoded list, not joined: no part can look like the end of another.
    parts = (call.service, call.method, call.target, call.app, key, credentials)
    return "idempotency:" + hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()


def answered(payload: bytes, reply: Reply, content: bytes = b"") -> Entry:
    """Make the entry of a call whose answer is kept."""
    body = reply.body
    # A copy: the layers further out have fields of their own for each app's answer.
    kept = Answer(reply.reason, list(reply.headers), content, body.length, body.trailers, reply.has_urls)
    return Entry(payload, reply.status, kept)


def completed(entry: Entry, body: Body, content: bytes) -> Entry:
    """Put the body into the entry of an answer whose head was all there was of it."""
    assert entry.answer is not None, "it has a head"
    kept = msgspec.structs.replace(entry.answer, content=content, trailers=body.trailers)
    return msgspec.structs.replace(entry, answer=kept)


def repeated(status: int, answer: Answer) -> Reply:
    """Give the answer once more, and have it say so."""
    body = Body.of(answer.content)
    body.length = answer.length
    body.trailers = list(answer.trailers)
    # A vendor that knows keys may have said the same of its own.
    headers = [field for field in answer.headers if field[0].lower() != _REPLAYED]
    reply = Reply(status, answer.reason, [*headers, (b"Idempotency-Replayed", b"true")], body, "cache")
    reply.has_urls = answer.has_urls
    return reply
