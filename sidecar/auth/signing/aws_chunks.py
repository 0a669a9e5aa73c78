"""AWS chunks: bodies that are signed piece by piece while they stream ("aws-chunked").

S3 takes them as STREAMING-AWS4-HMAC-SHA256-PAYLOAD: the head's signature is the seed, and each chunk's covers the
one before. https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
"""

import hashlib
import hmac
import re

from sidecar.core.body import Body
from sidecar.core.errors import BadRequest

CHUNK_BYTES = 64 * 1024  # Of the chunks that we cut; S3 wants 8 KiB at least.
CHUNK_MAX = 2**20 + 2**16  # Bytes of an app's chunk, which is signed anew and so held whole. More: refused.
_LINE_MAX = 256  # Bytes of a chunk's head, 8 KiB of trailers. More is not aws-chunked, and refused.
_TRAILERS_MAX = 8 * 1024
_EMPTY = hashlib.sha256(b"").hexdigest()
_HEAD = re.compile(rb"([0-9a-fA-F]{1,8});chunk-signature=[0-9a-f]{64}\r\n")
_TRAILER_SIGNATURE = re.compile(rb"(x-amz-trailer-signature:[ \t]*)[0-9a-f]{64}\r?\n", re.IGNORECASE)
_FRAME_BYTES = len(b";chunk-signature=") + 64 + len(b"\r\n\r\n")


class ChunkSigner:
    """Signs one body's chunks in their order; `moment` is the head's X-Amz-Date, `scope` its credential scope."""

    __slots__ = ("_key", "_moment", "_scope", "_signature")

    def __init__(self, key: bytes, moment: str, scope: str, seed: str) -> None:
        self._key = key
        self._moment = moment
        self._scope = scope
        self._signature = seed

    def frame(self, data: bytes, size: bytes | None = None) -> bytes:
        """Give a chunk as it is sent, its size written as `size`; an empty one is the last, and goes without its end.

        Trailers may stand between the last chunk's head and the line break that ends the body.
        """
        signature = self._sign("AWS4-HMAC-SHA256-PAYLOAD", f"{_EMPTY}\n{hashlib.sha256(data).hexdigest()}")
        head = b"%b;chunk-signature=%b\r\n" % (size or b"%x" % len(data), signature)
        return head + data + b"\r\n" if data else head

    def trailers(self, fields: bytes) -> bytes:
        """Give the line that signs the trailers; `fields` are their lines, `name:value` and a line feed each."""
        return self._sign("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(fields).hexdigest())

    def _sign(self, kind: str, what: str) -> bytes:
        text = f"{kind}\n{self._moment}\n{self._scope}\n{self._signature}\n{what}"
        self._signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return self._signature.encode()


def signed_length(data_bytes: int) -> int:
    """Say how long a body of `data_bytes` is in chunks of CHUNK_BYTES."""
    whole, rest = divmod(data_bytes, CHUNK_BYTES)
    sizes = [CHUNK_BYTES] * whole + [rest] * (rest > 0)
    return data_bytes + sum(len(b"%x" % size) + _FRAME_BYTES for size in sizes) + len(b"0") + _FRAME_BYTES


class _Chunked(Body):
    """A body read through a signer: each reading gives frames."""

    __slots__ = ("_pending", "_signer", "_source")

    def __init__(self, source: Body, signer: ChunkSigner, length: int | None) -> None:
        super().__init__(length)
        self._source = source
        self._signer = signer
        self._pending = bytearray()

    @property
    def is_awaited(self) -> bool:
        """Whether the app is slow now."""
        return self._source.is_awaited

    def take_all(self) -> bytes | None:
        """Give nothing at once: it streams."""
        return None

    async def _fill(self, size: int) -> None:
        """Have at least `size` bytes pending, or all that come."""
        while len(self._pending) < size and (piece := await self._source.read()):
            self._pending += piece
            self.received_bytes += len(piece)

    def _cut(self, size: int) -> bytes:
        data = bytes(self._pending[:size])
        del self._pending[:size]
        return data


class SignedBody(_Chunked):
    """A plain body of a known length, cut into signed chunks."""

    __slots__ = ()

    def __init__(self, source: Body, signer: ChunkSigner) -> None:
        assert source.length is not None, "S3 wants the length of the data in the head"
        super().__init__(source, signer, signed_length(source.length))

    async def read(self) -> bytes:
        """Give the next chunk; `b""` is the end. Raises what the source fails with."""
        if self.is_complete:
            return b""
        await self._fill(CHUNK_BYTES)
        data = self._cut(CHUNK_BYTES)
        frame = self._signer.frame(data)
        if data:
            return frame
        self.finish()
        return frame + b"\r\n"


class ResignedBody(_Chunked):
    """A body that the app has cut and signed with its placeholder: the same chunks, signed anew, so the same length."""

    __slots__ = ("_has_trailers",)

    def __init__(self, source: Body, signer: ChunkSigner, *, has_trailers: bool) -> None:
        super().__init__(source, signer, source.length)
        self._has_trailers = has_trailers

    async def read(self) -> bytes:
        """Give the next chunk; `b""` is the end. Raises BadRequest for what is not aws-chunked."""
        if self.is_complete:
            return b""
        written = await self._size()
        size = int(written, 16)
        if size > CHUNK_MAX:
            raise BadRequest(f"a chunk of {size} bytes is signed whole; write chunks of at most 1 MiB")
        if size:
            await self._fill(size + 2)
            data = self._cut(size)
            if self._cut(2) != b"\r\n":
                raise _malformed()
            return self._signer.frame(data, written)
        end = await self._end(written)
        self.finish()
        return end

    async def _size(self) -> bytes:
        while b"\n" not in self._pending and len(self._pending) < _LINE_MAX:
            before = len(self._pending)
            await self._fill(before + 1)
            if len(self._pending) == before:
                break
        match = _HEAD.match(bytes(self._pending[:_LINE_MAX]))
        if match is None:
            raise _malformed()
        end = match.end()
        del self._pending[:end]
        return match[1]

    async def _end(self, written: bytes) -> bytes:
        """Give the last chunk, and the trailers with a signature over them; not a byte of theirs moves."""
        await self._fill(_TRAILERS_MAX + 1)
        if len(self._pending) > _TRAILERS_MAX:
            raise _malformed()
        rest = bytes(self._pending)
        last = self._signer.frame(b"", written)
        if not self._has_trailers:
            if rest != b"\r\n":
                raise _malformed()
            return last + rest
        match = _TRAILER_SIGNATURE.search(rest)
        if match is None:
            raise _malformed()
        lines = [line.partition(b":") for line in rest[: match.start()].split(b"\n") if line.strip()]
        fields = b"".join([b"%b:%b\n" % (name.strip().lower(), value.strip()) for name, _, value in lines])
        signed_at = match.end(1)
        return last + rest[:signed_at] + self._signer.trailers(fields) + rest[signed_at + 64 :]


def _malformed() -> BadRequest:
    return BadRequest("the body is not aws-chunked, as its X-Amz-Content-SHA256 says")
