"""HTTP: one question to Vault and its answer; every way in which that can fail becomes a sentence without a secret."""

import asyncio
import ssl
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from sidecar.auth.network import Network
from sidecar.auth.secrets.store import StoreFailed
from sidecar.auth.secrets.vault.config import VaultStoreConfig, is_segment
from sidecar.core.clock import Clock
from sidecar.core.secret import Secret

ANSWER_MAX = 2 * 1024 * 1024  # Bytes. A longer answer is refused: Vault's own bound for a secret is 1 MiB.
TOLD_MAX = 300  # Characters of the server's own words. Longer: cut.
HIDE_MIN = 4  # Bytes. A shorter value would mask half of every text.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STANDBY = 307

T = TypeVar("T")


class VaultRefused(StoreFailed):
    """Vault answered, and the answer is no."""

    def __init__(self, sentence: str, status: int, body: bytes) -> None:
        super().__init__(sentence)
        self.status = status
        self.body = body


class _Errors(msgspec.Struct):
    errors: list[str] = []


class _Leader(msgspec.Struct):
    leader_address: str = ""


class VaultHttp:
    """Asks one Vault; connects on the first question."""

    def __init__(self, config: VaultStoreConfig, clock: Clock, network: Network) -> None:
        self._config = config
        self._clock = clock
        self._network = network
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False
        self.address = str(config.address)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        token: Secret | None = None,
        body: object = None,
        hide: Iterable[bytes] = (),
    ) -> bytes:
        """Give the body of a good answer. `path` is below /v1/ and ready for a URL; `doing` names the step.

        `hide` are values that the server might repeat in an error. Raises VaultRefused, or StoreFailed when there was
        no answer within the timeout.
        """
        headers = self._headers(token)
        content = None if body is None else msgspec.json.encode(body)
        hidden = [value for value in (*hide, token.reveal() if token else b"") if len(value) >= HIDE_MIN]
        try:
            async with self._clock.timeout_at(self._clock.now() + self._config.timeout):
                status, answer = await self._exchange(method, f"{self.address}/v1/{path}", headers, content, doing)
        except TimeoutError:
            reason = f"no answer within timeout = {self._config.timeout}"
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            reason = _reason(error)
        else:
            if 200 <= status < 300:
                return answer
            raise VaultRefused(str(self._failure(doing, _told(status, answer, hidden))), status, answer)
        # Raised out here, so that aiohttp's errors, which hold the request and its headers, are in no chain of it.
        raise self._failure(doing, reason)

    def read(self, kind: type[T], body: bytes, doing: str) -> T:
        """Take what is needed out of an answer. Raises StoreFailed when it is not what Vault says there."""
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Not chained: the error may repeat a piece of the answer.
            raise self._failure(doing, "the answer is not one of Vault's; is the address right?") from None

    async def close(self) -> None:
        """Close the connections; nothing is asked any more."""
        async with self._opening:
            self._is_closed = True
            if self._session is not None:
                await self._session.close()

    def _failure(self, doing: str, reason: str) -> StoreFailed:
        return StoreFailed(f"{doing} at {self.address} failed: {reason}")

    def _headers(self, token: Secret | None) -> dict[str, str]:
        headers = {"X-Vault-Request": "true", "Accept-Encoding": "identity"}  # So that ANSWER_MAX bounds what is read.
        if self._config.namespace is not None:
            headers["X-Vault-Namespace"] = self._config.namespace
        if token is not None:
            headers["X-Vault-Token"] = token.reveal().decode("ascii")  # The login looked that it is.
        return headers

    async def _exchange(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None, doing: str
    ) -> tuple[int, bytes]:
        status, answer, location = await self._send(method, url, headers, content)
        if status not in REDIRECTS:
            return status, answer
        if status != _STANDBY or not await self._is_own_leader(url, location):
            raise self._failure(doing, f"it answered {status} and leads elsewhere; {_shown(location)}")
        status, answer, location = await self._send(method, location, headers, content)
        if status in REDIRECTS:
            raise self._failure(doing, f"the active node answered {status} and leads elsewhere; {_shown(location)}")
        return status, answer

    async def _is_own_leader(self, url: str, location: str) -> bool:
        """Whether a standby leads to the very same question at the node that the cluster itself calls its leader.

        Nothing else is followed: the token would go to whoever a proxy on the way names. Never from https to http.
        """
        here, there = urlsplit(url), urlsplit(location)
        if (here.scheme, here.path, here.query) != (there.scheme, there.path, there.query) or "@" in there.netloc:
            return False
        status, answer, _ = await self._send("GET", f"{self.address}/v1/sys/leader", {}, None)
        if status != 200:
            return False
        leader = urlsplit(msgspec.json.decode(answer, type=_Leader).leader_address)
        return (leader.scheme, leader.netloc) == (there.scheme, there.netloc)

    async def _send(
        self, method: str, url: str, headers: dict[str, str], content: bytes | None
    ) -> tuple[int, bytes, str]:
        session = await self._open()
        trust = self._network.context(self._config.ca_file)  # At hand: `_open` and each load have read it.
        kind = {"Content-Type": "application/json"} if content is not None else {}
        async with session.request(
            method, URL(url, encoded=True), headers=headers | kind, data=content, allow_redirects=False, ssl=trust
        ) as answer:
            read = bytearray()
            async for piece in answer.content.iter_any():
                read += piece
                if len(read) > ANSWER_MAX:
                    raise ValueError(f"the answer is over {ANSWER_MAX} bytes")
            return answer.status, bytes(read), answer.headers.get("Location", "")

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._is_closed:
                raise ValueError("the store is closed")
            if self._session is None:
                await asyncio.to_thread(self._network.context, self._config.ca_file)
                self._session = aiohttp.ClientSession(
                    connector=self._network.connect(allow_private=self._config.allow_private, is_once=False),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `ask` bounds the whole.
                )
            return self._session


def place_of(mount: str, path: str) -> str:
    """Write a path as it stands in a URL. Raises StoreFailed for one that leads out of the mount."""
    if not all(map(is_segment, path.split("/"))):
        raise StoreFailed(f"{mount}/{path} is not a path below the mount; write no empty parts, no . and no ..")
    return quote(path)


def _reason(error: Exception) -> str:
    """Say why there was no answer. aiohttp's own texts repeat the request's headers in places, so few are used."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        certificate_error = error.certificate_error
        return f"its certificate is not trusted: {getattr(certificate_error, 'verify_message', certificate_error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        os_error = error.os_error
        return f"connecting failed: {os_error.strerror or os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "it broke off"
    if isinstance(error, aiohttp.ClientError):
        return f"it did not speak HTTP ({type(error).__name__})"
    if isinstance(error, msgspec.DecodeError):
        return "the answer is not one of Vault's"
    return str(error)


def _told(status: int, body: bytes, hidden: Iterable[bytes]) -> str:
    """Give the server's own words, bounded, on one line, without what must not show."""
    try:
        errors = msgspec.json.decode(body, type=_Errors).errors
    except (msgspec.DecodeError, UnicodeDecodeError):
        errors = []
    said = " ".join(" ".join("; ".join(errors).split()).split("\x00"))
    for value in hidden:
        said = said.replace(value.decode("utf-8", "replace"), "***")
    said = "".join(letter for letter in said if letter.isprintable())[:TOLD_MAX]
    if status == 503 and "sealed" in said.lower():
        return "it is sealed (503); somebody has to unseal it"
    return f"{said or 'it gave no reason'} ({status})"


def _shown(location: str) -> str:
    """Say what leads where, by scheme and host alone."""
    there = urlsplit(location)
    host = there.netloc.rpartition("@")[2]
    where = f"{there.scheme}://{host}" if there.scheme and host else "nowhere that can be read"
    return f"redirects are not followed (to {where}); write the address of the active node or of its load balancer"
