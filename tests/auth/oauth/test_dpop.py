import base64
import hashlib
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws, jwt
from joserfc.jwk import ECKey

from sidecar.auth.oauth.dpop import DpopKey, Prover
from sidecar.auth.oauth.token import TokenRefused
from tests.auth.oauth.asking import pem, private_key


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write the public part."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read(proof: str) -> jwt.Token:
    """Verify a proof by the key that it carries, as a server does."""
    carried = jws.extract_compact(proof.encode()).headers()["jwk"]
    return jwt.decode(proof, ECKey.import_key(carried), algorithms=["ES256"])


def test_a_proof_names_the_request_and_nothing_else() -> None:
    """RFC 9449 section 4.2: without query and fragment, and without the private part of the key."""
    key = DpopKey()
    read_proof = read(key.proof("POST", "https://id.crm.example/token?a=1#b", 1000.9))
    assert read_proof.header["typ"] == "dpop+jwt"
    assert read_proof.header["alg"] == "ES256"
    assert set(read_proof.header["jwk"]) == {"kty", "crv", "x", "y"}
    assert read_proof.claims.pop("jti")
    assert read_proof.claims == {"htm": "POST", "htu": "https://id.crm.example/token", "iat": 1000}
    assert ECKey.import_key(read_proof.header["jwk"]).thumbprint() == key.thumbprint


def test_a_proof_for_a_call_is_bound_to_its_token_and_nonce() -> None:
    """RFC 9449 sections 4.3 and 9."""
    claims = read(DpopKey().proof("GET", "https://a/", 0, nonce="n", access_token=b"token")).claims
    assert claims["nonce"] == "n"
    assert base64.urlsafe_b64decode(claims["ath"] + "=") == hashlib.sha256(b"token").digest()


def test_no_proof_is_like_another() -> None:
    """A server remembers each `jti`, and refuses it the second time."""
    key = DpopKey()
    assert len({read(key.proof("GET", "https://a/", 0)).claims["jti"] for _ in range(50)}) == 50


def test_keys_differ_and_do_not_show() -> None:
    """The private part never leaves the object."""
    first, second = DpopKey(), DpopKey()
    assert first.thumbprint != second.thumbprint
    private = str(first._key.as_dict(private=True)["d"])
    assert private not in repr(first) + first.proof("GET", "https://a/", 0)


@pytest.mark.parametrize("form", ["PKCS 8", "SEC 1", "JWK", "JSON file"])
def test_a_stored_key_is_that_key(form: str) -> None:
    """In each form in which it may be stored; a proof carries its public part and nothing else of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = ECKey.import_key(pem(key), {"use": "sig", "kid": "mine"})
    stored = {
        "PKCS 8": pem(key),
        "SEC 1": pem(key, traditional=True),
        "JWK": json.dumps(jwk.as_dict(private=True)).encode(),
        "JSON file": pem(key).replace(b"\n", b"\\n"),
    }[form]
    read_key = DpopKey(stored)
    assert read_key.thumbprint == jwk.thumbprint()
    assert set(read(read_key.proof("GET", "https://a/", 0)).header["jwk"]) == {"kty", "crv", "x", "y"}


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (pem(ec.generate_private_key(ec.SECP384R1())), "P-384"),
        (public_pem(ec.generate_private_key(ec.SECP256R1())), "public"),
        (pem(private_key("RS256")), "Error"),
        (b"c4n4ry", "Error"),
        (b'{"kty": "c4n4ry"', "Error"),
    ],
)
def test_what_is_no_such_key_is_told_without_showing_it(stored: bytes, kind: str) -> None:
    """A proof is signed with ES256, by a private key."""
    with pytest.raises(
        TokenRefused, match=rf"dpop_key is no private EC key of the curve P-256.*\(\w*{kind}\)"
    ) as refused:
        DpopKey(stored)
    assert "c4n4ry" not in str(refused.value)
    assert refused.value.__context__ is None


def test_the_nonce_of_a_server_is_the_last_it_gave() -> None:
    """And one that would burst a header is not taken."""
    prover = Prover(DpopKey())
    assert not prover.hear(None)
    assert not prover.hear("")
    assert not prover.hear("x" * 2000)
    assert "nonce" not in read(prover.proof("GET", "https://a/", 0)).claims
    assert prover.hear("first")
    assert prover.hear("second")
    assert not prover.hear("second")
    assert read(prover.proof("GET", "https://a/", 0)).claims["nonce"] == "second"


def test_a_proof_is_quick_enough_for_a_call() -> None:
    """It is made for every call: 50 µs here; ten times as much is a mistake."""
    key = DpopKey()
    began = time.perf_counter()
    for _ in range(50):
        key.proof("GET", "https://a/", 0, access_token=b"token")
    assert (time.perf_counter() - began) / 50 < 0.002
