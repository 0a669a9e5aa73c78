import base64
import hashlib
import time

from joserfc import jws, jwt
from joserfc.jwk import ECKey

from sidecar.auth.oauth.dpop import DpopKey, Prover


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
