import json
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from sidecar.auth.oauth.config import Algorithm
from sidecar.auth.oauth.jwt import sign
from sidecar.auth.oauth.token import TokenRefused
from tests.auth.oauth.asking import pem, private_key

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
KINDS: dict[Algorithm, Any] = {"RS256": RSAKey, "PS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey}


@pytest.mark.filterwarnings(
    f"ignore::{SecurityWarning.__module__}.{SecurityWarning.__qualname__}"
)  # In `decode` below.
@pytest.mark.parametrize("form", ["pem", "traditional", "one line", "jwk"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_and_every_form_of_a_key(algorithm: Algorithm, form: str) -> None:
    """Verified by the public key alone; a key copied out of a JSON file has its line breaks as two letters."""
    private = private_key(algorithm)
    key = KINDS[algorithm].import_key(pem(private))
    stored = {
        "pem": pem(private) + b"\n",
        "traditional": pem(private, traditional=algorithm != "EdDSA"),
        "one line": pem(private).replace(b"\n", b"\\n"),
        "jwk": json.dumps(key.as_dict(private=True)).encode(),
    }[form]
    signed = sign({"iss": "me", "n": 1}, stored, algorithm, {"kid": "k"})
    read = jwt.decode(signed, KINDS[algorithm].import_key(key.as_dict(private=False)), algorithms=[algorithm])
    assert read.claims == {"iss": "me", "n": 1}
    assert read.header == {"typ": "JWT", "alg": algorithm, "kid": "k"}


def bad_keys() -> dict[str, bytes]:
    """Give what is no private key for RS256."""
    public = private_key("RS256").public_key()
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    locked = serialization.BestAvailableEncryption(b"x")
    return {
        "nonsense": b"s3cr3t-nonsense",
        "empty": b"",
        "another kind": pem(private_key("ES256")),
        "public": public.public_bytes(encoding, form),
        "encrypted": private_key("RS256").private_bytes(encoding, serialization.PrivateFormat.PKCS8, locked),
        "json": b'{"s3cr3t": 1}',
        "broken json": b'{"s3cr3t',
        "cut": pem(private_key("RS256"))[:600],
        "not utf-8": b"\xff\xfe",
    }


@pytest.mark.parametrize("name", bad_keys())
def test_what_is_no_key_is_refused_without_showing_it(name: str) -> None:
    """The libraries' own errors hold pieces of what they read; ours is not chained to them."""
    with pytest.raises(TokenRefused, match="no private key for RS256") as refused:
        sign({}, bad_keys()[name], "RS256")
    assert "s3cr3t" not in str(refused.value)
    assert refused.value.__context__ is None
