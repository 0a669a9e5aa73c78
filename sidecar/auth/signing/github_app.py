"""GitHub App: a JWT by the app's key, exchanged for the token of one installation, which lives for an hour.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from sidecar.auth.network import Network
from sidecar.auth.oauth.answer import read_answer
from sidecar.auth.oauth.config import TokenRequest
from sidecar.auth.oauth.endpoint import Answer, Fields, TokenEndpoint
from sidecar.auth.oauth.jwt import sign
from sidecar.auth.oauth.material import Material
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.auth.secrets.held import Held
from sidecar.auth.signing.config import GithubApp
from sidecar.core.clock import Clock
from sidecar.core.secret import Secret, SecretRef

API_VERSION = "2022-11-28"
ISSUED_BEFORE = 60  # Seconds that the JWT is dated back: GitHub's clock may be behind ours.
LIFE = 540  # Seconds from now; GitHub takes 10 minutes at most, by its clock.
SKEW_MIN = 5.0  # Seconds. Clocks nearer than this are taken as equal: `Date` has whole seconds, and travels.


class _Installation(TokenEndpoint):
    """The endpoint of one installation, which takes one JSON object, always the same."""

    def __init__(self, config: GithubApp, network: Network, clock: Clock) -> None:
        super().__init__(_request(config), network, clock)
        wanted: dict[str, Any] = {}
        if config.permissions:
            wanted["permissions"] = config.permissions
        if config.repositories:
            wanted["repositories"] = config.repositories
        self._wanted = json.dumps(wanted).encode()

    def _body(self, fields: Fields) -> bytes:  # noqa: ARG002 - the endpoint's signature
        return self._wanted


class GithubMinter:
    """Mints tokens of one installation. It keeps none: caching, pacing and trying again are for those who ask it."""

    def __init__(self, config: GithubApp, hold: Callable[[SecretRef], Held], network: Network, clock: Clock) -> None:
        self._app_id = config.app_id
        self._key = config.private_key
        self._held = hold(config.private_key)
        self._clock = clock
        self._endpoint = _Installation(config, network, clock)
        self._skew = 0.0  # Seconds that GitHub's clock is ahead of ours, as its last answer said.

    async def mint(self, refresh_token: Secret | None = None) -> Token:
        """Ask for a token. Raises TokenRefused, whose sentence holds nothing that was sent.

        A JWT that was refused while our clock differs from GitHub's is made once more, by GitHub's.
        """
        assert refresh_token is None, "an installation has none"
        material = self._material()
        try:
            started_at, skew = self._clock.now(), self._skew
            answer = await self._ask(material)
            if answer.status == 401 and abs(self._skew - skew) > SKEW_MIN:
                started_at = self._clock.now()
                answer = await self._ask(material)
            return self._read(answer, started_at)
        except TokenRefused as plain:
            refused = plain
        # Not chained: what it hides was in the one before.
        raise material.masked(refused)

    def _material(self) -> Material:
        secret = self._held.secret
        if secret is None:
            raise TokenRefused(
                f"the GitHub App's private key could not be read: {self._held.problem}",
                is_retryable=True,
                is_unsent=True,
            )
        return Material({self._key: secret.reveal()})

    async def _ask(self, material: Material) -> Answer:
        now = int(self._clock.wall() + self._skew)
        claims = {"iat": now - ISSUED_BEFORE, "exp": now + LIFE, "iss": self._app_id}
        # In a thread: the key is checked, and signs, for some milliseconds.
        token = await asyncio.to_thread(sign, claims, material.value(self._key), "RS256")
        answer = await self._endpoint.post([("Authorization", f"Bearer {material.sent(token)}")], [])
        if answer.date is not None:
            skew = answer.date - self._clock.wall()
            self._skew = skew if abs(skew) > SKEW_MIN else 0.0
        return answer

    def _read(self, answer: Answer, started_at: float) -> Token:
        wall = self._clock.wall() + self._skew
        try:
            return read_answer(answer.status, answer.content_type, _as_oauth(answer.body), started_at, wall)
        except TokenRefused as refused:
            refused.retry_after = answer.retry_after
            raise


def _request(config: GithubApp) -> TokenRequest:
    return TokenRequest(
        token_url=TokenUrl.parse(f"{config.api_base}/app/installations/{config.installation_id}/access_tokens"),
        client_auth="none",
        body="json",
        headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": API_VERSION},
        ca_file=config.ca_file,
        allow_private=config.allow_private,
        timeout=config.timeout,
    )


def _as_oauth(body: bytes) -> bytes:
    """Give GitHub's answer under OAuth's names; what is none stays as it is, and is refused as such."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(document, dict) or "token" not in document:
        return body
    return json.dumps({**document, "access_token": document["token"], "token": None}).encode()
