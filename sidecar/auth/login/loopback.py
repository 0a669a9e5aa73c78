"""Loopback: a listener on this machine for the one redirect that a login waits for (RFC 8252 section 7.3)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from sidecar.auth.login.config import LoginConfig
from sidecar.auth.login.failed import LoginFailed, NotOurs
from sidecar.core.clock import Clock
from sidecar.core.hosts import is_local_host

HEAD_MAX = 32 * 1024  # Bytes of a request's head. Longer: closed.
HEAD_TIMEOUT = 10.0  # Seconds for a request's head. Over it: closed.
CONNECTIONS_MAX = 32  # Browsers open a few ahead of need. Full: closed at once.

_ANSWER = (
    "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n"
    "Cache-Control: no-store\r\nContent-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{page}"
)
_PAGE = "<!doctype html><title>sidecar login</title><p>{sentence}</p>\n"
_HEARD = "The sidecar has its answer; the terminal tells how it went. You may close this page."


class Loopback:
    """Serves one redirect that is ours, and is closed. Whatever else comes is told so, and waited past."""

    def __init__(self, config: LoginConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.redirect_uri = ""  # Where the vendor is to send the browser; once it listens.
        self._server: asyncio.Server | None = None
        self._redirect: asyncio.Future[str] | None = None  # The code.
        self._read: Callable[[str], str] | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        """Begin to listen. Raises LoginFailed if the port is taken."""
        host = self._config.redirect_host.strip("[]")
        self._redirect = asyncio.get_running_loop().create_future()
        try:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1" if host == "localhost" else host, self._config.redirect_port, limit=HEAD_MAX
            )
        except OSError as error:
            where = f"{self._config.redirect_host}:{self._config.redirect_port}"
            raise LoginFailed(
                f"cannot listen on {where} for the redirect: {error.strerror or error}; "
                "choose another redirect_port, or use --no-browser"
            ) from None
        port = self._server.sockets[0].getsockname()[1]
        self.redirect_uri = f"http://{self._config.redirect_host}:{port}{self._config.redirect_path}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._close()
        for writer in list(self._open):  # What was answered is flushed; those who said nothing are not waited for.
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def code(self, read: Callable[[str], str], seconds: float) -> str:
        """Wait for the redirect, and give what `read` makes of its target. Raises LoginFailed.

        A redirect for which `read` raises NotOurs is waited past: any page or program of this machine can send one.
        """
        assert self._redirect is not None
        self._read = read
        try:
            async with self._clock.timeout_at(self._clock.now() + seconds):
                return await self._redirect
        except TimeoutError:
            raise LoginFailed(f"nobody came back from the vendor's page within {seconds / 60:.0f} minutes") from None
        finally:
            self._close()

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if len(self._open) <= CONNECTIONS_MAX:
                async with self._clock.timeout_at(self._clock.now() + HEAD_TIMEOUT):
                    head = await reader.readuntil(b"\r\n\r\n")
                    status, sentence = self._answer(head.decode("latin-1"))
                    page = _PAGE.format(sentence=sentence)
                    writer.write(_ANSWER.format(status=status, length=len(page), page=page).encode())
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # A connection opened ahead of need, or somebody who speaks no HTTP.
        finally:
            self._open.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: str) -> tuple[str, str]:
        """Give status and sentence for a request; nothing that came stands in them."""
        start, *fields = head.split("\r\n")
        method, _, rest = start.partition(" ")
        target = rest.rpartition(" ")[0]
        hosts = [field.partition(":")[2].strip() for field in fields if field.lower().startswith("host:")]
        if len(hosts) != 1 or not is_local_host(hosts[0], frozenset()):
            return "403 Forbidden", "This listens for this machine alone."
        if target.partition("?")[0] != self._config.redirect_path:
            return "404 Not Found", "Only the redirect of a login is expected here."
        if method != "GET":
            return "405 Method Not Allowed", "A redirect is a GET."
        redirect = self._redirect
        if redirect is None or self._read is None or redirect.done():
            return "410 Gone", "This login has its answer already."
        try:
            redirect.set_result(self._read(target))
        except NotOurs:
            return "400 Bad Request", "This does not answer the login that is under way; begin anew at the terminal."
        except LoginFailed as failed:
            redirect.set_exception(failed)
        return "200 OK", _HEARD
