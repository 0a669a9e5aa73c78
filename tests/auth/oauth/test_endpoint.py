import asyncio
import gzip
import json
import secrets
import ssl
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from sidecar.auth.oauth.config import ClientCredentials, TokenRequest
from sidecar.auth.oauth.endpoint import ANSWER_MAX, TokenEndpoint
from sidecar.auth.oauth.token import TokenRefused
from sidecar.auth.oauth.url import TokenUrl
from sidecar.core.clock import SystemClock
from sidecar.core.errors import DnsFailed
from sidecar.core.units import Duration
from sidecar.upstream.resolve import AddrInfo
from tests.auth.oauth.asking import network
from tests.kit.certificates import Authority
from tests.kit.clock import ManualClock
from tests.kit.vendor import Vendor, answer

CANARY = secrets.token_hex(16)
HEADERS = [("Authorization", f"Basic {CANARY}")]
FIELDS = [("grant_type", "client_credentials"), ("client_secret", CANARY), ("resource", "a"), ("resource", "b ä")]


def config(url: str, **settings: Any) -> TokenRequest:
    """Give the config of an endpoint on loopback."""
    return ClientCredentials(token_url=TokenUrl.parse(url), **{"allow_private": True, **settings})


async def refusal(endpoint: TokenEndpoint) -> TokenRefused:
    """Ask, and give the refusal; nothing of it shows what was sent, its traceback included."""
    with pytest.raises(TokenRefused) as refused:
        await endpoint.post(HEADERS, FIELDS)
    assert CANARY not in "".join(traceback.format_exception(refused.value))
    assert refused.value.__cause__ is None
    return refused.value


async def test_a_form_goes_out_as_one_request() -> None:
    """With what a token endpoint wants to see, and no cookie, no compression, no connection kept."""
    async with Vendor.answering(answer(b"{}", headers=[(b"Set-Cookie", b"a=b")])) as vendor:
        endpoint = TokenEndpoint(config(f"{vendor.url}/token?p=%2F1"), network(), SystemClock())
        for _ in range(2):
            got = await endpoint.post(HEADERS, FIELDS)
            assert (got.status, got.body) == (200, b"{}")
    request = vendor.requests[1]
    assert (request.method, request.target) == ("POST", b"/token?p=%2F1")
    assert parse_qsl(request.body.decode()) == FIELDS
    assert request.values("Content-Type") == [b"application/x-www-form-urlencoded"]
    assert request.values("Accept") == [b"application/json"]
    assert request.values("Accept-Encoding") == [b"identity"]
    assert request.values("Authorization") == [f"Basic {CANARY}".encode()]
    assert request.values("User-Agent")[0].startswith(b"sidecar/")
    assert request.values("Cookie") == []
    assert vendor.connections_opened == 2


async def test_a_json_body_and_headers_of_the_vendors_own() -> None:
    """Notion, Shopify, Braintree; a name that stands twice has a list."""
    async with Vendor.answering(answer(b"{}")) as vendor:
        wanted = {"Notion-Version": "2022-06-28", "user-agent": "me"}
        await TokenEndpoint(config(vendor.url, body="json", headers=wanted), network(), SystemClock()).post([], FIELDS)
    request = vendor.requests[0]
    assert json.loads(request.body) == {
        "grant_type": "client_credentials",
        "client_secret": CANARY,
        "resource": ["a", "b ä"],
    }
    assert request.values("Content-Type") == [b"application/json"]
    assert request.values("Notion-Version") == [b"2022-06-28"]
    assert request.values("User-Agent") == [b"me"]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    """The secret would go to whoever is named there."""
    async with Vendor.answering(answer(b"{}")) as other:
        to = f"http://127.0.0.1:{other.port}/{CANARY}".encode()
        moved = answer(b"", status=status, headers=[(b"Location", to)])
        async with Vendor.answering(moved) as vendor:
            refused = await refusal(TokenEndpoint(config(vendor.url), network(), SystemClock()))
    assert other.requests == []
    assert f"answered {status}, a redirect to 127.0.0.1;" in str(refused)
    assert (refused.status, refused.is_retryable) == (status, False)


@pytest.mark.parametrize("to", [b"", b"http://[/", b"/elsewhere", b"//%ff%00/"])
async def test_a_redirect_to_nowhere_is_one_too(to: bytes) -> None:
    """Whatever the Location holds."""
    async with Vendor.answering(answer(b"", status=302, headers=[(b"Location", to)])) as vendor:
        assert "a redirect" in str(await refusal(TokenEndpoint(config(vendor.url), network(), SystemClock())))


@pytest.mark.parametrize("is_packed", [False, True])
async def test_an_answer_without_end_is_cut_off(*, is_packed: bool) -> None:
    """Also one that is small on the wire."""
    body = b"x" * (ANSWER_MAX + 1)
    whole = answer(gzip.compress(body), headers=[(b"Content-Encoding", b"gzip")]) if is_packed else answer(body)
    async with Vendor.answering(whole) as vendor:
        refused = await refusal(TokenEndpoint(config(vendor.url), network(), SystemClock()))
    assert "more than 65536 bytes" in str(refused)


async def test_an_answer_at_the_bound_is_read() -> None:
    """To the byte."""
    async with Vendor.answering(answer(b"x" * ANSWER_MAX)) as vendor:
        got = await TokenEndpoint(config(vendor.url), network(), SystemClock()).post([], [])
    assert len(got.body) == ANSWER_MAX
    assert repr(got) == "Answer(200, 65536 bytes)"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"7", 7), (b"99999999", 86400), (b"soon", None), (b"-1", None), (b"Thu, 01 Jan 2026 00:01:00 GMT", 60)],
)
async def test_the_endpoint_says_when_to_come_again(value: bytes, expected: float | None, clock: ManualClock) -> None:
    """Seconds or a date (RFC 9110 section 10.2.3)."""
    async with Vendor.answering(answer(b"", status=429, headers=[(b"Retry-After", value)])) as vendor:
        got = await TokenEndpoint(config(vendor.url), network(), clock).post([], [])
    assert got.retry_after == expected


async def test_the_endpoints_clock_and_nonce_are_handed_up() -> None:
    """For what is signed next."""
    told = [(b"Date", b"Thu, 01 Jan 2026 00:01:00 GMT"), (b"DPoP-Nonce", b"n1"), (b"Content-Type", b"a/b")]
    async with Vendor.answering(answer(b"", status=400, headers=told)) as vendor:
        got = await TokenEndpoint(config(vendor.url), network(), SystemClock()).post([], [])
    assert (got.date, got.dpop_nonce, got.content_type, got.status) == (1_767_225_660, "n1", "a/b", 400)


async def test_a_slow_endpoint_is_left(clock: ManualClock) -> None:
    """After `timeout`, whatever it has sent by then."""
    async with Vendor.stalling(answer(b"{}"), 20, asyncio.Event()) as vendor:
        endpoint = TokenEndpoint(config(vendor.url, timeout=Duration(7)), network(), clock)
        asking = asyncio.create_task(refusal(endpoint))
        await vendor.until(lambda: bool(vendor.requests))
        await clock.advance(6.9)
        assert not asking.done()
        await clock.advance(0.1)
        refused = await asking
    assert "did not answer within timeout = 7s" in str(refused)
    assert (refused.is_retryable, refused.is_unsent) == (True, False)


@pytest.mark.parametrize(
    ("raw", "at", "sentence"),
    [
        (b"", 0, "broke off"),
        (answer(b"{}"), 20, "broke off"),
        (answer(b"{}" * 50), 80, "broke off"),
        (b"SSH-2.0-x\r\n\r\n", 13, "not HTTP"),
    ],
)
async def test_an_endpoint_that_breaks_off_may_have_seen_the_request(raw: bytes, at: int, sentence: str) -> None:
    """So a rotating refresh token may be used up."""
    async with Vendor.cutting(raw, at) as vendor:
        refused = await refusal(TokenEndpoint(config(vendor.url), network(), SystemClock()))
    assert sentence in str(refused)
    assert (refused.is_retryable, refused.is_unsent) == (True, False)


async def test_nobody_listens() -> None:
    """Nothing was sent, so the same request may go again."""
    async with Vendor.answering(answer(b"")) as vendor:
        url = vendor.url
    refused = await refusal(TokenEndpoint(config(url), network(), SystemClock()))
    assert "no connection to the authorization server localhost" in str(refused)
    assert (refused.is_retryable, refused.is_unsent) == (True, True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_the_guard_judges_names_and_addresses(host: str) -> None:
    """A literal address never meets a resolver, so the guard sits where sockets are made."""
    async with Vendor.answering(answer(b"{}")) as vendor:
        endpoint = TokenEndpoint(config(f"http://{host}:{vendor.port}", allow_private=False), network(), SystemClock())
        refused = await refusal(endpoint)
        assert vendor.connections_opened == 0
    assert "a loopback address; if it is in your own network, write allow_private" in str(refused).replace(
        "the loopback", "a loopback"
    )
    assert (refused.is_retryable, refused.is_unsent) == (False, True)


async def test_metadata_stays_out_of_reach_with_allow_private() -> None:
    """It hands out the machine's own credentials."""
    refused = await refusal(TokenEndpoint(config("http://169.254.169.254/token"), network(), SystemClock()))
    assert "cloud metadata" in str(refused)


async def test_one_good_address_of_two_is_enough() -> None:
    """A denied address is passed over, as services do."""

    async def lookup(_: str, port: int) -> list[AddrInfo]:
        return [(2, 1, 6, "", ("169.254.169.254", port)), (2, 1, 6, "", ("127.0.0.1", port))]

    async with Vendor.answering(answer(b"{}")) as vendor:
        endpoint = TokenEndpoint(config(f"http://id.crm.example:{vendor.port}"), network(lookup), SystemClock())
        assert (await endpoint.post([], [])).status == 200
    assert vendor.requests[0].values("Host") == [f"id.crm.example:{vendor.port}".encode()]


async def test_a_name_that_is_none() -> None:
    """With the resolver's own sentence."""

    async def lookup(_host: str, _port: int) -> list[AddrInfo]:
        raise DnsFailed("the name id.crm.example does not exist")

    endpoint = TokenEndpoint(config("https://id.crm.example"), network(lookup), SystemClock())
    refused = await refusal(endpoint)
    assert "could not be resolved: the name id.crm.example does not exist" in str(refused)
    assert (refused.is_retryable, refused.is_unsent) == (True, True)


async def over_tls(context: ssl.SSLContext, trust: Callable[[Vendor], TokenEndpoint]) -> TokenRefused | None:
    """Ask a vendor that speaks TLS; give the refusal if there is one."""
    async with Vendor.answering(answer(b"{}"), tls=context) as vendor:
        try:
            await trust(vendor).post(HEADERS, FIELDS)
        except TokenRefused as refused:
            return refused
    return None


async def test_an_authority_of_ones_own(tmp_path: Path) -> None:
    """`ca_file`, as services have it; without it the certificate does not verify, and nothing was sent."""
    authority = Authority()
    ca_file = str(authority.write_to(tmp_path / "ca.pem"))
    context = authority.server()
    assert (
        await over_tls(
            context, lambda vendor: TokenEndpoint(config(vendor.url, ca_file=ca_file), network(), SystemClock())
        )
        is None
    )
    refused = await over_tls(context, lambda vendor: TokenEndpoint(config(vendor.url), network(), SystemClock()))
    assert refused is not None
    assert "does not verify" in str(refused)
    assert "ca_file" in str(refused)
    assert (refused.is_retryable, refused.is_unsent) == (False, True)
    assert CANARY not in "".join(traceback.format_exception(refused))


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    """The name in the certificate is the one in the URL."""
    authority = Authority()
    ca_file = str(authority.write_to(tmp_path / "ca.pem"))
    refused = await over_tls(
        authority.server("other.example"),
        lambda vendor: TokenEndpoint(config(vendor.url, ca_file=ca_file), network(), SystemClock()),
    )
    assert refused is not None
    assert "does not verify" in str(refused)


async def test_tls_at_a_door_that_speaks_none() -> None:
    """A wrong port."""
    async with Vendor(lambda exchange: exchange.send(b"HTTP/1.1 400 No\r\n\r\n"), reads=False) as vendor:
        url = vendor.url.replace("http:", "https:")
        refused = await refusal(TokenEndpoint(config(url), network(), SystemClock()))
    assert "no TLS session" in str(refused) or "broke off" in str(refused)


@pytest.mark.parametrize(
    ("version", "sentence"),
    [(ssl.TLSVersion.TLSv1_2, "does it want a client certificate"), (ssl.TLSVersion.TLSv1_3, "broke off")],
)
async def test_a_door_that_wants_a_certificate(version: ssl.TLSVersion, sentence: str, tmp_path: Path) -> None:
    """In TLS 1.3 the server says so only after our request is on its way."""
    authority = Authority()
    context = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    ca_file = str(authority.write_to(tmp_path / "ca.pem"))
    refused = await over_tls(
        context, lambda vendor: TokenEndpoint(config(vendor.url, ca_file=ca_file), network(), SystemClock())
    )
    assert refused is not None
    assert sentence in str(refused)
    assert refused.is_retryable


def test_an_authority_that_cannot_be_read_stops_the_load(tmp_path: Path) -> None:
    """When the config is loaded, not at the first token."""
    with pytest.raises(ValueError, match="cannot be read"):
        TokenEndpoint(config("https://id.crm.example", ca_file=str(tmp_path / "no")), network(), SystemClock())


async def test_who_leaves_leaves_nothing_behind() -> None:
    """A call that is cancelled takes its connection along."""
    async with Vendor.stalling(answer(b"{}"), 20, asyncio.Event()) as vendor:
        asking = asyncio.create_task(TokenEndpoint(config(vendor.url), network(), SystemClock()).post([], []))
        await vendor.until(lambda: bool(vendor.requests))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert vendor.connections_open == 0
