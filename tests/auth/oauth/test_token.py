import math
import pickle
import secrets
import traceback

import pytest

from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.core.secret import Secret


def test_a_token_shows_itself_to_nobody() -> None:
    """Neither by repr, nor inside of a container, nor in a traceback's line, nor by pickling."""
    value = secrets.token_hex(16)
    token = Token(
        value.encode(), got_at=5, expires_at=65, refresh_token=Secret(value.encode(), "1"), extra={"a": value}
    )
    assert repr(token) == "Token(Bearer ***, life=60s)"
    assert value not in f"{token} {[token]} {token!r}"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(token)
    assert not hasattr(token, "__dict__")


def test_a_token_without_an_end_has_an_infinite_life() -> None:
    """What is compared with now stays a number."""
    token = Token(b"t", got_at=5)
    assert token.expires_at == token.life == math.inf
    assert token.refresh_token is None
    assert token.extra == {}


def test_a_refusal_is_its_sentence() -> None:
    """Its traceback holds nothing else."""
    refused = TokenRefused("no", error="invalid_grant", is_invalid_grant=True)
    assert traceback.format_exception_only(refused)[-1].endswith("TokenRefused: no\n")
    assert (refused.is_retryable, refused.is_unsent, refused.status, refused.retry_after) == (False, False, 0, None)
