import json
import math
import secrets
import traceback
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.jwk import ECKey

from sidecar.auth.oauth.config import ClientCredentials, Grant, JwtBearer, RefreshToken
from sidecar.auth.oauth.dpop import DpopKey
from sidecar.auth.oauth.minter import Minter
from sidecar.auth.oauth.token import TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.core.clock import SystemClock
from sidecar.core.secret import Secret
from sidecar.core.units import Duration
from tests.auth.oauth.asking import Vault, minter, network, new_secret, pem, private_key, reference
from tests.kit.clock import ManualClock
from tests.kit.exchange import Request
from tests.kit.vendor import Vendor, answer

Answers = Callable[[Request], bytes]


def told(body: dict[str, Any], status: int = 200, **headers: str) -> bytes:
    """Write an answer of a token endpoint."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return answer(json.dumps(body).encode(), status=status, headers=[(b"Content-Type", b"application/json"), *fields])


GOOD = told({"access_token": "a", "token_type": "Bearer", "expires_in": 60, "instance_url": "https://eu.example"})


def by_secret(vendor: Vendor, **settings: Any) -> ClientCredentials:
    """Give a grant with a client secret, at a scripted endpoint."""
    whole: dict[str, Any] = {"client_id": "c", "client_secret": reference("secret"), "allow_private": True, **settings}
    return ClientCredentials(token_url=TokenUrl.parse(f"{vendor.url}/token"), **whole)


def by_key(vendor: Vendor, **settings: Any) -> ClientCredentials:
    """Give a grant with a signed assertion."""
    return ClientCredentials(
        token_url=TokenUrl.parse(f"{vendor.url}/token"),
        client_id="c",
        client_auth="private_key_jwt",
        client_key=reference("key"),
        client_algorithm="ES256",
        allow_private=True,
        **settings,
    )


def sent(request: Request) -> dict[str, str]:
    """Give the parameters of a token request."""
    return dict(parse_qsl(request.body.decode()))


def claims(token: str) -> dict[str, Any]:
    """Read a signed token without verifying it: others do."""
    found: dict[str, Any] = json.loads(jws.extract_compact(token.encode()).payload)
    return found


async def test_a_token_counts_from_the_moment_it_was_asked_for(clock: ManualClock) -> None:
    """The way back belongs to its life, so that we never use it too long."""
    async with Vendor.answering(GOOD) as vendor:
        token = await minter(by_secret(vendor), clock, secret="s").mint()
    assert (token.value, token.got_at, token.expires_at) == (b"a", 1000, 1060)
    assert token.extra == {"instance_url": "https://eu.example"}


@pytest.mark.parametrize("expires_in", [None, 0, "never"])
async def test_the_configured_life_counts_where_nobody_says(expires_in: object, clock: ManualClock) -> None:
    """Salesforce sessions end by the organisation's setting, and the answer does not tell."""
    async with Vendor.answering(told({"access_token": "a", "expires_in": expires_in})) as vendor:
        assert (await minter(by_secret(vendor), clock, secret="s").mint()).expires_at == math.inf
        known = by_secret(vendor, token_life=Duration(7200))
        assert (await minter(known, clock, secret="s").mint()).expires_at == 8200


async def test_an_instant_is_meant_by_the_endpoints_clock(clock: ManualClock) -> None:
    """Ours may be five minutes off."""
    ahead = clock.wall() + 300
    body = {"access_token": "a", "expires_at": ahead + 60}
    async with Vendor.answering(told(body, Date=formatdate(ahead, usegmt=True))) as vendor:
        assert (await minter(by_secret(vendor), clock, secret="s").mint()).expires_at == 1060


async def test_parameters_of_the_operator_win() -> None:
    """`audience` and its like; a vendor's own word for a grant."""
    async with Vendor.answering(GOOD) as vendor:
        await minter(by_secret(vendor, params={"audience": "x", "grant_type": "own"}), secret="s").mint()
    assert sent(vendor.requests[0]) == {"grant_type": "own", "audience": "x"}


async def test_a_rotated_secret_is_in_the_next_request() -> None:
    """No restart."""
    async with Vendor.answering(GOOD) as vendor:
        vault = Vault({"secret": "first"})
        asked = Minter(by_secret(vendor, client_auth="client_secret_post"), vault.hold, network(), ManualClock())
        await asked.mint()
        vault.put("secret", "second")
        await asked.mint()
    assert [sent(request)["client_secret"] for request in vendor.requests] == ["first", "second"]


async def test_a_secret_that_is_not_there_is_the_step_that_failed() -> None:
    """The endpoint is not asked."""
    async with Vendor.answering(GOOD) as vendor:
        with pytest.raises(TokenRefused, match="has not been read yet") as refused:
            await minter(by_secret(vendor)).mint()
    assert vendor.requests == []
    assert (refused.value.is_retryable, refused.value.is_unsent) == (True, True)


async def test_a_refusal_says_why_and_when_to_come_again() -> None:
    """And nothing of what was sent, which this endpoint repeats in every way it can; nor does its traceback."""
    secret, refresh = new_secret(), secrets.token_hex(16)

    def repeat(request: Request) -> bytes:
        raw = request.body.decode() + request.values("Authorization")[0].decode()
        body = {"error": "invalid_grant", "error_description": f"{secret} {raw}", "detail": raw}
        return told(body, 400, Retry_After="9")

    async with Vendor.answering(repeat) as vendor:
        grant = RefreshToken(
            token_url=TokenUrl.parse(vendor.url),
            client_id="c",
            client_secret=reference("secret"),
            refresh_token=reference("refresh"),
            allow_private=True,
        )
        asked = minter(grant, secret=secret)
        with pytest.raises(TokenRefused) as caught:
            await asked.mint(Secret(refresh.encode(), "1"))
    refused = caught.value
    assert (refused.error, refused.is_invalid_grant, refused.retry_after) == ("invalid_grant", True, 9)
    shown = "".join(traceback.format_exception(refused)) + refused.description + repr(vars(refused))
    basic = vendor.requests[0].values("Authorization")[0].decode().removeprefix("Basic ")
    for canary in (secret, refresh, basic, secret[:16]):
        assert canary not in shown


@pytest.mark.parametrize("field", ["error", "error_description", "message"])
@pytest.mark.parametrize("place", ["alone", "cut", "spelt out"])
async def test_a_secret_is_masked_before_the_text_is_cut_and_cleaned(field: str, place: str) -> None:
    """Cut in its middle, or without the letters that our lines do not show, it would not be found any more."""
    secret = {"alone": secrets.token_hex(8), "cut": "s" + secrets.token_hex(8), "spelt out": "pässwörd-of-this-one"}[
        place
    ]
    text = {"alone": secret, "cut": "x " * 96 + secret, "spelt out": secret}[place]
    body = {"error": "invalid_client", field: text}
    async with Vendor.answering(told(body, 401)) as vendor:
        with pytest.raises(TokenRefused) as refused:
            await minter(by_secret(vendor), secret=secret).mint()
    shown = str(refused.value) + refused.value.error + refused.value.description
    for piece in (secret[:8], secret[8:], "rd-of-this"):
        assert piece not in shown


async def test_nothing_of_a_minter_shows_its_secrets() -> None:
    """Its repr, and those of all that hangs on it."""
    async with Vendor.answering(GOOD) as vendor:
        secret = secrets.token_hex(16)
        asked = minter(by_secret(vendor), secret=secret)
        token = await asked.mint()
    assert secret not in repr(vars(asked)) + repr(vars(asked._endpoint))
    assert "'a'" not in repr(token)


async def test_every_assertion_is_used_once() -> None:
    """A server refuses a `jti` that it has seen."""
    async with Vendor.answering(GOOD) as vendor:
        asked = minter(by_key(vendor), key=pem(private_key("ES256")))
        for _ in range(3):
            await asked.mint()
    assert len({claims(sent(request)["client_assertion"])["jti"] for request in vendor.requests}) == 3


def unless_on_time(clock_ahead: float, clock: ManualClock, field: str) -> Answers:
    """Refuse what is signed by another clock than the endpoint's, which is ahead of ours."""

    def judge(request: Request) -> bytes:
        date = formatdate(clock.wall() + clock_ahead, usegmt=True)
        if abs(claims(sent(request)[field])["iat"] - clock.wall() - clock_ahead) > 60:
            return told({"error": "invalid_client", "error_description": "iat"}, 401, Date=date)
        return told({"access_token": "a"}, Date=date)

    return judge


@pytest.mark.parametrize("ahead", [-300.0, 300.0])
async def test_a_clock_that_is_five_minutes_off_is_set_by_the_endpoints(ahead: float, clock: ManualClock) -> None:
    """The first refusal teaches the difference; the same request goes again at once, and the next is right."""
    async with Vendor.answering(unless_on_time(ahead, clock, "client_assertion")) as vendor:
        asked = minter(by_key(vendor), clock, key=pem(private_key("ES256")))
        await asked.mint()
        await asked.mint()
    assert len(vendor.requests) == 3


async def test_an_assertion_grant_follows_the_endpoints_clock_too(clock: ManualClock) -> None:
    """It is the same signature over the same times."""
    async with Vendor.answering(unless_on_time(300, clock, "assertion")) as vendor:
        grant: Grant = JwtBearer(
            token_url=TokenUrl.parse(vendor.url),
            key=reference("key"),
            algorithm="ES256",
            issuer="me",
            allow_private=True,
        )
        await minter(grant, clock, key=pem(private_key("ES256"))).mint()
    assert len(vendor.requests) == 2


async def test_a_clock_that_runs_away_is_followed_once(clock: ManualClock) -> None:
    """An endpoint whose date is another at each answer gets two requests, not a flood."""
    dates = iter(range(1, 100))

    def wander(_: Request) -> bytes:
        return told({"error": "invalid_client"}, 401, Date=formatdate(clock.wall() + 600 * next(dates), usegmt=True))

    async with Vendor.answering(wander) as vendor:
        with pytest.raises(TokenRefused, match="invalid_client"):
            await minter(by_key(vendor), clock, key=pem(private_key("ES256"))).mint()
    assert len(vendor.requests) == 2


async def test_the_clock_is_no_matter_where_nothing_is_signed(clock: ManualClock) -> None:
    """A wrong secret is refused once."""
    refusing = told({"error": "invalid_client"}, 401, Date=formatdate(clock.wall() + 600, usegmt=True))
    async with Vendor.answering(refusing) as vendor:
        with pytest.raises(TokenRefused):
            await minter(by_secret(vendor), clock, secret="s").mint()
    assert len(vendor.requests) == 1


BOUND = told({"access_token": "a", "token_type": "DPoP", "expires_in": 60})


async def test_a_nonce_is_taken_and_the_request_goes_again() -> None:
    """RFC 9449 section 8: once, with another proof; the nonce of a good answer is for the next request."""
    wanted = told({"error": "use_dpop_nonce"}, 400, DPoP_Nonce="n1")
    good = told({"access_token": "a", "token_type": "DPoP"}, DPoP_Nonce="n2")
    async with Vendor.answering(wanted, good, BOUND) as vendor:
        asked = minter(by_secret(vendor, dpop=True), secret="s")
        first, second = await asked.mint(), await asked.mint()
        assert first.kind == "DPoP"
    proofs = [claims(request.values("DPoP")[0].decode()) for request in vendor.requests]
    assert [proof.get("nonce") for proof in proofs] == [None, "n1", "n2"]
    assert len({proof["jti"] for proof in proofs}) == 3
    assert {(proof["htm"], proof["htu"]) for proof in proofs} == {("POST", f"{vendor.url}/token")}
    headers = [jws.extract_compact(request.values("DPoP")[0]).headers() for request in vendor.requests]
    assert headers[0]["jwk"] == headers[2]["jwk"]
    assert isinstance(first.bound_to, DpopKey)
    assert first.bound_to is second.bound_to


async def test_a_stored_key_is_read_when_it_is_used() -> None:
    """A token is bound to the key that stood there when it was asked for; the nonce is the server's, and stays."""
    good = told({"access_token": "a", "token_type": "DPoP"}, DPoP_Nonce="n1")
    keys = [pem(ec.generate_private_key(ec.SECP256R1())) for _ in range(2)]
    async with Vendor.answering(good) as vendor:
        vault = Vault({"secret": "s", "key": keys[0]})
        asked = Minter(by_secret(vendor, dpop=True, dpop_key=reference("key")), vault.hold, network(), SystemClock())
        tokens = [await asked.mint(), await asked.mint()]
        vault.put("key", keys[1])
        tokens.append(await asked.mint())
        vault.put("key", "no key")
        with pytest.raises(TokenRefused, match=r"dpop_key is no private EC key of the curve P-256") as refused:
            await asked.mint()
        assert len(vendor.requests) == 3
    assert "no key" not in str(refused.value).replace("dpop_key is no private", "")
    proofs = [request.values("DPoP")[0].decode() for request in vendor.requests]
    assert [claims(proof).get("nonce") for proof in proofs] == [None, "n1", "n1"]
    shown = [ECKey.import_key(jws.extract_compact(proof.encode()).headers()["jwk"]).thumbprint() for proof in proofs]
    meant = [ECKey.import_key(keys[number]).thumbprint() for number in (0, 0, 1)]
    assert shown == meant
    assert [token.bound_to.thumbprint for token in tokens if isinstance(token.bound_to, DpopKey)] == meant


@pytest.mark.parametrize(
    "again", [told({"error": "use_dpop_nonce"}, 400, DPoP_Nonce="n2"), told({"error": "use_dpop_nonce"}, 400)]
)
async def test_an_endpoint_that_always_wants_another_nonce_gets_two_requests(again: bytes) -> None:
    """Not a flood of them."""
    first = told({"error": "use_dpop_nonce"}, 400, DPoP_Nonce="n1")
    async with Vendor.answering(first, again) as vendor:
        with pytest.raises(TokenRefused, match="use_dpop_nonce"):
            await minter(by_secret(vendor, dpop=True), secret="s").mint()
    assert len(vendor.requests) == 2


async def test_a_token_that_is_not_bound_is_not_used_where_it_should_be() -> None:
    """RFC 9449 section 5: whoever steals it could use it."""
    async with Vendor.answering(GOOD) as vendor:
        with pytest.raises(TokenRefused, match="not bound to our key"):
            await minter(by_secret(vendor, dpop=True), secret="s").mint()
