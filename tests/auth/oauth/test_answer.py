import contextlib
import json
import math
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.auth.oauth.answer import DESCRIPTION_MAX, read_answer
from sidecar.auth.oauth.token import Token, TokenRefused

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def read(body: object, status: int = 200, content_type: str = JSON) -> Token:
    """Read an answer at the instant 100."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_answer(status, content_type, raw, 100.0, 1_767_225_600.0)


def refusal(body: object, status: int = 200, content_type: str = JSON) -> TokenRefused:
    """Read an answer that is none."""
    with pytest.raises(TokenRefused) as refused:
        read(body, status, content_type)
    return refused.value


def test_the_answer_of_the_rfc() -> None:
    """RFC 6749 section 5.1, with its further member kept."""
    token = read({"access_token": "a", "token_type": "example", "expires_in": 3600, "refresh_token": "r", "p": "v"})
    assert (token.value, token.kind, token.got_at, token.expires_at) == (b"a", "Bearer", 100, 3700)
    assert token.refresh_token is not None
    assert token.refresh_token.reveal() == b"r"
    assert token.extra == {"p": "v"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"access_token": "a", "expires_in": 60}', "text/html"),
        (b'\xef\xbb\xbf {"access_token": "a", "expires_in": 60}', JSON),
        (b"access_token=a&scope=repo%2Cgist&token_type=bearer&expires_in=60", FORM + "; charset=utf-8"),  # GitHub.
        (b"access_token=a&expires_in=60", "text/plain"),
        (b"expires_in=60&access_token=a", FORM),
    ],
)
def test_an_answer_is_read_by_what_it_is(body: bytes, content_type: str) -> None:
    """Servers name their content by habit."""
    token = read(body, content_type=content_type)
    assert (token.value, token.expires_at) == (b"a", 160)


@pytest.mark.parametrize("kind", ["DPoP", "dpop", "DPOP"])
def test_a_bound_token_is_known_by_its_type(kind: str) -> None:
    """RFC 9449 section 5; compared without case, as RFC 6749 section 7.1 has it."""
    assert read({"access_token": "a", "token_type": kind}).kind == "DPoP"


@pytest.mark.parametrize("kind", ["bearer", "Bearer", "bot", "N_A", None, 5])
def test_any_other_token_goes_as_bearer(kind: object) -> None:
    """Slack says bot, and means bearer; some say nothing."""
    assert read({"access_token": "a", "token_type": kind}).kind == "Bearer"


def test_the_routing_stays_and_secrets_do_not() -> None:
    """`extra` is read by those who route, and shown to people."""
    canary = secrets.token_hex(8)
    token = read({
        "access_token": "a",
        "refresh_token": canary,
        "id_token": canary,
        "signature": canary,
        "instance_url": "https://eu1.crm.example",
        "issued_at": "1767225600000",
        "scope": "a b",
        "x_refresh_token_expires_in": 8726400,
        "authed_user": {"access_token": canary},
        "long": "x" * 5000,
        "is_enterprise_install": False,
    })  # fmt: skip
    assert token.extra == {
        "instance_url": "https://eu1.crm.example",
        "issued_at": "1767225600000",
        "scope": "a b",
        "x_refresh_token_expires_in": 8726400,
        "is_enterprise_install": False,
    }
    assert token.expires_at == math.inf


def test_members_without_end_are_left_out() -> None:
    """Memory has a bound."""
    assert len(read({"access_token": "a"} | {f"m{number}": 1 for number in range(1000)}).extra) == 32


@pytest.mark.parametrize(
    ("status", "body", "error", "is_retryable", "is_invalid_grant"),
    [
        (400, {"error": "invalid_grant", "error_description": "expired"}, "invalid_grant", False, True),
        (401, {"error": "invalid_client"}, "invalid_client", False, False),
        (403, {"error": "invalid_grant", "error_description": "Unknown or invalid"}, "invalid_grant", False, True),
        (400, {"error": "temporarily_unavailable"}, "temporarily_unavailable", True, False),
        (429, {"error": "slow_down"}, "slow_down", True, False),
        (200, {"ok": False, "error": "invalid_refresh_token"}, "invalid_refresh_token", False, True),  # Slack.
        (200, {"ok": False, "error": "ratelimited"}, "ratelimited", True, False),
        (200, {"ok": False}, "", False, False),
        (200, b"error=bad_refresh_token&error_description=The+refresh+token", "bad_refresh_token", False, True),
        (200, {"error": {"code": 400, "status": "x", "message": "no"}}, "error", False, False),  # Google's APIs.
        (401, {"errors": [{"category": "A", "code": "UNAUTHORIZED", "detail": "no"}]}, "UNAUTHORIZED", False, False),
        (500, {"error": "invalid_grant"}, "invalid_grant", True, False),  # It does not know what it says.
        (503, b"<html>", "", True, False),
        (521, b"", "", True, False),
        (501, b"", "", False, False),
        (404, b"not found", "", False, False),
        (408, b"", "", True, False),
        (200, b"<html>log in to the hotel</html>", "", True, False),
        (200, b"", "", True, False),
        (200, [], "", True, False),
        (200, b"[" * 100_000, "", True, False),
        (200, {"token": "a"}, "", False, False),
        (200, {"access_token": ""}, "", False, False),
        (200, {"access_token": 5}, "", False, False),
        (200, {"access_token": None}, "", False, False),
        (200, {"access_token": {"a": 1}}, "", False, False),
    ],
)
def test_the_ways_in_which_no_token_comes(
    status: int, body: object, error: str, *, is_retryable: bool, is_invalid_grant: bool
) -> None:
    """What may be tried again, and what somebody has to look at."""
    refused = refusal(body, status)
    assert (refused.error, refused.is_retryable, refused.is_invalid_grant) == (error, is_retryable, is_invalid_grant)
    assert refused.status == status
    assert str(status) in str(refused)


@pytest.mark.parametrize("value", ["a\r\nX-Other: 1", "a b", "a\0", "ä", "\ud800"])
def test_a_token_that_no_header_may_hold_is_not_used(value: str) -> None:
    """It would be a header of its own at the vendor. It is not repeated in the sentence."""
    assert value not in str(refusal({"access_token": value}))


@pytest.mark.parametrize("harmless", [{"error": None}, {"error": ""}, {"errors": []}, {"error": False}, {"ok": True}])
def test_an_empty_error_is_none(harmless: dict[str, Any]) -> None:
    """Some servers always have the member."""
    assert read({"access_token": "a"} | harmless).value == b"a"


def test_a_description_is_one_bounded_line() -> None:
    """It stands in a log line, and a terminal may show it."""
    refused = refusal({"error": "invalid_request", "error_description": "a\r\nb\x1b[31m\u202e" + "x" * 9999}, 400)
    assert refused.description.startswith("a b [31m x")
    assert len(refused.description) == DESCRIPTION_MAX + 3
    assert "\n" not in str(refused)


def test_an_error_code_that_is_none_is_not_repeated() -> None:
    """A code is a word; whatever else stands there may be anything."""
    assert refusal({"error": "your secret s3 is wrong"}, 400).error == "error"


@given(st.integers(100, 599), st.text(max_size=60), st.binary(max_size=300))
def test_no_bytes_make_it_fail_otherwise(status: int, content_type: str, body: bytes) -> None:
    """A token or a refusal: a third way would be a traceback."""
    with contextlib.suppress(TokenRefused):
        read_answer(status, content_type, body, 0.0)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_NAMES = ["access_token", "token_type", "expires_in", "expires_at", "error", "errors", "ok", "refresh_token", "message"]


@given(st.integers(200, 500), st.dictionaries(st.sampled_from(_NAMES), _VALUES))
def test_no_json_makes_it_fail_otherwise(status: int, body: dict[str, Any]) -> None:
    """Whatever stands where something else should."""
    try:
        token = read_answer(status, JSON, json.dumps(body).encode(), 7.0, 1e9)
    except TokenRefused:
        return
    assert token.value
    assert token.expires_at > 7
