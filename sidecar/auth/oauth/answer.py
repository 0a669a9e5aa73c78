"""Answer: what a token endpoint said, read as a token or as a refusal.

RFC 6749 section 5 is what is written; beside it stand answers with status 200 and an error in them (Slack, GitHub),
form-encoded ones (GitHub), errors as objects and lists (Google, Square), and proxies' pages where JSON was asked for.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from sidecar.auth.oauth.life import life
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.core.secret import Secret
from sidecar.telemetry.redact import is_secret_name

DESCRIPTION_MAX = 200  # Characters. Longer: cut.
EXTRA_MAX = 32  # Further members of an answer, each of at most EXTRA_CHARS. More: left out.
EXTRA_CHARS = 2048
_FIELDS_MAX = 64

_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})  # Google's list with 425 and 502.
_RETRYABLE_ERRORS = frozenset({
    "temporarily_unavailable", "server_error", "slow_down",  # RFC 6749, RFC 8628.
    "internal_failure", "internal_error", "fatal_error", "service_unavailable", "request_timeout",
    "ratelimited", "rate_limited",
})  # fmt: skip
_INVALID_GRANT = frozenset({
    "invalid_grant",  # RFC 6749.
    "invalid_refresh_token", "token_revoked", "token_expired",  # Slack.
    "bad_refresh_token", "incorrect_refresh_token",  # GitHub and its like.
    "expired_token",
})  # fmt: skip
_CODE = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
_UNSEEN = re.compile(r"[^ -~]+")
_TOKEN = re.compile(r"[!-~]+")  # RFC 6749 appendix A.12 without the blank: it goes into a header.
_GIVEN = frozenset({
    "access_token", "refresh_token", "id_token", "token_type", "expires_in", "expires", "expires_at", "ok",
})  # fmt: skip


def read_answer(
    status: int, content_type: str, body: bytes, now: float, wall: float = 0.0, mask: Callable[[str], str] = str
) -> Token:
    """Give the token of an answer. Raises TokenRefused.

    `now` is the monotonic instant from which its life counts, `wall` the Unix time at the endpoint, for those that
    name an instant; `mask` takes out of a server's text what it was sent.
    """
    answer = _parsed(content_type, body)
    error, told = _error(answer)
    description = _shown(mask(told))
    is_good = 200 <= status < 300
    if not is_good or error or answer.get("ok") is False:
        raise _refused(status, error, description)
    if not answer:
        what = "something that is neither JSON nor a form" if body else "an empty body"
        raise TokenRefused(
            f"the authorization server answered {status} with {what}; is token_url right?",
            status=status,
            is_retryable=True,
        )
    value = answer.get("access_token")
    if not isinstance(value, str) or not value:
        raise TokenRefused(f"the authorization server answered {status} without an access_token", status=status)
    if not _TOKEN.fullmatch(value):
        raise TokenRefused("the authorization server's access_token holds what no header may hold", status=status)
    seconds = life(answer, wall)
    return Token(
        value.encode(),
        "DPoP" if str(answer.get("token_type", "")).lower() == "dpop" else "Bearer",
        got_at=now,
        expires_at=math.inf if seconds is None else now + seconds,
        refresh_token=_refresh_token(answer, wall),
        extra=_extra(answer),
    )


def _parsed(content_type: str, body: bytes) -> dict[str, Any]:
    """Read JSON or a form, by what it is rather than by what it says it is; {} if it is neither."""
    try:
        answer = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError.
        return _form(content_type, body)
    return answer if isinstance(answer, dict) else {}


def _form(content_type: str, body: bytes) -> dict[str, Any]:
    is_said = content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
    if not is_said and not body.startswith((b"access_token=", b"error=")):
        return {}
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=_FIELDS_MAX))
    except ValueError:
        return {}


def _error(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Give (code, description) of the error that an answer holds, "" each where it holds none."""
    error = answer.get("error")
    if error is None:
        errors = answer.get("errors")
        error = errors[0] if isinstance(errors, list) and errors else None
    if isinstance(error, Mapping):
        code = error.get("code") or error.get("status") or error.get("type") or "error"
        told = error.get("message") or error.get("detail") or error.get("description")
    else:
        code = error
        told = answer.get("error_description") or answer.get("message") or answer.get("reason")
    return _code(code), told if isinstance(told, str) else ""


def _code(code: object) -> str:
    if not code:
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "error"


def _shown(text: str) -> str:
    """Give a server's text in a form that may stand in a line of ours; masked before, since this changes it."""
    plain = _UNSEEN.sub(" ", text).strip()
    return plain if len(plain) <= DESCRIPTION_MAX else plain[:DESCRIPTION_MAX] + "..."


def _refused(status: int, error: str, description: str) -> TokenRefused:
    sentence = f"the authorization server answered {status}"
    sentence += (f" {error}" if error else "") + (f": {description}" if description else "")
    return TokenRefused(
        sentence,
        error=error,
        description=description,
        status=status,
        is_retryable=status in _RETRYABLE or (status >= 500 and status != 501) or error in _RETRYABLE_ERRORS,
        is_invalid_grant=status < 500 and error in _INVALID_GRANT,
    )


def _refresh_token(answer: Mapping[str, Any], wall: float) -> Secret | None:
    value = answer.get("refresh_token")
    return Secret(value.encode("utf-8", "surrogatepass"), f"{wall:.0f}") if isinstance(value, str) and value else None


def _extra(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Keep plain members: routing, scopes, account names; nothing that is named like a secret, unless a number."""
    kept: dict[str, Any] = {}
    for name, value in answer.items():
        is_plain = isinstance(value, bool | int | float) or (
            isinstance(value, str) and len(value) <= EXTRA_CHARS and not is_secret_name(name)
        )
        if is_plain and name not in _GIVEN and len(kept) < EXTRA_MAX:
            kept[name] = value
    return kept
