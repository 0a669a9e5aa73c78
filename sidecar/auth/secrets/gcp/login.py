"""Login: the access token with which Google is asked; from the metadata server, or signed with an account's key.

A token signed by the account itself is taken by Google's APIs as it is (https://google.aip.dev/auth/4111), so no token
endpoint has to be up, and the file names no address that we would ask.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import aiohttp
import msgspec

from sidecar.auth.secrets.gcp.http import Http
from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.clock import Clock
from sidecar.core.secret import Secret

METADATA_HOST = "metadata.google.internal"
METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"

# The metadata server itself hands out the same token until shortly before its end, so asking earlier is in vain.
MARGIN_MAX = 225.0  # Seconds before a token's end at which it is renewed; never more than a quarter of its life.
LIFE_MAX = 43_200.0  # Seconds. Google grants twelve hours at most; what is told beyond that is not believed.
SIGNED_LIFE = 3600.0  # Seconds; Google takes no longer one.
KEY_FILE_MAX = 64 * 1024  # Bytes. A larger file is refused: it is no service account's key.


class Minted(NamedTuple):
    """An access token and how long it lives, in seconds."""

    token: Secret
    life: float


class Mint(Protocol):
    """Where access tokens come from."""

    async def mark(self) -> str:
        """Name what tokens are made from at present: another name, and the token in use is given up."""

    async def mint(self) -> Minted:
        """Get a token. Raises StoreFailed."""

    async def close(self) -> None:
        """Close connections."""


class Login:
    """Keeps one access token, and renews it ahead; one renewal serves all who wait."""

    def __init__(self, mint: Mint, clock: Clock) -> None:
        self._mint = mint
        self._clock = clock
        self._renewing = asyncio.Lock()
        self._token: Secret | None = None
        self._mark = ""
        self._renew_at = self._ends_at = 0.0

    async def token(self) -> Secret:
        """Give a token that is good now. Raises StoreFailed."""
        async with self._renewing:
            mark = await self._mint.mark()
            if mark != self._mark:
                self._token = None
            if self._token is not None and self._clock.now() < self._renew_at:
                return self._token
            try:
                minted = await self._mint.mint()
            except StoreFailed:
                if self._token is None or self._clock.now() >= self._ends_at:
                    raise
                return self._token  # Good until it really ends.
            life = min(minted.life, LIFE_MAX)
            self._token, self._mark = minted.token, mark
            self._ends_at = self._clock.now() + life
            self._renew_at = self._ends_at - min(MARGIN_MAX, life / 4)
            return minted.token

    def drop(self, token: Secret) -> None:
        """Give up a token that Google refused."""
        if self._token is token:
            self._token = None

    async def close(self) -> None:
        """Close connections."""
        await self._mint.close()


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float


class Metadata:
    """The account of the pod (workload identity) or of the node, as its metadata server says."""

    def __init__(self) -> None:
        # Google's own libraries take the host from here; it names a place, and is no secret.
        host = os.environ.get("GCE_METADATA_HOST") or METADATA_HOST  # noqa: TID251
        self._url = f"http://{host}{METADATA_PATH}"
        self._where = f"asking the metadata server ({host}) for an access token failed"
        self._http = Http(_connect)

    async def mark(self) -> str:
        """Give the server's address: there is one source."""
        return self._url

    async def mint(self) -> Minted:
        """Ask for the token. Raises StoreFailed."""
        answer = await self._http.exchange("GET", self._url, {"Metadata-Flavor": "Google"}, None, self._where)
        if answer.status != 200:
            raise StoreFailed(
                f"{self._where}: it answered {answer.status}; is a Google service account bound to this pod's?"
            )
        if answer.headers.get("Metadata-Flavor") != "Google":
            raise StoreFailed(f"{self._where}: what answered is not Google's metadata server; write credentials_file")
        granted = answer.read(_Granted)
        if granted is None or not _is_token(granted.access_token):
            raise StoreFailed(f"{self._where}: the answer is not an access token")
        return Minted(Secret(granted.access_token.encode(), "metadata"), max(0.0, granted.expires_in))

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()


def _connect() -> aiohttp.BaseConnector:
    """Connect without the egress guard, which is there to keep everybody else away from just this address."""
    return aiohttp.TCPConnector(limit=1)


class KeyFile:
    """A service account's key in a file; read anew when the file changes."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = Path(path)
        self._clock = clock

    async def mark(self) -> str:
        """Give what the system says of the file."""
        return await asyncio.to_thread(self._look)

    async def mint(self) -> Minted:
        """Sign a token. Raises StoreFailed."""
        return await asyncio.to_thread(self._sign, self._clock.wall())

    async def close(self) -> None:
        """Do nothing: nothing is open."""

    def _look(self) -> str:
        try:
            status = self._path.stat()
        except OSError:
            return ""  # Reading it will say why.
        return f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"

    def _sign(self, wall: float) -> Minted:
        # Imported here: without a key file nobody needs them.
        from joserfc import jwt  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import RSAKey  # noqa: PLC0415

        key = self._read()
        claims = {
            "iss": key["client_email"],
            "sub": key["client_email"],
            "aud": f"https://secretmanager.{key.get('universe_domain', 'googleapis.com')}/",
            "iat": int(wall),
            "exp": int(wall + SIGNED_LIFE),
        }
        try:
            signed = jwt.encode(
                {"alg": "RS256", "kid": str(key.get("private_key_id", ""))},
                claims,
                RSAKey.import_key(key["private_key"]),
            )
        except (ValueError, TypeError, JoseError):
            # Not chained: the reader's error may hold a piece of the key.
            raise StoreFailed(f"{self._path}: its private_key is not an RSA key in PEM form") from None
        return Minted(Secret(signed.encode(), str(key.get("private_key_id", ""))), SIGNED_LIFE)

    def _read(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as file:
                content = file.read(KEY_FILE_MAX + 1)
            key = json.loads(content) if len(content) <= KEY_FILE_MAX else None
        except OSError as error:
            raise StoreFailed(f"{self._path} cannot be read: {error.strerror or error}") from None
        except ValueError:
            key = None
        if (
            not isinstance(key, dict)
            or key.get("type") != "service_account"
            or not isinstance(key.get("client_email"), str)
            or not isinstance(key.get("private_key"), str)
        ):
            raise StoreFailed(f"{self._path} is not the JSON key of a service account")
        return key


def _is_token(text: str) -> bool:
    """Whether it can stand in a header."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
