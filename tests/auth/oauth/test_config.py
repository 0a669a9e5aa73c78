from typing import Any

import pytest

from sidecar.auth.oauth.config import (
    ClientCredentials,
    Grant,
    JwtBearer,
    RefreshToken,
    TokenExchange,
    TokenRequest,
    references,
)
from sidecar.auth.oauth.url import TokenUrl
from sidecar.core.secret import SecretRef
from sidecar.core.units import Duration
from tests.auth.oauth.asking import reference

URL = TokenUrl.parse("https://id.crm.example/token")
SECRET = reference("s")
WITH_SECRET: dict[str, Any] = {"token_url": URL, "client_id": "c", "client_secret": SECRET}


@pytest.mark.parametrize(
    "grant",
    [
        ClientCredentials(**WITH_SECRET),
        ClientCredentials(**WITH_SECRET, client_auth="client_secret_post"),
        ClientCredentials(token_url=URL, client_id="c", client_auth="private_key_jwt", client_key=SECRET),
        ClientCredentials(
            token_url=URL, client_id="c", client_auth="tls_client_auth", client_key=SECRET, client_certificate=SECRET
        ),
        ClientCredentials(**(WITH_SECRET | {"token_url": TokenUrl.parse("http://id.local/")}), allow_private=True),
        RefreshToken(token_url=URL, client_id="c", client_auth="none", refresh_token=SECRET),
        RefreshToken(**WITH_SECRET, refresh_token=SECRET, dpop=True),
        RefreshToken(token_url=URL, client_auth="none", refresh_token=SECRET, dpop=True, dpop_key=SECRET),
        ClientCredentials(token_url=URL, client_auth="none", dpop=True),
        JwtBearer(token_url=URL, key=SECRET, issuer="me"),
        TokenExchange(token_url=URL, subject_token=SECRET),
        TokenExchange(token_url=URL, subject_token_file="/var/run/token"),
    ],
)
def test_what_goes_together(grant: TokenRequest) -> None:
    """The plain forms of each grant, and of each way to show who asks."""
    assert grant.problems() == []


@pytest.mark.parametrize(
    ("grant", "fields"),
    [
        (ClientCredentials(token_url=URL), {"client_id", "client_secret"}),
        (ClientCredentials(**WITH_SECRET, client_auth="none"), {"client_secret"}),
        (ClientCredentials(**WITH_SECRET, client_key=SECRET), {"client_key"}),
        (ClientCredentials(**WITH_SECRET, dpop_key=SECRET), {"dpop_key"}),
        (RefreshToken(token_url=URL, client_auth="none", refresh_token=SECRET, dpop=True), {"dpop_key"}),
        (
            ClientCredentials(token_url=URL, client_auth="tls_client_auth"),
            {"client_id", "client_certificate", "client_key"},
        ),
        (ClientCredentials(**(WITH_SECRET | {"token_url": TokenUrl.parse("http://id.crm.example/")})), {"token_url"}),
        (ClientCredentials(**WITH_SECRET, timeout=Duration(0)), {"timeout"}),
        (ClientCredentials(**WITH_SECRET, timeout=Duration(61)), {"timeout"}),
        (ClientCredentials(**WITH_SECRET, params={"password": "x"}), {"params.password"}),
        (
            ClientCredentials(**WITH_SECRET, headers={"a b": "x", "Authorization": "x", "X-A": "a\nb"}),
            {"headers.a b", "headers.Authorization", "headers.X-A"},
        ),
        (JwtBearer(token_url=URL, key=SECRET, issuer="me", assertion_life=Duration(7200)), {"assertion_life"}),
        (TokenExchange(token_url=URL), {"subject_token"}),
        (TokenExchange(token_url=URL, subject_token=SECRET, subject_token_file="x"), {"subject_token"}),
    ],
)
def test_what_does_not_go_together_is_told_by_its_key(grant: TokenRequest, fields: set[str]) -> None:
    """All of it at once, before the first token is asked for."""
    assert {field for field, _ in grant.problems()} == fields


def test_the_secrets_of_a_grant() -> None:
    """What has to be held before a token can be asked for; the refresh token is handed in."""
    names = [reference(letter) for letter in "abcde"]
    common: dict[str, Any] = {"token_url": URL, "client_secret": names[0], "client_key": names[1], "dpop_key": names[4]}
    grants: list[tuple[Grant, list[SecretRef]]] = [
        (ClientCredentials(**common, client_certificate=names[2]), [*names[:3], names[4]]),
        (RefreshToken(**common, refresh_token=names[3]), [*names[:2], names[4]]),
        (JwtBearer(**common, key=names[2], issuer="me"), [*names[:2], names[4], names[2]]),
        (TokenExchange(**common, subject_token=names[2], actor_token=names[3]), [*names[:2], names[4], *names[2:4]]),
    ]
    for grant, expected in grants:
        assert references(grant) == expected
