"""Stream origin: a TLS server that sends and takes bodies of any length, with back-pressure; for `streaming.py`.

GET /length/BYTES    a body with Content-Length
GET /chunked/BYTES   a chunked body
PUT, POST            takes the body, and answers how many bytes it had

python -m bench.stream_origin PORT CERT_FILE KEY_FILE
"""

import argparse
import asyncio
import ssl
from collections.abc import Iterator

import httptools
import uvloop

PIECE = bytes(64 * 1024)
_CHUNK = b"%x\r\n%b\r\n"
_READ = memoryview(bytearray(256 * 1024))  # One buffer for all connections: each read is consumed before the next.


class StreamOrigin(asyncio.BufferedProtocol):
    """One connection; one exchange at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._url = b""
        self._received_bytes = 0
        self._is_paused = False

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's has no base in common with asyncio's.

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Lend the shared buffer."""
        return _READ

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was read."""
        self._parser.feed_data(_READ[:nbytes])

    def pause_writing(self) -> None:
        """Wait: the other side does not read."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on with the answer."""
        self._is_paused = False
        self._send()

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._received_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Keep the target."""
        self._url += url

    def on_body(self, piece: bytes) -> None:
        """Count what came in."""
        self._received_bytes += len(piece)

    def on_message_complete(self) -> None:
        """Answer."""
        if self._parser.get_method() == b"GET":
            kind, _, length = self._url.strip(b"/").partition(b"/")
            self._pieces = _chunked(int(length)) if kind == b"chunked" else _with_length(int(length))
        else:
            self._pieces = iter([b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n%16d" % self._received_bytes])
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        while not self._is_paused and (piece := next(self._pieces, None)) is not None:
            self._transport.write(piece)


def _with_length(length: int) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % length
    for _ in range(length // len(PIECE)):
        yield PIECE
    yield PIECE[: length % len(PIECE)]


def _chunked(length: int) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole, rest = divmod(length, len(PIECE))
    chunk = _CHUNK % (len(PIECE), PIECE)
    for _ in range(whole):
        yield chunk
    if rest:
        yield _CHUNK % (rest, PIECE[:rest])
    yield b"0\r\n\r\n"


async def serve(port: int, cert_file: str, key_file: str) -> None:
    """Serve until cancelled."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_file, key_file)
    server = await asyncio.get_running_loop().create_server(StreamOrigin, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A TLS origin for bodies of any length.")
    parser.add_argument("port", type=int)
    parser.add_argument("cert_file")
    parser.add_argument("key_file")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arguments.port, arguments.cert_file, arguments.key_file))


if __name__ == "__main__":
    main()
