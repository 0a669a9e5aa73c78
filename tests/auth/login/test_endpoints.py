"""What is asked of the vendor's endpoints, to the letter, and that nothing of it shows when they refuse."""

import json
import secrets
from typing import Any
from urllib.parse import parse_qs

import pytest

from sidecar.auth.login.endpoints import Endpoints
from sidecar.auth.login.failed import LoginFailed
from sidecar.auth.oauth.config import RefreshToken
from sidecar.auth.oauth.token import TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.core.ids import Ids
from tests.auth.oauth.asking import Vault, network, reference
from tests.kit.clock import ManualClock
from tests.kit.vendor import Vendor, answer

SECRET = secrets.token_urlsafe(24)
GIVEN = {"access_token": "a", "refresh_token": "r", "expires_in": 60}
PROMPT = {"device_code": "d", "user_code": "U", "verification_uri": "https://crm.example/d", "expires_in": 60}


def told(body: object, status: int = 200) -> bytes:
    """Write an answer in JSON."""
    return answer(json.dumps(body).encode(), status=status, headers=[(b"Content-Type", b"application/json")])


def endpoints(vendor: Vendor, clock: ManualClock, **more: Any) -> Endpoints:
    """Give the endpoints of a service there."""
    settings: dict[str, Any] = {
        "client_id": "checkout", "client_secret": reference("secret"), "client_auth": "client_secret_post",
        "refresh_token": reference("refresh"), "scopes": ("contacts",), "params": {"audience": "api"},
        "allow_private": True, **more,
    }  # fmt: skip
    grant = RefreshToken(token_url=TokenUrl.parse(f"{vendor.url}/token"), **settings)
    return Endpoints(grant, Vault({"secret": SECRET}).hold, network(), clock, Ids())


def sent(vendor: Vendor) -> dict[str, list[str]]:
    """Give the parameters of the one request."""
    (request,) = vendor.requests
    return parse_qs(request.body.decode(), keep_blank_values=True)


async def test_a_code_is_redeemed_with_what_the_rfc_names(clock: ManualClock) -> None:
    """RFC 6749 section 4.1.3, as the service's client, with its further parameters, and without scopes."""
    fields = [("grant_type", "authorization_code"), ("code", "c"), ("redirect_uri", "u"), ("code_verifier", "v")]
    async with Vendor.answering(told(GIVEN)) as vendor:
        token = await endpoints(vendor, clock).redeem(fields)
    assert token.refresh_token is not None
    assert token.refresh_token.reveal() == b"r"
    assert sent(vendor) == {
        "grant_type": ["authorization_code"], "code": ["c"], "redirect_uri": ["u"], "code_verifier": ["v"],
        "client_id": ["checkout"], "client_secret": [SECRET], "audience": ["api"],
    }  # fmt: skip


async def test_a_device_code_is_asked_for_with_scope_and_client(clock: ManualClock) -> None:
    """RFC 8628 section 3.1; the client says who it is as at the token endpoint."""
    async with Vendor.answering(told(PROMPT)) as vendor:
        prompt = await endpoints(vendor, clock).prompt(TokenUrl.parse(f"{vendor.url}/device"), "contacts", {})
    assert prompt.user_code == "U"
    assert vendor.requests[0].target == b"/device"
    assert sent(vendor) == {"client_id": ["checkout"], "client_secret": [SECRET], "scope": ["contacts"]}


async def test_with_basic_the_client_is_named_all_the_same(clock: ManualClock) -> None:
    """`client_id` is required in the request's parameters there, unless the client authenticates; it harms nowhere."""
    async with Vendor.answering(told(PROMPT)) as vendor:
        asked = endpoints(vendor, clock, client_auth="client_secret_basic")
        await asked.prompt(TokenUrl.parse(f"{vendor.url}/device"), "", {})
    assert sent(vendor) == {"client_id": ["checkout"]}


@pytest.mark.parametrize("status", [302, 400, 500])
async def test_a_refusal_holds_nothing_that_was_sent(status: int, clock: ManualClock) -> None:
    """Some servers repeat what they did not like."""
    body = {"error": "invalid_client", "error_description": f"no client has {SECRET}"}
    async with Vendor.answering(told(body, status)) as vendor:
        with pytest.raises(LoginFailed) as refused:
            await endpoints(vendor, clock).prompt(TokenUrl.parse(f"{vendor.url}/device"), "", {})
    assert str(status) in str(refused.value)
    assert SECRET not in str(refused.value)


async def test_a_code_that_is_refused_is_not_repeated(clock: ManualClock) -> None:
    """Neither it nor the verifier: in a terminal that is shared, or a ticket, they may still be good."""
    fields = [("grant_type", "authorization_code"), ("code", "4/0Ab-Cd"), ("code_verifier", "EfGh")]
    body = {"error": "invalid_grant", "error_description": f"4/0Ab-Cd with EfGh of {SECRET}"}
    async with Vendor.answering(told(body, 400)) as vendor:
        with pytest.raises(TokenRefused, match="invalid_grant") as refused:
            await endpoints(vendor, clock).redeem(fields)
    for value in ("4/0Ab-Cd", "EfGh", SECRET):
        assert value not in str(refused.value)
        assert value not in refused.value.description
    assert refused.value.is_invalid_grant


async def test_a_secret_that_cannot_be_read_is_told_before_anything_is_sent(clock: ManualClock) -> None:
    """With its reference."""
    async with Vendor.answering(told(PROMPT)) as vendor:
        asked = endpoints(vendor, clock, client_secret=reference("other"))
        with pytest.raises(LoginFailed, match="files:other could not be read"):
            await asked.prompt(TokenUrl.parse(f"{vendor.url}/device"), "", {})
    assert vendor.requests == []
