"""Reader: reads the app's requests off one connection, one after the other (RFC 9112).

Parsing is httptools' (llhttp, strict): it refuses the shapes that requests are smuggled in. This file owns the bounds,
and what a parser cannot know: which upgrade offers are taken, and which are ignored.
"""

from collections.abc import Callable
from typing import NoReturn

import httptools

from sidecar.core.body import Body
from sidecar.core.errors import BadRequest, HeadersTooLarge, InternalError, SidecarError
from sidecar.core.headers import may_trail, tokens
from sidecar.downstream.request import DROPPED, OURS, Request

# Bytes between two pieces of a body, or behind the last: chunk extensions and trailers. Over it: 431, and the
# connection is closed. The parser keeps a trailer until it is whole, so what has no end must be stopped here.
BETWEEN_MAX = 64 * 1024


class RequestReader:
    """Turns bytes into requests; each is handed over with its head, and its body follows."""

    __slots__ = (
        "_between_bytes", "_bytes_before", "_foreign_bytes", "_hand_over", "_head_max", "_is_moving", "_is_priming",
        "_parser", "_pause", "_read_bytes", "_refusal", "_resume", "head_begun", "request", "state",
    )  # fmt: skip

    def __init__(
        self,
        head_max: int,
        hand_over: Callable[[Request], None],
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self._head_max = head_max
        self._hand_over = hand_over
        self._pause = pause
        self._resume = resume
        self._parser = httptools.HttpRequestParser(self)
        self._is_priming = False  # The parser is being primed with framing that was read already.
        self._refusal: SidecarError | None = None
        self._bytes_before = 0  # In the reads before this one, from the one in which the head began.
        self._foreign_bytes = 0  # How many of these may be of the request before.
        self._read_bytes = 0  # In this read.
        self._between_bytes = 0  # In the reads since one brought a piece of the body.
        self._is_moving = False  # This read did, or brought the end of a head.
        self.state = "idle"  # What is being read: idle, head or body.
        self.head_begun = False  # A head began in this read; whoever keeps the time clears it.
        self.request: Request | None = None  # The one whose bytes are coming in.

    def feed(self, data: memoryview | bytes) -> bytes | None:
        """Read on; gives None, or after an upgrade the bytes that are not HTTP. Raises SidecarError: read no more."""
        # A loop and no recursion: one read may hold a thousand requests, each with an offer.
        while (rest := self._parse(data)) is not None:
            request = self.request
            assert request is not None
            if request.upgrades_to is not None or request.method == "CONNECT":
                self._ended(request)
                return bytes(rest)
            self._ignore_offer(request)
            if not len(rest):
                return None
            data = rest
        self._bound(len(data))
        return None

    def _parse(self, data: memoryview | bytes) -> memoryview | bytes | None:
        """Parse up to the end of `data`, or of a request that offers an upgrade: then what is behind it is given."""
        if self.state == "idle":
            self._begin_head(0)
        self._read_bytes = len(data)
        self._is_moving = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError:
            raise self._refusal or InternalError("a fault of the sidecar's in reading the request") from None
        except httptools.HttpParserError as error:
            # The parser's sentences are fixed texts, never bytes of the request.
            raise BadRequest(f"the request is malformed: {error}") from None
        return None

    def _bound(self, size: int) -> None:
        """Count what was read without an end of it in sight."""
        if self.state == "head":
            self._bytes_before += size
            if self._bytes_before - self._foreign_bytes > self._head_max:
                raise _head_too_large(self._head_max)
        elif self.state == "body":
            self._between_bytes = 0 if self._is_moving else self._between_bytes + size
            if self._between_bytes > BETWEEN_MAX:
                raise HeadersTooLarge(f"the trailers, or an extension of a chunk, are over {BETWEEN_MAX // 1024} KiB")

    def give_up(self) -> Request:
        """Stop in the middle; gives the request whose bytes were coming in, or an empty one."""
        request, self.request = self.request, None
        return request or Request()

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Start a request."""
        if not self._is_priming:
            self.request = Request()
            self._begin_head(self._read_bytes)

    def on_url(self, url: bytes) -> None:
        """Keep the target; a long one comes in pieces."""
        if self.request is not None and not self._is_priming:
            self.request.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the head or of the trailers."""
        request = self.request
        if request is None or self._is_priming:
            return
        if self.state == "head":
            request.headers.append((name, value))
        elif may_trail(name, OURS, DROPPED):
            request.body.trailers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand the request over; its body follows."""
        request = self.request
        if request is None or self._is_priming:
            return
        self._judge(request)
        self._is_moving = True
        self.state = "body"
        self._hand_over(request)

    def on_body(self, data: bytes) -> None:
        """Pass on a piece of the body."""
        self._is_moving = True
        if self.request is not None:
            self.request.body.feed(data)

    def on_message_complete(self) -> None:
        """End the request, unless it offered an upgrade: then HttpParserUpgrade follows."""
        if self.request is not None and not self._parser.should_upgrade():
            self._ended(self.request)

    # What they share.

    def _begin_head(self, foreign_bytes: int) -> None:
        if self.state != "head":
            self.state = "head"
            self.head_begun = True
            self._bytes_before = 0
            self._foreign_bytes = foreign_bytes
            self._between_bytes = 0

    def _ended(self, request: Request) -> None:
        self.request = None
        self.state = "idle"
        request.body.finish()

    def _judge(self, request: Request) -> None:
        """Read version and framing (section 6.3); the parser has refused what is ambiguous."""
        parser = self._parser
        version = parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._refuse(BadRequest(f"HTTP/{version} is not spoken here; HTTP/1.1 is"))
        if self._bytes_before + self._read_bytes > self._head_max:
            size = len(request.url) + sum(len(name) + len(value) + 4 for name, value in request.headers)
            if size > self._head_max:
                self._refuse(_head_too_large(self._head_max))
        request.is_http_1_0 = version == "1.0"
        request.method = parser.get_method().decode()
        request.may_keep_alive = parser.should_keep_alive()
        request.sort()
        coding = request.ours.get(b"transfer-encoding")
        length = request.ours.get(b"content-length")
        if coding is not None:
            if coding[0].strip().lower() != b"chunked" or request.is_http_1_0:
                self._refuse(BadRequest("the only Transfer-Encoding spoken here is chunked, in HTTP/1.1"))
            request.body = Body(None, self._pause, self._resume)
        elif length is not None:
            request.body = Body(int(length[0]), self._pause, self._resume)
        if parser.should_upgrade():
            _judge_upgrade(request)

    def _ignore_offer(self, request: Request) -> None:
        """Go on after an offer that is not taken: the parser would read no body, so a fresh one takes over.

        It is primed with the framing alone.
        """
        self._parser = httptools.HttpRequestParser(self)
        length = request.body.length
        if length == 0:
            self._ended(request)
            return
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        self._is_priming = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
        self._is_priming = False

    def _refuse(self, error: SidecarError) -> NoReturn:
        """Leave a parser's callback: the parser swallows what a callback raises, so the reason is put aside."""
        self._refusal = error
        raise error


def _judge_upgrade(request: Request) -> None:
    """Take a WebSocket's offer; CONNECT ends the connection; other offers are ignored (`h2c` from Java)."""
    if request.method == "CONNECT":
        request.may_keep_alive = False
    elif tokens(request.ours.get(b"upgrade", [])) == [b"websocket"] and request.body.length == 0:
        request.upgrades_to = b"websocket"
    else:
        request.may_keep_alive = b"close" not in tokens(request.ours.get(b"connection", []))


def _head_too_large(limit: int) -> HeadersTooLarge:
    return HeadersTooLarge(f"the request's head is over {limit // 1024} KiB")
