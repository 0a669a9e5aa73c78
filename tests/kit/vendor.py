"""A scripted vendor: sends exactly the bytes that a test gives it, and records exactly what came.

    async with Vendor.answering(answer(b"hello")) as vendor:
        ... call vendor.url ...
    assert vendor.requests[0].target == b"/v1/charges"

What the sidecar sends is read strictly: anything that is not HTTP/1.1, and any fault of a script, is raised when the
vendor is left. A peer that goes away in the middle is no fault; its request says `is_cut_off`.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.kit.exchange import Exchange, Request, Script
from tests.kit.message import HEAD_MAX, CutOff, Fields, NotHttp

WAIT_MAX = 10.0  # Seconds for every wait of a test; then it fails and says for what it waited.


Answer = bytes | Callable[[Request], bytes]


class Vendor:
    """Listens on a free port of loopback and plays `script` for each request.

    The script is called when a request is read whole; with `reads_body=False` when its head is read (the script calls
    `read_body`); with `reads=False` once per connection before anything is read. A connection that the script leaves
    open takes the next request. `continues` is whether `Expect: 100-continue` gets its 100.
    """

    def __init__(
        self,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "localhost",
        reads: bool = True,
        reads_body: bool = True,
        continues: bool = True,
    ) -> None:
        self.requests: list[Request] = []
        self.connections_opened = 0
        self.connections_closed = 0
        self.port = 0
        self._host = host
        self._script = script
        self._tls = tls
        self._reads = reads
        self._reads_body = reads_body
        self._continues = continues
        self._faults: list[Exception] = []
        self._waiters: set[asyncio.Event] = set()
        self._plays: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    def answering(cls, *answers: Answer, tls: ssl.SSLContext | None = None) -> Self:
        """Give the nth request the nth answer, and the last one to all that follow."""
        assert answers

        async def play(exchange: Exchange) -> None:
            assert exchange.request is not None
            turn = answers[min(exchange.request.number, len(answers)) - 1]
            await exchange.send(turn if isinstance(turn, bytes) else turn(exchange.request))

        return cls(play, tls=tls)

    @classmethod
    def echoing(cls, *, tls: ssl.SSLContext | None = None) -> Self:
        """Answer with what came, as JSON: method, target, headers, body, trailers (all bytes as Latin-1)."""
        return cls.answering(_echo, tls=tls)

    @classmethod
    def cutting(cls, raw: bytes, at: int, *, by_reset: bool = False, tls: ssl.SSLContext | None = None) -> Self:
        """Send the first `at` bytes of `raw`, then close, in order or by a reset."""

        async def play(exchange: Exchange) -> None:
            await exchange.send(raw[:at])
            if by_reset:
                exchange.reset()
            else:
                await exchange.close()

        return cls(play, tls=tls)

    @classmethod
    def stalling(cls, raw: bytes, at: int, until: asyncio.Event, *, tls: ssl.SSLContext | None = None) -> Self:
        """Send the first `at` bytes of `raw`, and the rest when `until` is set."""

        async def play(exchange: Exchange) -> None:
            await exchange.send(raw[:at])
            await until.wait()
            await exchange.send(raw[at:])

        return cls(play, tls=tls)

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    @property
    def connections_open(self) -> int:
        """How many connections stand now."""
        return self.connections_opened - self.connections_closed

    async def until(self, is_so: Callable[[], bool], what: str = "a condition") -> None:
        """Wait until something that the vendor records is so."""
        changed = asyncio.Event()
        self._waiters.add(changed)
        try:
            async with asyncio.timeout(WAIT_MAX):
                while not is_so():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise AssertionError(f"the vendor waited {WAIT_MAX:g} s in vain for {what}") from None
        finally:
            self._waiters.discard(changed)

    async def wait_for_head(self, count: int = 1) -> Request:
        """Wait until the head of the `count`-th request is there."""
        await self.until(lambda: len(self.requests) >= count, f"the head of request {count}")
        return self.requests[count - 1]

    async def wait_for_request(self, count: int = 1) -> Request:
        """Wait until the `count`-th request is there, whole or cut off."""
        request = await self.wait_for_head(count)
        await self.until(lambda: request.is_whole or request.is_cut_off, f"the end of request {count}")
        return request

    async def wait_for_closed(self, count: int = 1) -> None:
        """Wait until `count` connections were closed, by either side."""
        await self.until(lambda: self.connections_closed >= count, f"{count} closed connections")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept,
            "127.0.0.1",
            0,
            limit=HEAD_MAX,
            ssl=self._tls,
            ssl_shutdown_timeout=1.0 if self._tls else None,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        plays = list(self._plays)
        for play in plays:
            play.cancel()
        await asyncio.gather(*plays, return_exceptions=True)
        await self._server.wait_closed()
        if error is None and self._faults:
            raise AssertionError(f"at the vendor: {self._faults[0]!r}") from self._faults[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_opened += 1
        exchange = Exchange(reader, writer, self.connections_opened, self._received, self._changed)
        play = asyncio.create_task(self._play(exchange), name=f"vendor connection {exchange.number}")
        self._plays.add(play)
        play.add_done_callback(self._plays.discard)
        self._changed()

    async def _play(self, exchange: Exchange) -> None:
        try:
            await self._serve(exchange)
        except asyncio.CancelledError:
            exchange.abort()
            raise
        except (CutOff, ConnectionError):
            if exchange.request is not None and not exchange.request.is_whole:
                exchange.request.content.is_cut_off = True
        except (NotHttp, AssertionError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as fault:
            self._faults.append(fault)
        finally:
            await exchange.close()
            self.connections_closed += 1
            self._changed()

    async def _serve(self, exchange: Exchange) -> None:
        if not self._reads:
            await self._script(exchange)
            return
        while not exchange.is_closed and (request := await exchange.read_head()) is not None:
            if self._reads_body:
                if self._continues and request.values("Expect") == [b"100-continue"]:
                    await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                if (await exchange.read_body()).is_cut_off:
                    return
            await self._script(exchange)

    def _received(self, request: Request) -> None:
        self.requests.append(request)
        request.number = len(self.requests)
        self._changed()

    def _changed(self) -> None:
        for waiter in self._waiters:
            waiter.set()


def answer(
    body: bytes = b"",
    *,
    status: int = 200,
    reason: bytes = b"OK",
    headers: Fields | None = None,
    chunks: list[bytes] | None = None,
    trailers: Fields | None = None,
) -> bytes:
    """Write an answer: with Content-Length, or chunked if `chunks` are given."""
    fields = list(headers or [])
    fields.append((b"Content-Length", b"%d" % len(body)) if chunks is None else (b"Transfer-Encoding", b"chunked"))
    head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, _lines(fields))
    if chunks is None:
        return head + body
    assert all(chunks), "an empty chunk would be the last one"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n" + _lines(trailers or []) + b"\r\n"


def _lines(fields: Fields) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in fields)


def _echo(request: Request) -> bytes:
    seen = {
        "method": request.method,
        "target": request.target.decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers],
        "body": request.body.decode("latin-1"),
        "trailers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.trailers],
    }
    return answer(json.dumps(seen).encode(), headers=[(b"Content-Type", b"application/json")])
