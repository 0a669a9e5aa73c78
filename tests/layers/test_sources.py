from types import SimpleNamespace
from typing import Any

from joserfc import jws, jwt
from joserfc.jwk import ECKey

from sidecar.auth.oauth.dpop import DpopKey
from sidecar.auth.oauth.token import Token
from sidecar.layers.sources import proofs_by
from sidecar.upstream.origin import BaseUrl


def bound(key: DpopKey) -> Token:
    """Give a token that is bound to a key."""
    token = Token(b"a", "DPoP", got_at=0)
    token.bound_to = key
    return token


def test_a_proof_is_by_the_key_of_its_token() -> None:
    """While the stored key is rotated calls go out with either token; the vendor's nonce is for both."""
    minter: Any = SimpleNamespace(wall=lambda: 1000.0)
    proofs = proofs_by(minter, BaseUrl.parse("https://api.crm.example/v2"))
    call: Any = SimpleNamespace(method="GET", target=b"/contacts?a=b")
    first, second = DpopKey(), DpopKey()
    shown = []
    for key in (first, second, first):
        proof = proofs.prove(call, bound(key))
        carried = ECKey.import_key(jws.extract_compact(proof).headers()["jwk"])
        claims = jwt.decode(proof.decode(), carried, algorithms=["ES256"]).claims
        assert claims["htu"] == "https://api.crm.example/v2/contacts"
        shown.append((carried.thumbprint(), claims.get("nonce")))
        proofs.hear("n1")
    assert shown == [(first.thumbprint, None), (second.thumbprint, "n1"), (first.thumbprint, "n1")]
