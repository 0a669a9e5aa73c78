"""The device flow's arithmetic, and what is believed of the device endpoint."""

import json
import secrets
from typing import Any

import pytest

from sidecar.auth.login.device import Poll, Prompt, read_prompt
from sidecar.auth.login.failed import LoginFailed

CODE = secrets.token_hex(16)


def prompt(**more: Any) -> Prompt:
    """Make an answer of the RFC's, section 3.2."""
    fields = {
        "device_code": CODE, "user_code": "WDJB-MJHT", "verification_uri": "https://crm.example/device",
        "expires_in": 1800, "interval": 5, **more,
    }  # fmt: skip
    return read_prompt(200, json.dumps({name: value for name, value in fields.items() if value is not None}).encode())


def test_the_answer_of_the_rfc_is_read() -> None:
    """And the device code is shown to nobody."""
    read = prompt(verification_uri_complete="https://crm.example/device?user_code=WDJB-MJHT")
    assert (read.user_code, read.where, read.expires_in, read.interval) == (
        "WDJB-MJHT", "https://crm.example/device", 1800.0, 5.0,
    )  # fmt: skip
    assert read.link.endswith("WDJB-MJHT")
    assert CODE not in repr(read)
    assert dict(read.parameters) == {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": CODE}


def test_googles_name_for_the_place_is_known() -> None:
    """It is older than the RFC."""
    assert prompt(verification_uri=None, verification_url="https://google.example/device").where.endswith("/device")


@pytest.mark.parametrize("interval", [None, 0, -3, "soon"])
def test_without_an_interval_it_is_five_seconds(interval: Any) -> None:
    """Section 3.2."""
    assert prompt(interval=interval).interval == 5.0


@pytest.mark.parametrize(
    "change",
    [
        {"device_code": None}, {"user_code": ""}, {"verification_uri": None}, {"expires_in": None}, {"expires_in": 0},
        {"verification_uri": "javascript:alert(1)"}, {"user_code": "AB\x1b[2J"}, {"verification_uri": "https://a\nb"},
    ],
)  # fmt: skip
def test_what_cannot_be_shown_or_used_is_refused(change: dict[str, Any]) -> None:
    """A terminal obeys what is not visible, and a browser what is not the web's."""
    with pytest.raises(LoginFailed, match="no answer of a device endpoint"):
        prompt(**change)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"error":"unauthorized_client","error_description":"not this one"}', "unauthorized_client: not this"),
        (500, b"<html>", "answered 500 with what is no JSON"),
        (200, b"[]", "answered 200 with what is no JSON"),
        (404, b"{}", "answered 404 no error"),
    ],
)
def test_a_device_endpoint_that_refuses_is_told(status: int, body: bytes, expected: str) -> None:
    """In its own words."""
    with pytest.raises(LoginFailed, match=expected):
        read_prompt(status, body)


def test_it_is_asked_at_the_interval_and_slower_when_told() -> None:
    """Section 3.5: five seconds more for this and all further questions."""
    poll = Poll(prompt(), 100.0)
    assert poll.next_at == 105.0
    poll.hear("authorization_pending", 105.0)
    assert poll.next_at == 110.0
    poll.hear("slow_down", 110.0)
    assert poll.next_at == 120.0
    poll.hear("authorization_pending", 120.5)
    assert poll.next_at == 130.5


def test_an_endpoint_that_does_not_answer_is_asked_ever_more_rarely() -> None:
    """Section 3.5: an exponential backoff, such as doubling."""
    poll = Poll(prompt(), 0.0)
    poll.hear("", 5.0, is_retryable=True)
    assert poll.next_at == 15.0
    poll.hear("temporarily_unavailable", 15.0, is_retryable=True)
    assert poll.next_at == 35.0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("access_denied", "told not to allow it"),
        ("expired_token", "not typed in time"),
        ("invalid_client", "refused the device's code: invalid_client"),
        ("", "refused the device's code: without a reason"),
    ],
)
def test_what_ends_it_is_told(error: str, expected: str) -> None:
    """No further question is asked."""
    with pytest.raises(LoginFailed, match=expected):
        Poll(prompt(), 0.0).hear(error, 5.0)


def test_it_ends_when_the_code_does() -> None:
    """Also if the endpoint goes on saying pending."""
    poll = Poll(prompt(expires_in=12), 0.0)
    poll.hear("authorization_pending", 5.0)
    with pytest.raises(LoginFailed, match="not typed in time"):
        poll.hear("authorization_pending", 10.0)
