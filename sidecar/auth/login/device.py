"""Device: consent on another machine, by a short code (RFC 8628); what was given, and when to ask if it is done."""

import json
from typing import Any

from sidecar.auth.login.failed import LoginFailed, shown

INTERVAL = 5.0  # Seconds between two questions, where the vendor does not say (section 3.2).
SLOWER = 5.0  # Seconds more after each `slow_down` (section 3.5).
INTERVAL_MAX = 300.0
EXPIRES_MAX = 3600.0  # Seconds. Nobody types that long.
GRANT = "urn:ietf:params:oauth:grant-type:device_code"

_USELESS = "what device_url answered is no answer of a device endpoint (RFC 8628 section 3.2)"


class Prompt:
    """What the vendor gave: the code to type, where, and the code that we ask with, which is shown to nobody."""

    __slots__ = ("device_code", "expires_in", "interval", "link", "user_code", "where")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.device_code = _text(fields, "device_code")
        self.user_code = _text(fields, "user_code")
        self.where = _url(fields, "verification_uri", "verification_url")  # The latter is Google's.
        self.link = _url(fields, "verification_uri_complete", "verification_url_complete")
        self.expires_in = min(_seconds(fields, "expires_in", 0.0), EXPIRES_MAX)
        self.interval = min(_seconds(fields, "interval", INTERVAL), INTERVAL_MAX)
        if not self.device_code or not self.user_code or not self.where or not self.expires_in:
            raise LoginFailed(_USELESS)

    def __repr__(self) -> str:
        return f"Prompt({self.where})"

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """What the token endpoint is asked with (section 3.4)."""
        return [("grant_type", GRANT), ("device_code", self.device_code)]


def read_prompt(status: int, body: bytes) -> Prompt:
    """Read the answer of the device endpoint. Raises LoginFailed."""
    try:
        fields = json.loads(body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise LoginFailed(f"device_url answered {status} with what is no JSON; is it right?")
    if status != 200:
        error = shown(str(fields.get("error", ""))) or "no error"
        told = shown(str(fields.get("error_description", "")))
        raise LoginFailed(f"device_url answered {status} {error}" + (f": {told}" if told else ""))
    return Prompt(fields)


class Poll:
    """When to ask the token endpoint, and until when. Pure."""

    __slots__ = ("_interval", "ends_at", "next_at")

    def __init__(self, prompt: Prompt, now: float) -> None:
        self._interval = prompt.interval
        self.ends_at = now + prompt.expires_in
        self.next_at = now + self._interval  # The person needs that long, too.

    def hear(self, error: str, now: float, *, is_retryable: bool = False) -> None:
        """Take what the endpoint said instead of a token. Raises LoginFailed when it is over."""
        if error == "slow_down":
            self._interval = min(self._interval + SLOWER, INTERVAL_MAX)
        elif error == "access_denied":
            raise LoginFailed("the vendor was told not to allow it (access_denied)")
        elif error == "expired_token":
            raise LoginFailed("the code was not typed in time (expired_token); begin anew")
        elif error != "authorization_pending":
            if not is_retryable:
                raise LoginFailed(f"the token endpoint refused the device's code: {shown(error) or 'without a reason'}")
            self._interval = min(self._interval * 2, INTERVAL_MAX)  # It did not answer: section 3.5.
        self.next_at = now + self._interval
        if self.next_at >= self.ends_at:
            raise LoginFailed("the code was not typed in time; begin anew")


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= 4096 else ""


def _url(fields: dict[str, Any], *names: str) -> str:
    """Give a URL to show and to open: nothing but the web's."""
    for name in names:
        value = _text(fields, name)
        if value.startswith(("https://", "http://")):
            return value
    return ""


def _seconds(fields: dict[str, Any], name: str, default: float) -> float:
    try:
        seconds = float(fields.get(name, default))
    except (TypeError, ValueError):
        return default
    return seconds if seconds > 0 else default
