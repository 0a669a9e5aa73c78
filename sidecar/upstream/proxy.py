"""Proxy: a corporate proxy on the way to the vendor, by CONNECT (RFC 9110 section 9.3.6).

The proxy resolves the vendor's name, so the egress guard cannot judge what is behind it; it judges an IP address that
stands in `base_url` itself, and the proxy's own address. What the proxy lets through is its operator's rule.
TLS is spoken with the vendor through the tunnel: the proxy sees a host name and sizes, never a credential of ours.
"""

import asyncio
import re
import socket
from collections.abc import Callable

from sidecar.core.errors import ConnectFailed
from sidecar.upstream.origin import BaseUrl

ANSWER_MAX = 16 * 1024  # Bytes of the proxy's answer; more is not a proxy, and the connection is given up.

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: ([^\r\n]*))?\r\n")
_INTERIM = (b"HTTP/1.1 1", b"HTTP/1.0 1")  # RFC 9110 section 15.2: not yet the answer.
_OK, _OK_LAST, _AUTHENTICATION_REQUIRED, _ITS_FAILURE_FROM = 200, 299, 407, 500
_MAY_PASS = (408, 425, 429)  # The other refusals below 500 are a rule of the proxy's, and stay until it is changed.


class Proxy:
    """`upstream_proxy`: where it is, and the value of `Proxy-Authorization`, asked anew for each connection."""

    def __init__(self, url: BaseUrl, authorization: Callable[[], bytes] | None = None) -> None:
        if url.is_tls:
            raise ValueError('a proxy is spoken to in plain http; write "http://proxy:3128"')
        self.url = url
        self._authorization = authorization

    @staticmethod
    def literal(host: str) -> str | None:
        """Give the IP address that `host` is, also in its short, octal and hex forms; None for a name."""
        if ":" in host:
            return host
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            return None

    async def open(self, sock: socket.socket, origin: BaseUrl) -> None:
        """Have the proxy connect `sock` through to the origin.

        The answer is read no further than its end: what comes after belongs to the vendor and stays in the socket.
        Raises ConnectFailed, or OSError as the socket does. The caller bounds the time and closes the socket.
        """
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, self._request(origin))
        left_bytes = ANSWER_MAX
        answer = _INTERIM[0]
        while answer.startswith(_INTERIM):
            answer = await self._read_head(sock, left_bytes)
            left_bytes -= len(answer)
        self._judge(answer)

    def _request(self, origin: BaseUrl) -> bytes:
        name = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{name}:{origin.port}".encode()
        lines = [b"CONNECT " + target + b" HTTP/1.1", b"Host: " + target]
        if self._authorization is not None:
            lines.append(b"Proxy-Authorization: " + self._authorization())
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def _read_head(self, sock: socket.socket, left_bytes: int) -> bytes:
        """Read up to the end of a head and no further: peek, look for the end, then take just that much."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if len(head) >= left_bytes:
                raise self._failed(f"answered with more than {ANSWER_MAX} bytes", "http_response_header_section_size")
            await _readable(sock)
            seen = sock.recv(left_bytes - len(head), socket.MSG_PEEK)
            if not seen:
                raise self._failed("closed the connection instead of answering to CONNECT", "connection_terminated")
            # The end may straddle two reads, so it is looked for from three bytes before the new ones.
            start = max(0, len(head) - 3)
            end = (head[start:] + seen).find(b"\r\n\r\n")
            wanted = len(seen) if end < 0 else start + end + 4 - len(head)
            head += sock.recv(wanted)
            if not b"HTTP/1.".startswith(head[:7]):
                raise self._failed("did not answer in HTTP", "http_protocol_error")
        return head

    def _judge(self, answer: bytes) -> None:
        match = _STATUS.match(answer)
        if match is None:
            raise self._failed("did not answer in HTTP", "http_protocol_error")
        status = int(match[1])
        if _OK <= status <= _OK_LAST:
            return
        if status == _AUTHENTICATION_REQUIRED:
            given = "does not accept the credentials in" if self._authorization else "asks for credentials; write"
            refused = self._failed(
                f'{given} upstream_proxy_auth = {{ username = "...", password = "<store>:<path>" }} (status 407)',
                "http_request_denied",
            )
            refused.is_final = True
            raise refused
        reason = (match[2] or b"")[:100].decode("ascii", "replace")
        reason = "".join(letter for letter in reason if letter.isprintable())
        refused = self._failed(f"refused to connect to the vendor with status {status} {reason}".rstrip(), None)
        refused.is_final = status < _ITS_FAILURE_FROM and status not in _MAY_PASS
        raise refused

    def _failed(self, what: str, proxy_error: str | None) -> ConnectFailed:
        return ConnectFailed(
            f"the proxy {self.url.host}:{self.url.port} {what}", proxy_error=proxy_error or "destination_unavailable"
        )


async def _readable(sock: socket.socket) -> None:
    """Wait until there is something to read, or the end; without reading it."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    loop.add_reader(sock, _settle, waiter)
    try:
        await waiter
    finally:
        loop.remove_reader(sock)


def _settle(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
