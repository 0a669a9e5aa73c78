"""Taker: the app, as the one that takes events: posted to over loopback or a Unix socket; connections stay open."""

from collections.abc import Mapping
from typing import NamedTuple

import aiohttp

from sidecar.core.body import Headers
from sidecar.core.clock import Clock
from sidecar.upstream.hints.times import DELTA, Moment, read_time
from sidecar.webhooks.target import Target

_NOTHING_OF_OURS = frozenset({"Accept", "Accept-Encoding", "User-Agent", "Content-Type"})
IDLE_MAX = 2.0  # Seconds that a connection is kept for the next delivery; servers of apps keep them 5 s and more.


class Said(NamedTuple):
    """What came of one post."""

    status: int  # 0: no answer.
    body: bytes = b""
    retry_after: float | None = None
    error: str = ""
    was_sent: bool = True  # False: nobody listens there.
    kind: str = ""  # The answer's media type.

    @property
    def is_done(self) -> bool:
        """Whether the app took it."""
        return 200 <= self.status < 300


class Taker:
    """Posts to the app; for the life of the process, one pool for each Unix socket and one for loopback."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def post(
        self, target: Target, headers: Mapping[str, str] | Headers, body: bytes, seconds: float, answer_max: int
    ) -> Said:
        """Post, and read up to `answer_max` bytes of the answer."""
        fields = headers.items() if isinstance(headers, Mapping) else [(_text(n), _text(v)) for n, v in headers]
        try:
            async with self._session(target.socket).post(
                target.url, data=body, headers=list(fields), allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds), skip_auto_headers=_NOTHING_OF_OURS,
            ) as answer:  # fmt: skip
                content = await _start(answer.content, answer_max)
                wait = _retry_after(answer, self._clock.wall())
                error = "" if 200 <= answer.status < 300 else f"the app answered {answer.status}"
                return Said(answer.status, content, wait, error, kind=answer.content_type)
        except aiohttp.ClientConnectorError as error:
            return Said(0, error=f"the app was not reached: {type(error).__name__}", was_sent=False)
        except TimeoutError:
            return Said(0, error=f"the app did not answer within {seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Said(0, error=f"the app broke off: {type(error).__name__}")

    async def close(self) -> None:
        """Let go of all connections."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    def _session(self, socket: str) -> aiohttp.ClientSession:
        session = self._sessions.get(socket)
        if session is None:
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(socket, limit=0, keepalive_timeout=IDLE_MAX)
                if socket
                else aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_MAX)  # As many as deliveries at once.
            )
            session = self._sessions[socket] = aiohttp.ClientSession(
                connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return session


async def _start(stream: aiohttp.StreamReader, bytes_max: int) -> bytes:
    """Read an answer's body up to a bound; what is longer costs the connection."""
    pieces, size = [], 0
    while size < bytes_max and (piece := await stream.read(min(65536, bytes_max - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _retry_after(answer: aiohttp.ClientResponse, wall: float) -> float | None:
    value = answer.headers.get("Retry-After")
    if value is None:
        return None
    moment = Moment([(b"Date", answer.headers.get("Date", "").encode("utf-8", "replace"))], wall)
    return read_time(value.encode("utf-8", "replace"), DELTA, moment)


def _text(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError:
        return field.decode("latin-1")
