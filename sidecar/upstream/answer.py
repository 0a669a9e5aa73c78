"""Answer: reads what a vendor sends, one answer after the other (RFC 9112), and says what it means for the connection.

Parsing is httptools' (llhttp, strict). This file owns what a parser cannot know: which answer belongs to a request,
what of its head is the connection's own, and whether the connection may carry another exchange afterwards.
"""

import asyncio
import re
from collections.abc import Callable
from typing import NoReturn

import httptools

from sidecar.core.body import Body, Headers
from sidecar.core.call import Reply
from sidecar.core.errors import InternalError, SidecarError, UpstreamProtocol
from sidecar.core.headers import HOP_BY_HOP, NOTICES, find_all, keepalive_seconds, may_trail, tokens

HEAD_MAX = 64 * 1024  # Bytes of an answer's head, 1xx answers included, to within one read. Over it: upstream_protocol.
# Bytes of trailers, and of what comes between two pieces of a body, to within one read: extensions of chunks, a trailer
# that has no end yet, which the parser keeps. Over it: upstream_protocol.
TRAILERS_MAX = 64 * 1024

_URLS = frozenset({b"location", b"content-location", b"link"})
_SPECIAL = HOP_BY_HOP | _URLS | {b"content-length", b"x-request-id"}
_LOOKED_AT = _SPECIAL | NOTICES
_OURS = (b"sidecar-",)  # Ours to say; a vendor cannot speak in our name.
_NOT_NAMED = frozenset({b"close", b"keep-alive", b"upgrade", b"content-length", b"content-type", b"transfer-encoding"})
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # RFC 9112 section 4; the parser lets everything through.
_FINAL_FROM = 200  # RFC 9110 section 15.2: below it an answer is informational.
_CONTINUE, _SWITCHING, _BODILESS, _STATUS_MAX = 100, 101, (204, 304), 999


class AnswerReader:
    """Reads the answers of one connection; `begin` for each request, `feed` for each read."""

    __slots__ = (
        "_between_bytes", "_bytes_before_head", "_has_notice", "_has_urls", "_headers", "_is_chunked",
        "_is_head_request", "_is_informational", "_is_moving", "_is_used_up", "_loop", "_notable", "_parser",
        "_pause", "_reason", "_refusal", "_resume", "_trailer_bytes", "body", "go_ahead", "head", "is_done",
        "is_keepable", "is_switched", "is_upgrade_asked", "keepalive_hint", "received_bytes",
    )  # fmt: skip

    def __init__(
        self, pause: Callable[[], None], resume: Callable[[], None], notable: frozenset[bytes] = frozenset()
    ) -> None:
        self._loop = asyncio.get_running_loop()  # Kept: asking for it costs a system call on Python 3.11.
        self._pause = pause
        self._resume = resume
        self._notable = notable  # Lower-case names of fields that are put aside for whoever reads hints.
        self._parser = httptools.HttpResponseParser(self)
        self._is_used_up = False  # The parser waits for a body that will not come.
        self.keepalive_hint: float | None = None  # Seconds, from the vendor's Keep-Alive field.
        self._reset()

    def _reset(self) -> None:
        self.head: asyncio.Future[Reply] | None = None  # Of the answer's head; None between exchanges.
        self.body: Body | None = None  # From the head on.
        self.go_ahead: asyncio.Future[None] | None = None  # Done by 100 Continue, or by the final answer.
        self.received_bytes = 0
        self.is_done = False  # The whole answer is read.
        self.is_keepable = True  # Nothing irregular was seen, and the vendor keeps the connection.
        self.is_switched = False  # 101 came: the bytes are not HTTP any more.
        self.is_upgrade_asked = False
        self._is_head_request = False
        self._is_informational = False
        self._is_chunked = False
        self._has_urls = self._has_notice = False
        self._headers: Headers = []
        self._reason = b""
        self._refusal: SidecarError | None = None
        self._bytes_before_head = 0
        self._between_bytes = 0  # In the reads since one brought a piece of the body.
        self._is_moving = False  # This read did.
        self._trailer_bytes = 0

    def begin(self, *, is_head_request: bool, is_upgrade_asked: bool) -> "asyncio.Future[Reply]":
        """Expect an answer; gives the future of its head."""
        assert self.head is None, "one exchange at a time"
        if self._is_used_up:
            self._parser = httptools.HttpResponseParser(self)
            self._is_used_up = False
        self._is_head_request = is_head_request
        self.is_upgrade_asked = is_upgrade_asked
        self.head = self._loop.create_future()
        return self.head

    def end(self) -> None:
        """Forget the exchange, whatever state it is in."""
        head = self.head
        if head is not None and not head.cancel() and not head.cancelled():
            head.exception()  # Whoever waited is gone; the error is not lost but without a reader.
        self._reset()

    def feed(self, data: memoryview) -> bytes | None:
        """Read on; gives None, or once the bytes behind a 101, which are not HTTP.

        Raises SidecarError when the exchange is broken.
        """
        self.received_bytes += len(data)
        is_before_head = self.body is None
        rest: bytes | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = self._switched(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserCallbackError:
            raise self._refusal or InternalError("a fault of the sidecar's in reading the vendor's answer") from None
        except httptools.HttpParserError as error:
            if not self.is_done:
                raise UpstreamProtocol(f"the vendor's answer is malformed: {error}") from None
            self.is_keepable = False  # The answer was whole; what came behind it is not for us.
        if is_before_head and self.body is None:
            self._bytes_before_head += len(data)
            if self._bytes_before_head > HEAD_MAX:
                raise _too_large("head", HEAD_MAX)
        elif self._is_moving:
            self._is_moving = False
            self._between_bytes = 0
        elif not self.is_done and not is_before_head:
            self._between_bytes += len(data)
            if self._between_bytes > TRAILERS_MAX:
                raise _too_large("trailer section, or an extension of a chunk,", TRAILERS_MAX)
        return rest

    def end_of_stream(self) -> None:
        """Take the end of the stream as the end of the body, where nothing else delimits it."""
        body = self.body
        if body is not None and not self.is_done and body.length is None and not self._is_chunked:
            self._complete()

    def fail(self, error: SidecarError) -> None:
        """End the exchange with `error`: whoever waits for the head, or reads the body, gets it."""
        self.is_keepable = False
        if self.head is not None and not self.head.done():
            self.head.set_exception(error)
        elif self.body is not None:
            self.body.fail(error)

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Start an answer; one behind the final answer is surplus and ends the connection's use."""
        if self.is_done:
            self.is_keepable = False

    def on_status(self, reason: bytes) -> None:
        """Keep the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the head or of the trailers."""
        body = self.body
        if body is None:
            self._headers.append((name, value))
            return
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > TRAILERS_MAX:
            self._refuse(_too_large("trailer section", TRAILERS_MAX))
        if not self.is_done and may_trail(name, _SPECIAL, _OURS):
            body.trailers.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the head, and hand the answer over."""
        if self.is_done:
            return
        parser = self._parser
        status = parser.get_status_code()
        if status < _FINAL_FROM:
            self._inform(status)
            return
        version = parser.get_http_version()
        if version not in {"1.1", "1.0"} or status > _STATUS_MAX:
            self._refuse(UpstreamProtocol(f"the vendor answered with HTTP/{version} and status {status}"))
        if self._reason != b"OK" and not _REASON.fullmatch(self._reason):
            self._refuse(UpstreamProtocol("the reason phrase of the vendor's answer holds control characters"))
        notable: Headers = []
        headers, length = self._clean(notable, is_http_1_0=version == "1.0")
        self.is_keepable = parser.should_keep_alive()
        has_no_body = self._is_head_request or status in _BODILESS
        if self._is_head_request:
            # The parser waits for the body that an answer to HEAD does not have, so it is not asked again; nor can it
            # tell whether an empty chunked body follows in this read, so such a connection is not kept.
            self._is_used_up = True
            is_closing = b"close" in tokens(find_all(self._headers, b"connection"))
            self.is_keepable = version == "1.1" and not self._is_chunked and not is_closing
        self.body = Body(0 if has_no_body else length, self._pause, self._resume)
        reply = Reply(status, self._reason, headers, self.body)
        reply.has_urls = self._has_urls
        reply.has_notice = self._has_notice
        if notable:
            reply.notable = notable
        self._deliver(reply)
        if has_no_body:
            self._complete()

    def on_body(self, data: bytes) -> None:
        """Pass on a piece of the body."""
        if self.is_done:
            self.is_keepable = False
        elif self.body is not None:
            self._is_moving = True
            self.body.feed(data)

    def on_message_complete(self) -> None:
        """End a 1xx answer, or the answer."""
        if self._is_informational:
            self._is_informational = False
            self._headers = []
            self._reason = b""
        elif not self.is_done and self.body is not None:
            self._complete()

    # What they share.

    def _complete(self) -> None:
        self.is_done = True
        assert self.body is not None
        self.body.finish()

    def _deliver(self, reply: Reply) -> None:
        if self.go_ahead is not None and not self.go_ahead.done():
            self.go_ahead.set_result(None)
        if self.head is not None and not self.head.done():
            self.head.set_result(reply)

    def _inform(self, status: int) -> None:
        """Take a 1xx answer: 100 lets the body go, 101 switches protocols, others are dropped."""
        if status == _SWITCHING:
            if not self.is_upgrade_asked:
                self._refuse(UpstreamProtocol("the vendor switched protocols without being asked"))
            return
        if status < _CONTINUE:
            self._refuse(UpstreamProtocol(f"the vendor answered with status {status}"))
        self._is_informational = True
        if status == _CONTINUE and self.go_ahead is not None and not self.go_ahead.done():
            self.go_ahead.set_result(None)

    def _switched(self, rest: bytes) -> bytes:
        """Turn into a tunnel: what is fed from now on is not HTTP."""
        self.is_keepable = False
        self.is_done = True
        self.is_switched = True
        self.body = Body(None, self._pause, self._resume)
        return rest

    def switching_reply(self) -> Reply:
        """Give the 101 as the vendor sent it."""
        return Reply(_SWITCHING, self._reason, self._headers, Body.of(b""))

    def _refuse(self, error: SidecarError) -> NoReturn:
        """Leave a parser's callback: the parser swallows what a callback raises, so the reason is put aside."""
        self._refusal = error
        raise error

    def _clean(self, notable: Headers, *, is_http_1_0: bool) -> tuple[Headers, int | None]:
        """Take out what belongs to this connection, and read the framing (RFC 9112 section 6.3)."""
        kept: Headers = []
        wanted = self._notable
        length: int | None = None
        named: list[bytes] = []
        for field in self._headers:
            key = field[0].lower()
            if key not in _LOOKED_AT:
                if not key.startswith(_OURS):
                    kept.append(field)
                    if key in wanted:
                        notable.append((key, field[1]))
            elif key == b"content-length":
                length = int(field[1])
                kept.append(field)
            elif key in _URLS:
                self._has_urls = True
                kept.append(field)
            elif key in NOTICES:
                self._has_notice = True
                kept.append(field)
            elif key == b"x-request-id":
                # The app gets ours under this name; the vendor's is what its support will ask for.
                kept.append((b"Sidecar-Upstream-Request-Id", field[1]))
            elif key == b"transfer-encoding":
                if field[1].strip().lower() != b"chunked" or is_http_1_0 or self._is_chunked:
                    self._refuse(UpstreamProtocol("the vendor's Transfer-Encoding is not chunked, in HTTP/1.1"))
                self._is_chunked = True
            elif key == b"connection":
                named.append(field[1])
            elif key == b"keep-alive":
                self.keepalive_hint = keepalive_seconds(field[1])
        if named and (drop := frozenset(tokens(named)) - _NOT_NAMED):
            kept = [field for field in kept if field[0].lower() not in drop]
            notable[:] = [field for field in notable if field[0] not in drop]
        return kept, length


def _too_large(what: str, limit: int) -> UpstreamProtocol:
    return UpstreamProtocol(
        f"the {what} of the vendor's answer is over {limit // 1024} KiB",
        proxy_error="http_response_header_section_size",
    )
