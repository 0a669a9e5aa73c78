"""`sidecar login` with a certified authorization server and a browser: what is stored afterwards mints tokens."""

import asyncio
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from sidecar.auth.login.config import LoginConfig
from sidecar.auth.login.endpoints import Endpoints
from sidecar.auth.login.failed import LoginFailed
from sidecar.auth.login.login import Terminal, Way, log_in
from sidecar.auth.oauth.config import RefreshToken
from sidecar.auth.oauth.dpop import DpopKey
from sidecar.auth.oauth.minter import Minter
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.auth.secrets.file import FileStore, FileStoreConfig
from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.clock import SystemClock
from sidecar.core.ids import Ids
from sidecar.core.secret import Secret
from tests.auth.oauth.asking import Vault, network, new_secret, pem, reference
from tests.kit import browser
from tests.kit.authorization import AuthorizationServer

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
PERSON = {"login": "somebody", "password": "x"}
CLOCK = SystemClock()


class Service:
    """A service whose refresh token lies in a directory, and somebody at the terminal."""

    def __init__(self, server: AuthorizationServer, folder: Path, auth: str) -> None:
        self.server = server
        self.store = FileStore(FileStoreConfig(path=str(folder)))
        self.client_id = f"client-{secrets.token_hex(4)}"
        self.secret = new_secret()
        self.auth = auth
        self.heard: list[str] = []
        self.page = ""
        self.browsing: asyncio.Future[None] | None = None
        self.vault = Vault({"secret": self.secret})
        is_secret = auth.startswith("client_secret")
        self.grant = RefreshToken(
            token_url=TokenUrl.parse(server.token_url),
            client_id=self.client_id,
            client_auth=auth,  # type: ignore[arg-type]
            client_secret=reference("secret") if is_secret else None,
            scopes=("openid", "offline_access", "contacts"),
            refresh_token=reference("refresh-token"),
            allow_private=True,
        )

    def bind(self, key: bytes) -> None:
        """Have a key in the store, to which grant and tokens are bound."""
        self.vault.put("dpop", key)
        self.grant = replace(self.grant, dpop=True, dpop_key=reference("dpop"))

    async def register(self, **more: Any) -> None:
        """Make the client known, as a native app (RFC 8252): any port of loopback will do."""
        secret = {} if self.auth == "none" else {"client_secret": self.secret}
        await self.server.add_client(
            self.client_id,
            application_type="native",
            grant_types=["authorization_code", "refresh_token", DEVICE],
            response_types=["code"],
            redirect_uris=["http://127.0.0.1/callback"],
            token_endpoint_auth_method=self.auth,
            **secret,
            **more,
        )

    async def log_in(self, way: Way, terminal: Terminal, **more: Any) -> str:
        """Do what `sidecar login` does."""
        config = LoginConfig(
            authorize_url=TokenUrl.parse(f"{self.server.issuer}/auth"),
            device_url=TokenUrl.parse(f"{self.server.issuer}/device/auth"),
            **{"issuer": self.server.issuer, "params": {"prompt": "consent"}, **more},
        )
        endpoints = Endpoints(self.grant, self.vault.hold, network(), CLOCK, Ids())
        return await log_in(self.grant, config, way, endpoints, self.store, CLOCK, terminal)

    async def stored(self) -> Secret:
        """Give the refresh token that is stored."""
        return await self.store.fetch("refresh-token")

    async def mint(self) -> Token:
        """Mint a token as the running sidecar does, with what is stored."""
        return await Minter(self.grant, self.vault.hold, network(), CLOCK).mint(await self.stored())


def terminal(service: Service, **typed: str) -> Terminal:
    """Give somebody whose browser goes where it is sent, and who consents."""
    loop = asyncio.get_running_loop()

    async def browse(url: str) -> None:
        service.page = await browser.go(url, {**PERSON, **typed})

    def open_browser(url: str) -> bool:
        service.browsing = asyncio.run_coroutine_threadsafe(browse(url), loop)  # type: ignore[assignment]
        return True

    return Terminal(service.heard.append, lambda: "", open_browser)


@pytest.mark.parametrize("auth", ["none", "client_secret_basic", "client_secret_post"])
async def test_by_browser(authorization_server: AuthorizationServer, tmp_path: Path, auth: str) -> None:
    """PKCE, state, issuer and loopback as this server judges them; the stored token mints, and says whose it is."""
    service = Service(authorization_server, tmp_path, auth)
    await service.register()
    version = await service.log_in("browser", terminal(service))
    token = await service.mint()
    assert (await authorization_server.look_up(token.value))["clientId"] == service.client_id
    said = "\n".join(service.heard)
    assert version in said
    assert "openid offline_access contacts" in said
    stored = (await service.store.fetch("refresh-token")).reveal().decode()
    assert stored not in said
    assert service.secret not in said
    while not service.page:
        await asyncio.wait([asyncio.ensure_future(service.store.fetch("refresh-token"))])
    assert "the terminal tells" in service.page


async def test_a_wrong_issuer_is_waited_past(authorization_server: AuthorizationServer, tmp_path: Path) -> None:
    """The server says who it is (RFC 9207); for the person it is a page that tells so."""
    service = Service(authorization_server, tmp_path, "none")
    await service.register()
    login = asyncio.ensure_future(service.log_in("browser", terminal(service), issuer="https://other.example"))
    while not service.page:
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(lambda: None))])
    assert "does not answer the login" in service.page
    login.cancel()
    await asyncio.wait([login])
    with pytest.raises(StoreFailed):
        await service.store.fetch("refresh-token")


async def test_by_paste(authorization_server: AuthorizationServer, tmp_path: Path) -> None:
    """The browser is elsewhere: it ends at an address where nobody answers, and that is pasted."""
    service = Service(authorization_server, tmp_path, "none")
    await service.register()
    loop = asyncio.get_running_loop()

    async def browse(url: str) -> str:
        return await browser.go_until(url, PERSON, "http://127.0.0.1:")

    def read_line() -> str:
        url = next(text for text in service.heard if text.startswith("Consent")).split("\n\n")[1].strip()
        assert parse_qs(urlsplit(url).query)["code_challenge_method"] == ["S256"]
        return asyncio.run_coroutine_threadsafe(browse(url), loop).result() + "\n"

    await service.log_in("paste", Terminal(service.heard.append, read_line))
    assert (await service.mint()).life > 0


@pytest.mark.parametrize("way", ["browser", "device"])
async def test_a_public_clients_grant_is_bound_to_its_key(
    authorization_server: AuthorizationServer, tmp_path: Path, way: Way
) -> None:
    """RFC 9449 section 5: who has the key can renew, also in another process; the refresh token alone is worth nothing.

    After a key was rotated somebody has to log in again.
    """
    service = Service(authorization_server, tmp_path, "none")
    service.bind(pem(ec.generate_private_key(ec.SECP256R1())))
    await service.register(dpop_bound_access_tokens=True)
    typing: list[Any] = []

    def say(text: str) -> None:
        if "type the code" in text:
            where, code = (part.strip() for part in text.split("\n\n")[1::2][:2])
            going = browser.go(where, {**PERSON, "user_code": code})
            typing.append(asyncio.get_running_loop().create_task(going))

    await service.log_in(way, terminal(service) if way == "browser" else Terminal(say, lambda: ""))
    if typing:
        await asyncio.wait(typing)
    token = await service.mint()
    assert isinstance(token.bound_to, DpopKey)
    assert (await authorization_server.look_up(token.value))["jkt"] == token.bound_to.thumbprint
    assert token.refresh_token is not None
    await service.store.put("refresh-token", None, token.refresh_token.reveal(), (await service.stored()).version)
    service.bind(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(TokenRefused) as refused:
        await service.mint()
    assert refused.value.is_invalid_grant


@pytest.mark.parametrize("auth", ["none", "client_secret_basic"])
async def test_by_device(authorization_server: AuthorizationServer, tmp_path: Path, auth: str) -> None:
    """The code is typed on another machine; this one asks until it is done."""
    service = Service(authorization_server, tmp_path, auth)
    await service.register()
    heard: list[str] = []
    typing: list[Any] = []
    loop = asyncio.get_running_loop()

    def say(text: str) -> None:
        heard.append(text)
        if "type the code" in text:
            where, code = (part.strip() for part in text.split("\n\n")[1::2][:2])
            typing.append(loop.create_task(browser.go(where, {**PERSON, "user_code": code})))

    await service.log_in("device", Terminal(say, lambda: ""))
    await asyncio.wait(typing)
    assert (await service.mint()).life > 0


async def test_a_client_without_the_device_grant_is_told(
    authorization_server: AuthorizationServer, tmp_path: Path
) -> None:
    """In the server's words."""
    service = Service(authorization_server, tmp_path, "none")
    with pytest.raises(LoginFailed, match=r"device_url answered 40\d invalid_client"):
        await service.log_in("device", Terminal(service.heard.append, lambda: ""))


async def test_a_second_login_replaces_the_first(authorization_server: AuthorizationServer, tmp_path: Path) -> None:
    """Such as after a grant that was lost."""
    service = Service(authorization_server, tmp_path, "none")
    await service.register()
    first = await service.log_in("browser", terminal(service))
    second = await service.log_in("browser", terminal(service))
    assert first != second
    assert "will be replaced" in "".join(service.heard)
    assert (await service.mint()).life > 0
