"""A scripted token endpoint, and an API that takes the credentials it is told of.

    minting = Minting()
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(guarding := Guarding()) as vendor: ...

A real authorization server shows what the protocol means (tests/kit/authorization.py); this one fails on command.
"""

import asyncio
import json
import secrets
from urllib.parse import parse_qs

from tests.kit.exchange import Exchange, Request
from tests.kit.vendor import answer

JSON = (b"Content-Type", b"application/json")
INVALID_TOKEN = (b"WWW-Authenticate", b'Bearer error="invalid_token"')


class Minting:
    """Gives a new token to each request, or `failure`, byte for byte, until it is None again."""

    def __init__(self, life: float | None = 3600, *, rotates: bool = False) -> None:
        self.life = life
        self.rotates = rotates  # The answers hold a new refresh token, too.
        self.tokens: list[str] = []
        self.refresh_tokens: list[str] = []
        self.failure: bytes | None = None
        self.open = asyncio.Event()  # Answers wait for it.
        self.open.set()
        self.asked: list[dict[str, list[str]]] = []  # The forms that came,
        self.came = asyncio.Event()  # and that one did.

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a token request."""
        assert exchange.request is not None
        self.asked.append(parse_qs(exchange.request.body.decode()))
        self.came.set()
        await self.open.wait()
        if self.failure is not None:
            await exchange.send(self.failure)
            return
        self.tokens.append(secrets.token_hex(20))
        document: dict[str, object] = {"access_token": self.tokens[-1], "token_type": "Bearer"}
        if self.life is not None:
            document["expires_in"] = self.life
        if self.rotates:
            self.refresh_tokens.append(secrets.token_hex(20))
            document["refresh_token"] = self.refresh_tokens[-1]
        await exchange.send(answer(json.dumps(document).encode(), headers=[JSON]))


class Guarding:
    """An API that takes the values of `Authorization` in `good`, and answers 401 to everything else."""

    def __init__(self, *good: str) -> None:
        self.good = {value.encode() for value in good}

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a call."""
        assert exchange.request is not None
        is_good = self.takes(exchange.request)
        await exchange.send(answer(b"ok") if is_good else answer(b"no", status=401, headers=[INVALID_TOKEN]))

    def takes(self, request: Request) -> bool:
        """Whether the call carries what it should, and nothing else."""
        found = request.values("Authorization")
        return len(found) == 1 and found[0] in self.good


class GuardingTokens(Guarding):
    """An API that takes the tokens of `minting` that are not in `revoked`."""

    def __init__(self, minting: Minting) -> None:
        super().__init__()
        self._minting = minting
        self.revoked: set[str] = set()

    def takes(self, request: Request) -> bool:
        """Whether the call carries a token that holds."""
        self.good = {f"Bearer {token}".encode() for token in self._minting.tokens if token not in self.revoked}
        return super().takes(request)


def failing(status: int, error: str = "", **headers: str) -> bytes:
    """Give a token endpoint's refusal (RFC 6749 section 5.2)."""
    body = json.dumps({"error": error} if error else {}).encode()
    fields = [JSON, *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())]
    return answer(body, status=status, reason=b"No", headers=fields)


def oauth(token_url: str, kind: str = "client_credentials", client_id: str = "pod", **more: str) -> str:
    """Give a service's `auth`, whose client secret is `files:client`; `more` is TOML."""
    settings = {
        "kind": f'"oauth2_{kind}"',
        "token_url": f'"{token_url}"',
        "client_id": f'"{client_id}"',
        "client_secret": '"files:client"',
        "allow_private": "true",
        **more,
    }
    return "auth = { " + ", ".join(f"{name} = {value}" for name, value in settings.items() if value) + " }"
