"""What the protocol means, shown against a certified authorization server and not against our own reading of it."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from sidecar.auth.oauth.config import Algorithm, ClientCredentials, JwtBearer, RefreshToken, TokenExchange
from sidecar.auth.oauth.dpop import DpopKey
from sidecar.auth.oauth.minter import Minter
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.core.clock import SystemClock
from sidecar.core.secret import Secret
from tests.auth.oauth.asking import Vault, minter, network, new_secret, pem, private_key, reference
from tests.kit.authorization import AuthorizationServer
from tests.kit.certificates import Authority
from tests.kit.clock import ManualClock

CREDENTIALS = ["client_credentials"]
CODE = {
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "redirect_uris": ["http://localhost/cb"],
}


def public_key(algorithm: Algorithm, **members: str) -> dict[str, Any]:
    """Give the public half of the test's key as a server wants it."""
    kinds: dict[str, Any] = {"ES256": ECKey, "EdDSA": OKPKey}
    key = kinds.get(algorithm, RSAKey).import_key(pem(private_key(algorithm)))
    return {**key.as_dict(private=False), **members}


def settings(server: AuthorizationServer, client_id: str, auth: str, **further: Any) -> dict[str, Any]:
    """Give what the grants of these tests have in common."""
    is_secret = auth.startswith("client_secret")
    return {
        "token_url": TokenUrl.parse(server.token_url),
        "client_id": client_id,
        "client_auth": auth,
        "allow_private": True,
        **({"client_secret": reference("secret")} if is_secret else {}),
        **further,
    }


def new_id() -> str:
    """Give a client's name that no other test has, with characters that Basic has to encode."""
    return f"client:{secrets.token_hex(4)}/+ %&"


@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
async def test_a_secret_with_everything_in_it(authorization_server: AuthorizationServer, auth: str) -> None:
    """In Basic both parts are form-urlencoded first (RFC 6749 section 2.3.1): sent raw, this server answers 400."""
    secret, client_id = new_secret(), new_id()
    await authorization_server.add_client(
        client_id, client_secret=secret, grant_types=CREDENTIALS, token_endpoint_auth_method=auth
    )
    grant = ClientCredentials(**settings(authorization_server, client_id, auth, scopes=("contacts", "orders")))
    token = await minter(grant, secret=secret).mint()
    assert (await authorization_server.look_up(token.value))["clientId"] == client_id
    assert token.extra["scope"] == "contacts orders"
    assert token.life == pytest.approx(600)


async def test_a_wrong_secret_is_refused_for_good(authorization_server: AuthorizationServer) -> None:
    """Trying again does not help, and the operator sees the server's own word."""
    client_id, wrong = new_id(), secrets.token_hex(16)
    await authorization_server.add_client(client_id, client_secret=new_secret(), grant_types=CREDENTIALS)
    grant = ClientCredentials(**settings(authorization_server, client_id, "client_secret_basic"))
    with pytest.raises(TokenRefused, match="401 invalid_client") as refused:
        await minter(grant, secret=wrong).mint()
    assert not refused.value.is_retryable
    assert wrong not in str(refused.value)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_a_client_that_signs(authorization_server: AuthorizationServer, algorithm: Algorithm) -> None:
    """private_key_jwt, several times: this server refuses a `jti` that it has seen."""
    client_id = new_id()
    await authorization_server.add_client(
        client_id,
        grant_types=CREDENTIALS,
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_signing_alg=algorithm,
        jwks={"keys": [public_key(algorithm, kid="k1")]},
    )
    further = {"client_key": reference("key"), "client_algorithm": algorithm, "client_key_id": "k1"}
    grant = ClientCredentials(**settings(authorization_server, client_id, "private_key_jwt", **further))
    asked = minter(grant, key=pem(private_key(algorithm)))
    values = [(await asked.mint()).value for _ in range(3)]
    assert len(set(values)) == 3
    assert (await authorization_server.look_up(values[2]))["clientId"] == client_id


async def test_a_clock_far_off_is_set_by_the_servers(authorization_server: AuthorizationServer) -> None:
    """The clock of this test stands months away; the server's `Date` tells, and the second request is right."""
    client_id = new_id()
    await authorization_server.add_client(
        client_id,
        grant_types=CREDENTIALS,
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_signing_alg="ES256",
        jwks={"keys": [public_key("ES256")]},
    )
    further = {"client_key": reference("key"), "client_algorithm": "ES256"}
    grant = ClientCredentials(**settings(authorization_server, client_id, "private_key_jwt", **further))
    token = await minter(grant, ManualClock(), key=pem(private_key("ES256"))).mint()
    assert await authorization_server.look_up(token.value)


async def with_certificate(server: AuthorizationServer, authority: Authority, tmp_path: Path) -> tuple[Token, Minter]:
    """Ask with a certificate of `authority`, for a client that is known by the name in it."""
    client_id = new_id()
    await server.add_client(
        client_id,
        grant_types=CREDENTIALS,
        token_endpoint_auth_method="tls_client_auth",
        tls_client_auth_san_dns="checkout.example",
        tls_client_certificate_bound_access_tokens=True,
    )
    certificate, key, _ = authority.pems("checkout.example")
    grant = ClientCredentials(
        token_url=TokenUrl.parse(server.tls_token_url),
        client_id=client_id,
        client_auth="tls_client_auth",
        client_certificate=reference("certificate"),
        client_key=reference("key"),
        ca_file=str(server.authority.write_to(tmp_path / "ca.pem")),
        allow_private=True,
    )
    asked = minter(grant, certificate=certificate, key=key)
    return await asked.mint(), asked


async def test_a_client_that_shows_a_certificate(authorization_server: AuthorizationServer, tmp_path: Path) -> None:
    """tls_client_auth (RFC 8705); the token is bound to the certificate."""
    token, asked = await with_certificate(authorization_server, authorization_server.authority, tmp_path)
    assert (await authorization_server.look_up(token.value))["x5t#S256"]
    assert (await asked.mint()).value != token.value


async def test_a_certificate_of_somebody_else(authorization_server: AuthorizationServer, tmp_path: Path) -> None:
    """The same name, by another authority."""
    with pytest.raises(TokenRefused, match="invalid_client"):
        await with_certificate(authorization_server, Authority(), tmp_path)


@pytest.mark.parametrize("needs_nonce", [False, True])
async def test_a_token_that_is_bound_to_a_key(authorization_server: AuthorizationServer, *, needs_nonce: bool) -> None:
    """DPoP (RFC 9449), with the nonce that the server wants in the proof."""
    client_id, secret = new_id(), new_secret()
    await authorization_server.add_client(
        client_id,
        client_secret=secret,
        grant_types=CREDENTIALS,
        dpop_bound_access_tokens=True,
        needs_nonce=needs_nonce,
    )
    grant = ClientCredentials(**settings(authorization_server, client_id, "client_secret_basic", dpop=True))
    asked = minter(grant, secret=secret)
    for _ in range(2):
        token = await asked.mint()
        assert token.kind == "DPoP"
        assert isinstance(token.bound_to, DpopKey)
        assert (await authorization_server.look_up(token.value))["jkt"] == token.bound_to.thumbprint


async def test_refresh_tokens_rotate_and_an_old_one_kills_the_family(authorization_server: AuthorizationServer) -> None:
    """So a new one is stored before it is used, and the old one never tried again."""
    client_id, secret = new_id(), new_secret()
    await authorization_server.add_client(client_id, client_secret=secret, **CODE)
    grant = RefreshToken(
        **settings(authorization_server, client_id, "client_secret_basic"), refresh_token=reference("refresh")
    )
    asked = minter(grant, secret=secret)
    first = Secret((await authorization_server.consent(client_id)).encode(), "1")
    token = await asked.mint(first)
    second = token.refresh_token
    assert second is not None
    assert second.reveal() != first.reveal()
    assert (await authorization_server.look_up(token.value))["accountId"] == "somebody"
    third = (await asked.mint(second)).refresh_token
    assert third is not None
    with pytest.raises(TokenRefused) as refused:
        await asked.mint(first)
    assert refused.value.is_invalid_grant
    with pytest.raises(TokenRefused) as dead:
        await asked.mint(third)
    assert dead.value.is_invalid_grant


async def test_a_public_client_refreshes_without_a_secret(authorization_server: AuthorizationServer) -> None:
    """client_auth none: the login was with PKCE."""
    client_id = new_id()
    await authorization_server.add_client(client_id, token_endpoint_auth_method="none", **CODE)
    grant = RefreshToken(**settings(authorization_server, client_id, "none"), refresh_token=reference("refresh"))
    refresh = Secret((await authorization_server.consent(client_id)).encode(), "1")
    assert (await minter(grant).mint(refresh)).refresh_token is not None


async def test_an_assertion_is_verified_by_others(authorization_server: AuthorizationServer) -> None:
    """The server verifies what a service account signs (RFC 7523) with a library of its own: signature, times, name."""
    client_id, issuer = new_id(), f"{secrets.token_hex(4)}@project.example"
    await authorization_server.add_client(
        client_id, token_endpoint_auth_method="none", grant_types=["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    )
    await authorization_server.trust(issuer, public_key("RS256", kid="k1", alg="RS256"))
    grant = JwtBearer(
        **settings(authorization_server, client_id, "none", scopes=("contacts",)),
        key=reference("account"),
        key_id="k1",
        issuer=issuer,
        subject="admin@crm.example",
    )
    token = await minter(grant, account=pem(private_key("RS256"))).mint()
    known = await authorization_server.look_up(token.value)
    assert (known["scope"], known["subject"]) == ("contacts", "admin@crm.example")
    with pytest.raises(TokenRefused) as refused:
        await minter(grant, account=pem(private_key("PS256"))).mint()
    assert refused.value.is_invalid_grant


async def test_a_pods_own_token_is_exchanged(authorization_server: AuthorizationServer, tmp_path: Path) -> None:
    """RFC 8693, with a projected service-account token from a file."""
    from sidecar.auth.oauth.jwt import sign

    client_id, issuer = new_id(), f"https://{secrets.token_hex(4)}.cluster.example"
    await authorization_server.add_client(
        client_id, token_endpoint_auth_method="none", grant_types=["urn:ietf:params:oauth:grant-type:token-exchange"]
    )
    await authorization_server.trust(issuer, public_key("ES256"))
    now = int(SystemClock().wall())
    claims = {"iss": issuer, "sub": "system:serviceaccount:shop:checkout", "aud": authorization_server.issuer}
    path = tmp_path / "token"
    path.write_text(sign({**claims, "iat": now, "exp": now + 600}, pem(private_key("ES256")), "ES256"))
    grant = TokenExchange(**settings(authorization_server, client_id, "none"), subject_token_file=str(path))
    token = await minter(grant).mint()
    assert (await authorization_server.look_up(token.value))["subject"] == claims["sub"]


async def test_a_secret_rotates_at_both_ends(authorization_server: AuthorizationServer) -> None:
    """The next request has the new one; between the two the refusal says whose fault it is."""
    client_id, first, second = new_id(), new_secret(), new_secret()
    metadata = {"grant_types": CREDENTIALS}
    vault = Vault({"secret": first})
    await authorization_server.add_client(client_id, client_secret=first, **metadata)
    grant = ClientCredentials(**settings(authorization_server, client_id, "client_secret_basic"))
    asked = Minter(grant, vault.hold, network(), SystemClock())
    await asked.mint()
    await authorization_server.add_client(client_id, client_secret=second, **metadata)
    with pytest.raises(TokenRefused, match="invalid_client") as refused:
        await asked.mint()
    assert not any(piece in json.dumps(str(refused.value)) for piece in (first, second))
    vault.put("secret", second)
    assert (await asked.mint()).value
