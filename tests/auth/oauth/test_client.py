import base64
import json
from urllib.parse import unquote_plus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import RSAKey

from sidecar.auth.oauth.client import ASSERTION_TYPE, authenticate, basic, thumbprint
from sidecar.auth.oauth.config import ClientCredentials
from sidecar.auth.oauth.material import Material
from sidecar.auth.oauth.token import TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from tests.auth.oauth.asking import pem, private_key, reference
from tests.kit.certificates import Authority

URL = TokenUrl.parse("https://id.crm.example/token?p=1")
SECRET = reference("secret")
KEY = reference("key")
CERTIFICATE = reference("certificate")


def test_the_example_of_basic() -> None:
    """RFC 6749 section 2.3.1."""
    assert basic("s6BhdRkqt3", b"7Fjfp0ZBr1KtDRbnfVdmIw") == "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.binary(min_size=1))
def test_basic_comes_apart_again(client_id: str, secret: bytes) -> None:
    """Each part is form-urlencoded, so a colon, a plus and a percent sign arrive as they were."""
    plain = base64.b64decode(basic(client_id, secret).removeprefix("Basic ")).decode("ascii")
    first, _, second = plain.partition(":")
    assert unquote_plus(first) == client_id
    assert unquote_plus(second, "latin-1") == secret.decode("latin-1")


def test_who_asks_stands_in_the_body() -> None:
    """client_secret_post."""
    config = ClientCredentials(token_url=URL, client_id="c", client_secret=SECRET, client_auth="client_secret_post")
    headers, fields = authenticate(config, Material({SECRET: "sä+cret".encode()}), 0, "j")
    assert headers == []
    assert fields == [("client_id", "c"), ("client_secret", "sä+cret")]


def test_a_secret_that_is_not_text_cannot_stand_in_a_body() -> None:
    """The error does not hold it: Python's own would."""
    config = ClientCredentials(token_url=URL, client_id="c", client_secret=SECRET, client_auth="client_secret_post")
    with pytest.raises(TokenRefused, match="client_secret is not text") as refused:
        authenticate(config, Material({SECRET: b"s3\xff"}), 0, "j")
    assert refused.value.__context__ is None


@pytest.mark.parametrize("auth", ["none", "tls_client_auth"])
def test_a_client_that_shows_nothing_here_is_named(auth: str) -> None:
    """RFC 8705 section 2: the certificate stands in the connection."""
    config = ClientCredentials(token_url=URL, client_id="c", client_auth=auth)  # type: ignore[arg-type]
    assert authenticate(config, Material({}), 0, "j") == ([], [("client_id", "c")])


def test_nobody_is_named_where_nobody_has_a_name() -> None:
    """Google's service accounts have no client id."""
    assert authenticate(ClientCredentials(token_url=URL, client_auth="none"), Material({}), 0, "j") == ([], [])


def assertion(config: ClientCredentials, material: Material) -> jwt.Token:
    """Give the assertion of a request at the instant 1000.9, verified."""
    headers, fields = authenticate(config, material, 1000.9, "the-jti")
    assert headers == []
    assert fields[:2] == [("client_id", "c"), ("client_assertion_type", ASSERTION_TYPE)]
    return jwt.decode(fields[2][1], RSAKey.import_key(pem(private_key("RS256"))), algorithms=["RS256"])


def test_an_assertion_says_who_asks_whom_and_for_how_long() -> None:
    """RFC 7523 section 3."""
    config = ClientCredentials(token_url=URL, client_id="c", client_auth="private_key_jwt", client_key=KEY)
    made = assertion(config, Material({KEY: pem(private_key("RS256"))}))
    assert made.claims == {"iss": "c", "sub": "c", "aud": str(URL), "jti": "the-jti", "iat": 1000, "exp": 1060}
    assert made.header == {"typ": "JWT", "alg": "RS256"}


def test_an_assertion_names_its_key_and_certificate() -> None:
    """`kid` for those who publish keys, `x5t#S256` for Entra; the audience is the server's to choose."""
    certificate, _, _ = Authority().pems("client")
    config = ClientCredentials(
        token_url=URL,
        client_id="c",
        client_auth="private_key_jwt",
        client_key=KEY,
        client_key_id="k1",
        client_certificate=CERTIFICATE,
        client_audience="https://id.crm.example",
    )
    made = assertion(config, Material({KEY: pem(private_key("RS256")), CERTIFICATE: certificate}))
    digest = x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256())
    assert base64.urlsafe_b64decode(made.header["x5t#S256"] + "=") == digest
    assert made.header["kid"] == "k1"
    assert made.claims["aud"] == "https://id.crm.example"


@pytest.mark.parametrize(
    "text",
    [b"", b"none", b"-----BEGIN CERTIFICATE-----", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"],
)
def test_what_is_no_certificate_is_refused(text: bytes) -> None:
    """With a sentence."""
    with pytest.raises(TokenRefused, match="no certificate in PEM"):
        thumbprint(text)


def test_what_was_signed_is_masked_like_a_secret() -> None:
    """A server that repeats the assertion in its error does not bring it into our log."""
    config = ClientCredentials(token_url=URL, client_id="c", client_auth="private_key_jwt", client_key=KEY)
    material = Material({KEY: pem(private_key("RS256"))})
    signed = authenticate(config, material, 0, "j")[1][2][1]
    shown = material.masked(TokenRefused(json.dumps({"got": signed}), description=signed))
    assert signed not in str(shown) + shown.description
