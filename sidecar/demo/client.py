"""Client: the app of the demo; it calls the sidecar as any app would, with a stock HTTP client."""

from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from yarl import URL

from sidecar.core.clock import Clock

ANSWER_MAX = 8.0  # Seconds; whatever takes longer did not work.

# By path, by host name, in absolute form as with HTTP_PROXY, to the sidecar's own, and to the telemetry listener.
Way = Literal["path", "host", "proxy", "own", "telemetry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the app asks for. `path` goes out byte for byte."""

    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    way: Way = "path"
    service: str = "payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the app got; `status` 0 with an `error` when there was no answer. Times are seconds since the asking."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    lines_at: tuple[float, ...] = ()  # When each line of the body came.
    seconds: float = 0.0
    error: str = ""

    def header(self, name: str) -> str:
        """Give the first value of a header, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


class Client:
    """Asks through the sidecar, one call after the other."""

    def __init__(self, clock: Clock, *, egress: str, telemetry: str, vendor: str) -> None:
        self.egress = egress  # `http://localhost:4000` and the like, as all three.
        self.telemetry = telemetry
        self.vendor = vendor
        self._clock = clock

    async def ask(self, ask: Ask) -> Answer:
        """Make one call. What goes wrong on the way is an answer, too."""
        started_at = self._clock.now()
        limit = aiohttp.ClientTimeout(total=ANSWER_MAX)
        try:
            async with aiohttp.ClientSession(auto_decompress=False, timeout=limit) as session:
                return await self._ask(session, ask, started_at)
        except (aiohttp.ClientError, TimeoutError) as error:
            seconds = self._clock.now() - started_at
            return Answer(seconds=seconds, error=f"{type(error).__name__}: {error}".rstrip(": "))

    async def _ask(self, session: aiohttp.ClientSession, ask: Ask, started_at: float) -> Answer:
        headers, proxy = dict(ask.headers), None
        if ask.way == "host":
            headers["Host"] = f"{ask.service}.localhost:{URL(self.egress).port}"
        if ask.way == "proxy":
            proxy = self.egress
        url = URL(self._prefix(ask) + ask.path, encoded=True)
        async with session.request(
            ask.method, url, headers=headers, data=ask.body or None, proxy=proxy, allow_redirects=False
        ) as answer:
            body, lines_at = b"", []
            async for line in answer.content:
                body += line
                lines_at.append(self._clock.now() - started_at)
            return Answer(
                status=answer.status,
                headers=tuple(answer.headers.items()),
                body=body,
                lines_at=tuple(lines_at),
                seconds=self._clock.now() - started_at,
            )

    def _prefix(self, ask: Ask) -> str:
        if ask.way == "telemetry":
            return self.telemetry
        if ask.way == "proxy":
            return self.vendor
        return self.egress if ask.way in {"host", "own"} else f"{self.egress}/{ask.service}"
