"""Grant: the parameters by which a token is asked for, one function for each way."""

import asyncio
from pathlib import Path

from sidecar.auth.oauth.config import (
    JWT_BEARER,
    TOKEN_EXCHANGE,
    ClientCredentials,
    Grant,
    JwtBearer,
    RefreshToken,
    TokenExchange,
)
from sidecar.auth.oauth.jwt import sign
from sidecar.auth.oauth.material import Material, decoded
from sidecar.auth.oauth.token import TokenRefused
from sidecar.core.secret import Secret

FILE_MAX = 64 * 1024  # Bytes of a subject token's file. Longer: refused, no token is.

Fields = list[tuple[str, str]]


def ask(grant: Grant, material: Material, wall: float, jti: str, held: str | None = None) -> Fields:
    """Give the parameters of a token request, without those that say who asks. Raises TokenRefused.

    `wall` is the Unix time at the endpoint; `held` the refresh token or the subject token that was read for it.
    """
    if isinstance(grant, ClientCredentials):
        return [("grant_type", grant.grant_type), *_scope(grant), *_resources(grant)]
    if isinstance(grant, RefreshToken):
        assert held is not None
        return [("grant_type", "refresh_token"), ("refresh_token", held), *_scope(grant), *_resources(grant)]
    if isinstance(grant, JwtBearer):
        scope = _scope(grant) if grant.scopes_in == "request" else []
        assertion = material.sent(_assertion(grant, material, wall, jti))
        return [("grant_type", JWT_BEARER), ("assertion", assertion), *scope, *_resources(grant)]
    assert held is not None
    return _exchange(grant, material, held)


def _scope(grant: Grant) -> Fields:
    return [("scope", grant.scope_separator.join(grant.scopes))] if grant.scopes else []


def _resources(grant: Grant) -> Fields:
    return [("resource", resource) for resource in grant.resources]


def _assertion(grant: JwtBearer, material: Material, wall: float, jti: str) -> str:
    """Sign that the issuer may act for the subject (RFC 7523 section 3); what `claims` says wins."""
    claims: dict[str, str | int] = {"iss": grant.issuer}
    if grant.subject is not None:
        claims["sub"] = grant.subject
    claims["aud"] = grant.audience or str(grant.token_url)
    if grant.scopes_in == "assertion":
        claims.update(_scope(grant))
    claims |= {"iat": int(wall), "exp": int(wall + grant.assertion_life), "jti": jti}
    header = {} if grant.key_id is None else {"kid": grant.key_id}
    return sign({**claims, **grant.claims}, material.value(grant.key), grant.algorithm, header)


def _exchange(grant: TokenExchange, material: Material, subject: str) -> Fields:
    fields: Fields = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", grant.subject_token_type),
    ]
    if grant.actor_token is not None:
        actor = material.text(grant.actor_token, "actor_token")
        fields += [("actor_token", actor), ("actor_token_type", grant.actor_token_type)]
    if grant.requested_token_type is not None:
        fields.append(("requested_token_type", grant.requested_token_type))
    fields += [("audience", audience) for audience in grant.audiences]
    return [*fields, *_scope(grant), *_resources(grant)]


async def held_token(grant: Grant, material: Material, refresh_token: Secret | None) -> str | None:
    """Give what is handed in for the token, if the grant is of that kind. Raises TokenRefused."""
    if isinstance(grant, RefreshToken):
        if refresh_token is None:
            raise TokenRefused("there is no refresh token yet; somebody has to consent first: sidecar login")
        return material.sent(decoded(refresh_token.reveal(), "refresh_token"))
    if not isinstance(grant, TokenExchange):
        return None
    if grant.subject_token is not None:
        return material.text(grant.subject_token, "subject_token")
    assert grant.subject_token_file is not None
    return material.sent(await asyncio.to_thread(_read, grant.subject_token_file))


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_MAX + 1)
    except OSError as error:
        raise TokenRefused(
            f"subject_token_file cannot be read: {error.strerror}", is_retryable=True, is_unsent=True
        ) from None
    if not content.strip() or len(content) > FILE_MAX:
        raise TokenRefused("subject_token_file is empty, or too long to be a token", is_retryable=True, is_unsent=True)
    return decoded(content.strip(), "subject_token_file")
