import secrets
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from sidecar.auth.oauth.config import (
    JWT_BEARER,
    JWT_TYPE,
    TOKEN_EXCHANGE,
    ClientCredentials,
    Grant,
    JwtBearer,
    RefreshToken,
    TokenExchange,
)
from sidecar.auth.oauth.grant import FILE_MAX, ask, held_token
from sidecar.auth.oauth.material import Material
from sidecar.auth.oauth.token import TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.core.secret import Secret
from sidecar.core.units import Duration
from tests.auth.oauth.asking import pem, private_key, reference

URL = TokenUrl.parse("https://id.crm.example/token")
SECRET = reference("s")
KEY = reference("key")


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        (ClientCredentials(token_url=URL), [("grant_type", "client_credentials")]),
        (
            ClientCredentials(token_url=URL, scopes=("a", "b"), resources=("https://x/", "https://y/")),
            [
                ("grant_type", "client_credentials"),
                ("scope", "a b"),
                ("resource", "https://x/"),
                ("resource", "https://y/"),
            ],
        ),
        (
            ClientCredentials(token_url=URL, scopes=("a", "b"), scope_separator=",", grant_type="account_credentials"),
            [("grant_type", "account_credentials"), ("scope", "a,b")],
        ),
        (
            RefreshToken(token_url=URL, refresh_token=SECRET),
            [("grant_type", "refresh_token"), ("refresh_token", "held")],
        ),
        (
            TokenExchange(token_url=URL, subject_token=SECRET),
            [("grant_type", TOKEN_EXCHANGE), ("subject_token", "held"), ("subject_token_type", JWT_TYPE)],
        ),
        (
            TokenExchange(
                token_url=URL,
                subject_token=SECRET,
                subject_token_type="urn:x",
                actor_token=SECRET,
                requested_token_type="urn:y",
                audiences=("one", "two"),
                scopes=("s",),
            ),
            [
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", "held"),
                ("subject_token_type", "urn:x"),
                ("actor_token", "stored"),
                ("actor_token_type", JWT_TYPE),
                ("requested_token_type", "urn:y"),
                ("audience", "one"),
                ("audience", "two"),
                ("scope", "s"),
            ],
        ),
    ],
)
def test_what_each_grant_asks(grant: Grant, expected: list[tuple[str, str]]) -> None:
    """RFC 6749, 8693 and 8707, with the names and separators that vendors have in their stead."""
    assert ask(grant, Material({SECRET: b"stored"}), 0, "j", "held") == expected


def asserted(**settings: Any) -> tuple[jwt.Token, dict[str, str]]:
    """Give the verified assertion of a grant at the instant 1000.9, and the other parameters."""
    grant = JwtBearer(token_url=URL, key=KEY, issuer="me@crm", **settings)
    fields = dict(ask(grant, Material({KEY: pem(private_key("RS256"))}), 1000.9, "j1"))
    key = RSAKey.import_key(pem(private_key("RS256")))
    return jwt.decode(fields.pop("assertion"), key, algorithms=["RS256"]), fields


def test_an_assertion_as_google_wants_it() -> None:
    """The audience is the token URL, the scopes stand in it, and it may live for an hour."""
    made, fields = asserted(
        scopes=("https://a/read", "https://a/write"), subject="admin@crm", key_id="k", assertion_life=Duration(3600)
    )
    assert fields == {"grant_type": JWT_BEARER}
    assert made.header == {"typ": "JWT", "alg": "RS256", "kid": "k"}
    assert made.claims == {
        "iss": "me@crm",
        "sub": "admin@crm",
        "aud": str(URL),
        "scope": "https://a/read https://a/write",
        "iat": 1000,
        "exp": 4600,
        "jti": "j1",
    }


def test_an_assertion_as_salesforce_and_others_want_it() -> None:
    """The audience is the login host; scopes where the RFC has them; claims of the vendor's own."""
    made, fields = asserted(
        audience="https://login.crm.example",
        scopes=("api",),
        scopes_in="request",
        claims={"box_sub_type": "enterprise", "iss": "other"},
    )
    assert fields == {"grant_type": JWT_BEARER, "scope": "api"}
    assert made.claims["aud"] == "https://login.crm.example"
    assert made.claims["box_sub_type"] == "enterprise"
    assert made.claims["iss"] == "other"
    assert made.claims["exp"] - made.claims["iat"] == 60
    assert "sub" not in made.claims
    assert "scope" not in made.claims


async def test_a_refresh_token_is_the_one_that_is_handed_in() -> None:
    """Those who rotate it know which one counts."""
    grant = RefreshToken(token_url=URL, refresh_token=SECRET)
    value = secrets.token_hex(8)
    material = Material({})
    assert await held_token(grant, material, Secret(value.encode(), "1")) == value
    assert value not in str(material.masked(TokenRefused(value)))
    with pytest.raises(TokenRefused, match="sidecar login"):
        await held_token(grant, material, None)


async def test_a_projected_token_is_read_for_each_request(tmp_path: Path) -> None:
    """The kubelet renews it long before its end, and tells nobody."""
    path = tmp_path / "token"
    grant = TokenExchange(token_url=URL, subject_token_file=str(path))
    material = Material({})
    for value in (secrets.token_hex(8), secrets.token_hex(8)):
        path.write_text(value + "\n")
        assert await held_token(grant, material, None) == value
        assert value not in str(material.masked(TokenRefused(value)))


@pytest.mark.parametrize("content", [None, b"", b" \n", b"x" * (FILE_MAX + 1), b"\xff"])
async def test_a_file_that_holds_no_token_is_told(content: bytes | None, tmp_path: Path) -> None:
    """The vendor is not asked then."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    grant = TokenExchange(token_url=URL, subject_token_file=str(path))
    with pytest.raises(TokenRefused, match="subject_token_file"):
        await held_token(grant, Material({}), None)


async def test_a_subject_token_may_be_a_secret() -> None:
    """By its reference."""
    grant = TokenExchange(token_url=URL, subject_token=SECRET)
    assert await held_token(grant, Material({SECRET: b"stored"}), None) == "stored"
    assert await held_token(ClientCredentials(token_url=URL), Material({}), None) is None
