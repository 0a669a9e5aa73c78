"""Rewrite: absolute URLs in answers lead back to the sidecar, so that an SDK which follows them does not walk past it.

`Location`, `Content-Location` and `Link` that point into the vendor's base URL are rewritten to the address by which
the app called; with `rewrite_urls = "body"` also the URLs in JSON bodies. Redirects are passed on, never followed.
"""

import re

from sidecar.core.body import Body, Headers
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.headers import find

_URLS = frozenset({b"location", b"content-location"})
_BODY_DIGESTS = frozenset({b"content-length", b"content-md5", b"content-digest", b"digest"})
_LINK_TARGET = re.compile(rb"<([^<>]*)>")


class Rewriter:
    """Recognises URLs under one base URL, and moves them under another address."""

    def __init__(self, root: bytes, base_path: bytes, default_port: int) -> None:
        scheme, _, authority = root.partition(b"://")
        host = re.escape(authority)
        if not re.search(rb":\d+$", authority):
            host += rb"(?::%d)?" % default_port
        absolute = rb"(?i:(?:%b:)?//%b)" % (re.escape(scheme), host)
        self._url = re.compile(rb"(?:%b|(?=/(?!/)))%b(?=[/?#]|$)" % (absolute, re.escape(base_path)))
        # In JSON only absolute URLs are sure to be URLs; a slash may be written \/ there.
        in_json = re.escape(root + base_path).replace(rb"/", rb"\\?/")
        if not re.search(rb":\d+$", root):
            in_json = re.escape(root).replace(rb"/", rb"\\?/") + rb"(?::%d)?" % default_port
            in_json += re.escape(base_path).replace(rb"/", rb"\\?/")
        # A quote behind a backslash stands inside of a string: a URL in a sentence is no link.
        self._in_json = re.compile(rb'(?<!\\)"%b(?=\\?/|[?#"])' % in_json)
        self.tail_max = 2 * len(root + base_path) + 16  # The longest match, and the two bytes behind it.

    def url(self, value: bytes, address: bytes) -> bytes:
        """Move one URL or absolute path; anything else comes back as it is."""
        return self._url.sub(lambda _: address, value, count=1) if self._url.match(value) else value

    def link(self, value: bytes, address: bytes) -> bytes:
        """Move the targets in a Link field (RFC 8288)."""
        return _LINK_TARGET.sub(lambda match: b"<" + self.url(match[1], address) + b">", value)

    def headers(self, headers: Headers, address: bytes) -> Headers:
        """Move what stands in the fields that hold URLs."""
        moved: Headers = []
        for name, value in headers:
            key = name.lower()
            if key in _URLS:
                moved.append((name, self.url(value, address)))
            elif key == b"link":
                moved.append((name, self.link(value, address)))
            else:
                moved.append((name, value))
        return moved

    def json(self, text: bytes, address: bytes, *, is_end: bool) -> tuple[bytes, bytes]:
        """Move the URLs in a piece of JSON; give what is settled, and the rest to put before the next piece."""
        cut = len(text)
        if not is_end:
            # A URL begins with a quote, so the first quote in reach of the end is where one may be cut in two.
            quote = text.find(b'"', max(0, len(text) - self.tail_max))
            cut = quote if quote != -1 else cut
            if text[:cut].endswith(b"\\"):  # It says what the quote behind it is, so the two stay together.
                cut -= 1
        settled = []
        at = 0
        for match in self._in_json.finditer(text):
            if match.start() >= cut:
                break
            settled += [text[at : match.start()], b'"', address]
            at = match.end()
        settled.append(text[at:cut])
        return b"".join(settled), text[cut:]


class RewrittenBody(Body):
    """A JSON body whose URLs are moved on the way; read from the vendor's body as the app reads it."""

    __slots__ = ("_address", "_inner", "_rest", "_rewriter")

    def __init__(self, inner: Body, rewriter: Rewriter, address: bytes) -> None:
        super().__init__(None)
        self._inner = inner
        self._rewriter = rewriter
        self._address = address
        self._rest = b""

    def take_all(self) -> bytes | None:
        """Give the whole of it if the vendor's last byte is in."""
        content = self._inner.take_all()
        if content is None:
            return None
        text, self._rest = self._rest + content, b""
        return self._end(text)

    async def read(self) -> bytes:
        """Give the next bytes that are settled."""
        while not self.is_complete:
            piece = await self._inner.read()
            if not piece:
                text, self._rest = self._rest, b""
                return self._end(text)
            settled, self._rest = self._rewriter.json(self._rest + piece, self._address, is_end=False)
            if settled:
                return settled
        return b""

    def _end(self, text: bytes) -> bytes:
        self.is_complete = True
        self.trailers = self._inner.trailers
        return self._rewriter.json(text, self._address, is_end=True)[0]


def _is_json(headers: Headers) -> bool:
    """Whether the body is JSON as such: not compressed, of a JSON media type."""
    kind = (find(headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    coding = (find(headers, b"content-encoding") or b"identity").strip().lower()
    return (kind == b"application/json" or kind.endswith(b"+json")) and coding == b"identity"


def rewrite(rewriter: Rewriter, *, has_bodies: bool) -> Layer:
    """Rewrite the URLs in answers: those in headers, and with `has_bodies` those in JSON bodies.

    With bodies, `Accept-Encoding` is taken out of the request, since a compressed body cannot be rewritten; a partial
    answer (206) is left alone.
    """

    def around(inner: Handler) -> Handler:
        async def rewritten(call: Call) -> Reply:
            reply = await inner(call)
            if reply.has_urls:
                reply.headers = rewriter.headers(reply.headers, call.address)
            return reply

        async def rewritten_with_body(call: Call) -> Reply:
            call.headers = [field for field in call.headers if field[0].lower() != b"accept-encoding"]
            call.headers.append((b"Accept-Encoding", b"identity"))
            reply = await rewritten(call)
            has_body = reply.body.length != 0 and call.method != "HEAD"
            if has_body and reply.status != 206 and _is_json(reply.headers):
                reply.headers = [field for field in reply.headers if field[0].lower() not in _BODY_DIGESTS]
                reply.body = RewrittenBody(reply.body, rewriter, call.address)
            return reply

        return rewritten_with_body if has_bodies else rewritten

    return around
