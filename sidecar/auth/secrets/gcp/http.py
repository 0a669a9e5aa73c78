"""HTTP: one exchange with Google or its metadata server; what fails is told without a byte of what was sent."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import aiohttp
import msgspec
from yarl import URL

from sidecar.auth.secrets.store import StoreFailed

ANSWER_MAX = 256 * 1024  # Bytes; a secret has 64 KiB, in base64. A longer answer is refused.


T = TypeVar("T")


class Answer(NamedTuple):
    """What came."""

    status: int
    headers: Mapping[str, str]  # As aiohttp gives it, so case does not matter.
    body: bytes

    def read(self, kind: type[T]) -> T | None:
        """Take what is needed out of the JSON; None if it is not what was to come."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


class Http:
    """A session that is opened when it is first needed."""

    def __init__(
        self, connect: Callable[[], aiohttp.BaseConnector], trust: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        self._connect = connect
        self._trust = trust  # Absent: it speaks no TLS. Raises ValueError with a sentence.
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def exchange(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None, where: str
    ) -> Answer:
        """Give the answer, whatever its status but a redirect. `where` begins each sentence. Raises StoreFailed."""
        try:
            answer = await self._exchange(method, url, headers, content)
        except aiohttp.ClientError as error:
            reason = _reason(error)
        except (OSError, ValueError) as error:
            reason = str(error)
        else:
            if 300 <= answer.status < 400:
                raise StoreFailed(f"{where}: it answered {answer.status}, and redirects are not followed")
            return answer
        raise StoreFailed(f"{where}: {reason}")

    async def close(self) -> None:
        """Close the connections; nothing is asked any more."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(self, method: str, url: str, headers: dict[str, str], content: bytes | None) -> Answer:
        if self._session is None and self._trust is not None:
            await asyncio.to_thread(self._trust)  # It may read a file; later it is at hand.
        session, trust = self._open(), True if self._trust is None else self._trust()
        # Not compressed, so that ANSWER_MAX bounds what is read.
        fields = {**headers, "Accept-Encoding": "identity"}
        async with session.request(
            method, URL(url, encoded=True), headers=fields, data=content, allow_redirects=False, ssl=trust
        ) as answer:
            read = bytearray()
            async for piece in answer.content.iter_any():
                read += piece
                if len(read) > ANSWER_MAX:
                    raise ValueError(f"the answer is over {ANSWER_MAX} bytes")
            return Answer(answer.status, answer.headers, bytes(read))

    def _open(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise ValueError("the store is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connect(),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # The asker bounds the whole.
            )
        return self._session


def _reason(error: aiohttp.ClientError) -> str:
    """Say why there was no answer. aiohttp's own texts repeat the request's headers in places, so few are used."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        certificate_error = error.certificate_error
        return f"its certificate is not trusted: {getattr(certificate_error, 'verify_message', certificate_error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"connecting failed: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it broke off"
    return f"it did not speak HTTP ({type(error).__name__})"
