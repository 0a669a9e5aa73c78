import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.auth.secrets.held import Held
from sidecar.auth.signing.config import GithubApp
from sidecar.auth.signing.github_app import GithubMinter
from sidecar.core.clock import SystemClock
from sidecar.core.secret import SecretRef
from sidecar.generation import network_of
from sidecar.upstream.resolve import Resolver
from sidecar.upstream.tls import Trust
from tests.auth.signing.keeping import REF, held

WALL = 1_767_225_600.0  # GitHub's clock.
NEVER_SENT = "ghs_the-token-of-the-installation"
Say = Callable[[web.Request], web.Response]


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """Make an app's key."""
    return rsa.generate_private_key(65537, 2048)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """Write it as GitHub hands it out: PKCS 1."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


class Github:
    """Gives installation tokens as GitHub does: looks at the JWT with a library that is not ours."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.says: Say | None = None  # Instead of what it would.
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Judge a request."""
        self.requests.append(
            (f"{request.method} {request.rel_url.raw_path}", dict(request.headers), await request.read())
        )
        response = self._judge(request) if self.says is None else self.says(request)
        response.headers["Date"] = formatdate(WALL, usegmt=True)
        return response

    def _judge(self, request: web.Request) -> web.Response:
        shown = request.headers["Authorization"].removeprefix("Bearer ")
        # Its clock is not the machine's, so the instants are looked at here.
        untimed: Any = {"verify_exp": False, "verify_iat": False}
        claims = jwt.decode(shown, self._public, algorithms=["RS256"], issuer="12345", options=untimed)
        if not (claims["iat"] <= WALL < claims["exp"] <= WALL + 600):
            return refusal(401, "'Expiration time' claim ('exp') is too far in the future")
        wanted = json.loads(request_body(self))
        answer = {
            "token": NEVER_SENT,
            "expires_at": datetime.fromtimestamp(WALL + 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "permissions": wanted.get("permissions", {"issues": "write"}),
            "repository_selection": "selected",
        }
        return web.Response(status=201, text=json.dumps(answer), content_type="application/json")


def request_body(github: Github) -> bytes:
    """Give the body of the last request."""
    return github.requests[-1][2]


def refusal(status: int, message: str, **headers: str) -> web.Response:
    """Say no as GitHub does."""
    document = {"message": message, "documentation_url": "https://docs.github.com/rest"}
    return web.Response(status=status, text=json.dumps(document), content_type="application/json", headers=headers)


@pytest.fixture
async def github(key: rsa.RSAPrivateKey) -> AsyncIterator[Github]:
    """Run it."""
    serving = Github(key)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", serving.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    serving.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield serving
    await runner.cleanup()


async def mint(github: Github, kept: Held, wall_ahead: float = 0.0, **settings: Any) -> Token:
    """Ask once, by a clock that is ahead of GitHub's."""
    return await minter(github, kept, wall_ahead, **settings).mint(None)


class Ahead(SystemClock):
    """The machine's clock, with the wall's time moved."""

    def __init__(self, wall_at: float) -> None:
        self._wall_at = wall_at

    def wall(self) -> float:
        """Stand still."""
        return self._wall_at


def minter(github: Github, kept: Held, wall_ahead: float = 0.0, **settings: Any) -> GithubMinter:
    """Make a minter."""
    clock = Ahead(WALL + wall_ahead)
    network = network_of(Resolver(clock), Trust())
    config = GithubApp(
        app_id="12345",
        private_key=REF,
        installation_id="678",
        api_base=TokenUrl.parse(github.url),
        allow_private=True,
        **settings,
    )
    assert config.problems() == []

    def hold(ref: SecretRef) -> Held:
        assert ref == REF
        return kept

    return GithubMinter(config, hold, network, clock)


async def test_an_installations_token_lives_for_an_hour(github: Github, key: rsa.RSAPrivateKey) -> None:
    """One request, with a JWT that a stranger's library verifies."""
    before = SystemClock.now()
    token = await mint(github, held(pem(key)))
    assert token.value == NEVER_SENT.encode()
    assert token.kind == "Bearer"
    assert token.life == pytest.approx(3600)
    assert before <= token.got_at <= SystemClock.now()
    assert token.refresh_token is None
    ((line, headers, body),) = github.requests
    assert line == "POST /app/installations/678/access_tokens"
    assert body == b"{}"
    assert headers["Accept"] == "application/vnd.github+json"
    assert headers["X-GitHub-Api-Version"] == "2022-11-28"


async def test_less_may_be_asked_for(github: Github, key: rsa.RSAPrivateKey) -> None:
    """One repository is a list, too."""
    await mint(github, held(pem(key)), permissions={"issues": "read"}, repositories=("checkout",))
    assert json.loads(request_body(github)) == {"permissions": {"issues": "read"}, "repositories": ["checkout"]}


@pytest.mark.parametrize("wall_ahead", [-300.0, -45.0, 45.0, 300.0])
async def test_a_clock_five_minutes_off_is_set_by_githubs(
    github: Github, key: rsa.RSAPrivateKey, wall_ahead: float
) -> None:
    """By its `Date`, after one refusal; from then on the first request is right."""
    minting = minter(github, held(pem(key)), wall_ahead)
    for _ in range(2):
        token = await minting.mint(None)
        assert token.life == pytest.approx(3600)
    assert len(github.requests) <= 3


async def test_what_it_says_is_told_without_what_was_sent(github: Github, key: rsa.RSAPrivateKey) -> None:
    """Also if it repeats the JWT; with its status, and when to come back."""
    shown: list[str] = []

    def echo(request: web.Request) -> web.Response:
        shown.append(request.headers["Authorization"].removeprefix("Bearer "))
        return refusal(403, f"Resource not accessible: {shown[-1]}", **{"Retry-After": "60"})

    github.says = echo
    with pytest.raises(TokenRefused, match="403: Resource not accessible") as refused:
        await mint(github, held(pem(key)))
    assert shown
    assert shown[0] not in str(refused.value)
    assert shown[0].rpartition(".")[2] not in str(refused.value)
    assert refused.value.status == 403
    assert refused.value.retry_after == 60
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "is_retryable"), [(401, False), (404, False), (422, False), (500, True), (503, True), (429, True)]
)
async def test_what_may_pass_is_told_from_what_will_not(
    github: Github, key: rsa.RSAPrivateKey, status: int, *, is_retryable: bool
) -> None:
    """An installation that is gone stays gone."""
    github.says = lambda _: refusal(status, "no")
    with pytest.raises(TokenRefused, match=str(status)) as refused:
        await mint(github, held(pem(key)))
    assert refused.value.is_retryable == is_retryable
    assert len(github.requests) == 1


async def test_a_redirect_is_not_followed(github: Github, key: rsa.RSAPrivateKey) -> None:
    """The JWT is for GitHub alone."""
    github.says = lambda _: web.Response(status=307, headers={"Location": "https://elsewhere.test/"})
    with pytest.raises(TokenRefused, match="redirect to elsewhere"):
        await mint(github, held(pem(key)))
    assert len(github.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"token": 7}', b'{"token": ""}', b'{"token": "a\\nb"}'])
async def test_an_answer_without_a_token_is_refused(github: Github, key: rsa.RSAPrivateKey, body: bytes) -> None:
    """Whatever it is."""
    github.says = lambda _: web.Response(status=201, body=body)
    with pytest.raises(TokenRefused):
        await mint(github, held(pem(key)))


async def test_a_key_that_is_none_is_told_and_nothing_is_sent(github: Github) -> None:
    """Not its value."""
    with pytest.raises(TokenRefused, match="no private key for RS256") as refused:
        await mint(github, held(b"canary"))
    assert "canary" not in str(refused.value)
    with pytest.raises(TokenRefused, match="private key could not be read"):
        await mint(github, held())
    assert github.requests == []


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"installation_id": "me"}, "installation_id"),
        ({"app_id": "a b"}, "app_id"),
        ({"api_base": TokenUrl.parse("https://api.test/")}, "api_base"),
        ({"api_base": TokenUrl.parse("http://api.test")}, "api_base"),
        ({"permissions": {"issues": "all"}}, "permissions.issues"),
    ],
)
def test_what_github_would_refuse_is_told_at_load(settings: dict[str, Any], field: str) -> None:
    """With its key."""
    config = GithubApp(**{"app_id": "1", "private_key": REF, "installation_id": "2", **settings})
    assert [name for name, _ in config.problems()] == [field]


def test_the_api_is_githubs_own_by_default() -> None:
    """An Enterprise Server is named."""
    config = GithubApp(app_id="Iv23liABC", private_key=REF, installation_id="2")
    assert config.api_base == "https://api.github.com"
    assert config.problems() == []
