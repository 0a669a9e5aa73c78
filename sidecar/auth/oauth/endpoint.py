"""Endpoint: one POST to a token endpoint, and its answer, whatever it is; never anywhere else than there."""

import json
import ssl
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from sidecar import __version__
from sidecar.auth.network import Network
from sidecar.auth.oauth.config import TokenRequest
from sidecar.auth.oauth.token import TokenRefused
from sidecar.core.clock import Clock
from sidecar.core.errors import AddressRefused

ANSWER_MAX = 64 * 1024  # Bytes. Longer: refused, no token answer is.
RETRY_AFTER_MAX = 86400.0  # Seconds. More: taken as a day.

Fields = list[tuple[str, str]]


class Answer(NamedTuple):
    """What came back."""

    status: int
    content_type: str
    body: bytes
    retry_after: float | None  # Seconds.
    date: float | None  # The endpoint's Unix time.
    dpop_nonce: str | None

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"


class TokenEndpoint:
    """Asks one token URL. A connection for each request: there is one in an hour.

    Raises ValueError with a sentence if `ca_file` cannot be read.
    """

    def __init__(self, config: TokenRequest, network: Network, clock: Clock) -> None:
        self._config = config
        self._network = network
        self._clock = clock
        self._url = URL(config.token_url, encoded=True)
        self._host = config.token_url.host
        self._is_plain = config.token_url.is_tls and config.client_auth != "tls_client_auth"
        self._trust()

    async def post(self, headers: Fields, fields: Fields, context: ssl.SSLContext | None = None) -> Answer:
        """Send a request. Raises TokenRefused with the step that failed; a redirect is one, and is never followed.

        `context` holds the client's certificate, if it shows one.
        """
        try:
            async with self._clock.timeout_at(self._clock.now() + self._config.timeout):
                return await self._post(self._headers(headers), self._body(fields), context)
        except TimeoutError:
            sentence = f"{self._host} did not answer within timeout = {self._config.timeout:g}s"
            raise TokenRefused(f"the authorization server {sentence}", is_retryable=True) from None
        except aiohttp.ClientError as error:
            # Not chained: aiohttp's errors hold the request, and its headers hold the secret.
            refused = self._failed(error)
        raise refused

    async def _post(self, headers: Fields, body: bytes, context: ssl.SSLContext | None) -> Answer:
        connector = self._network.connect(allow_private=self._config.allow_private, is_once=True)
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None),
            ) as session,
            session.post(
                self._url, data=body, headers=headers, allow_redirects=False, ssl=context or self._trust()
            ) as response,
        ):
            self._refuse_redirect(response)
            return Answer(
                response.status,
                response.headers.get("Content-Type", ""),
                await _read(response),
                _retry_after(response.headers.get("Retry-After"), self._clock.wall()),
                _date(response.headers.get("Date")),
                response.headers.get("DPoP-Nonce"),
            )

    def _trust(self) -> ssl.SSLContext | bool:
        """Whom to trust now; True where no TLS is spoken, or with a certificate, which has a context of its own."""
        return self._network.context(self._config.ca_file) if self._is_plain else True

    def _headers(self, given: Fields) -> Fields:
        own = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json" if self._config.body == "json" else "application/x-www-form-urlencoded",
            "User-Agent": f"sidecar/{__version__}",
        }
        wanted = {name.lower() for name in self._config.headers}
        kept = [(name, value) for name, value in own.items() if name.lower() not in wanted]
        return [*kept, *self._config.headers.items(), *given]

    def _body(self, fields: Fields) -> bytes:
        if self._config.body == "form":
            return urlencode(fields).encode()
        return json.dumps(_object(fields)).encode()

    def _refuse_redirect(self, response: aiohttp.ClientResponse) -> None:
        if 300 <= response.status < 400:
            to = _host_of(response.headers.get("Location", ""))
            raise TokenRefused(
                f"the authorization server {self._host} answered {response.status}, a redirect{to}; secrets are sent "
                "to token_url alone, so it is not followed; is token_url right?",
                status=response.status,
            )

    def _failed(self, error: aiohttp.ClientError) -> TokenRefused:
        """Say which step failed, in a sentence without what was sent."""
        to, is_unsent, is_retryable = f"the authorization server {self._host}", True, True
        if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefused):
            sentence, is_retryable = f"{to} is not connected to: {error.os_error.strerror}", False
        elif isinstance(error, aiohttp.ClientConnectorDNSError):
            sentence = f"the name of {to} could not be resolved: {error.os_error.strerror}"
        elif isinstance(error, aiohttp.ClientConnectorCertificateError):
            sentence = f"the certificate of {to} does not verify: {_verify_message(error)}; is ca_file right?"
            is_retryable = False
        elif isinstance(error, aiohttp.ClientSSLError):
            sentence = f"no TLS session with {to}: {getattr(error.os_error, 'reason', None) or 'the handshake failed'}"
        elif isinstance(error, aiohttp.ClientConnectorError):
            broke = "it broke off in the handshake; does it want a client certificate?"
            sentence = f"no connection to {to}: {error.os_error.strerror or broke}"
        elif isinstance(error, aiohttp.ClientResponseError):
            sentence, is_unsent = f"what {to} sent is not HTTP", False
        else:
            sentence, is_unsent = f"{to} broke off before its answer was whole", False
        return TokenRefused(sentence, is_retryable=is_retryable, is_unsent=is_unsent)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > ANSWER_MAX:
            raise TokenRefused(
                f"the authorization server answered {response.status} with more than {ANSWER_MAX} bytes",
                status=response.status,
                is_retryable=response.status >= 500,
            )
    return bytes(body)


def _object(fields: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Make a JSON object; a name that stands twice has a list."""
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}


def _host_of(location: str) -> str:
    try:
        host = urlsplit(location).hostname
    except ValueError:
        return ""
    return f" to {host[:80]}" if host and host.isprintable() else ""


def _retry_after(value: str | None, wall: float) -> float | None:
    """Read seconds or a date (RFC 9110 section 10.2.3)."""
    if value is None:
        return None
    seconds = float(value) if value.isascii() and value.isdigit() else None
    if seconds is None:
        at = _date(value)
        seconds = None if at is None else max(0.0, at - wall)
    return None if seconds is None else min(seconds, RETRY_AFTER_MAX)


def _date(value: str | None) -> float | None:
    try:
        return None if value is None else parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None


def _verify_message(error: aiohttp.ClientConnectorCertificateError) -> str:
    certificate_error = error.certificate_error
    return str(getattr(certificate_error, "verify_message", "") or type(certificate_error).__name__)
