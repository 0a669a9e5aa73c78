import base64
import secrets
from urllib.parse import quote_plus

import pytest

from sidecar.auth.oauth.material import Material, decoded
from sidecar.auth.oauth.token import TokenRefused
from tests.auth.oauth.asking import new_secret, reference

HERE = reference("s")


@pytest.mark.parametrize("form", ["raw", "url", "base64", "basic", "hex"])
def test_what_a_server_repeats_is_masked_in_every_form(form: str) -> None:
    """In the sentence, in the description, and where the error's code should stand."""
    secret = new_secret()
    shown = {
        "raw": secret,
        "url": quote_plus(secret),
        "base64": base64.b64encode(secret.encode()).decode(),
        "basic": base64.b64encode(f"client:{secret}".encode()).decode(),
        "hex": secret.encode().hex(),
    }[form]
    material = Material({HERE: secret.encode()})
    refused = material.masked(TokenRefused(f"no: got {shown} .", error=shown, description=f"got {shown} ."))
    assert shown not in str(refused)
    assert shown not in refused.description
    assert refused.error == "error"
    assert "***" in str(refused)


def test_a_piece_of_a_secret_is_masked_too() -> None:
    """A server may show its first half; a trace id, which support asks for, stays."""
    secret = secrets.token_hex(32)
    trace = "Trace ID: 0a1b2c3d-1111-2222-3333-444455556666, see https://login.crm.example/help for AADSTS7000215"
    refused = Material({HERE: secret.encode()}).masked(TokenRefused(f"not {secret[:40]}... {trace}"))
    assert secret[:24] not in str(refused)
    assert trace in str(refused)


def test_the_facts_of_a_refusal_stay() -> None:
    """Those who try again decide by them."""
    told = {"status": 429, "is_retryable": True, "is_invalid_grant": True, "is_unsent": True, "retry_after": 5.0}
    refused = Material({HERE: b"secret"}).masked(TokenRefused("no", error="slow_down", **told))  # type: ignore[arg-type]
    assert {name: getattr(refused, name) for name in told} == told
    assert refused.error == "slow_down"


def test_what_was_read_or_made_for_the_request_counts_too() -> None:
    """A refresh token is handed in, an assertion is made."""
    material = Material({})
    value = secrets.token_hex(8)
    assert material.sent(value) == value
    assert value not in str(material.masked(TokenRefused(f"bad {value}")))
    assert value not in repr(material)


def test_text_is_text_or_named() -> None:
    """Python's own error would hold the value, and be the context of ours."""
    assert decoded("ä".encode(), "it") == "ä"
    with pytest.raises(TokenRefused, match="it is not text") as refused:
        decoded(b"\xff", "it")
    assert refused.value.__context__ is None
