"""SDKs insist on a credential, so the app gives them placeholders: whatever the scheme, these stay in the pod."""

import secrets
from pathlib import Path

import pytest

from tests.kit.exchange import Request
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

PLACEHOLDER = "placeholder"
SENT = [
    f"Authorization: Bearer {PLACEHOLDER}",
    f"authorization: Basic {PLACEHOLDER}",
    f"Proxy-Authorization: Basic {PLACEHOLDER}",
    f"Cookie: session={PLACEHOLDER}",
]
SCHEMES = {
    "none": "",
    "bearer": 'auth = { kind = "bearer", secret = "files:key" }',
    "bearer elsewhere": 'auth = { kind = "bearer", secret = "files:key", header = "X-Token", prefix = "" }',
    "api key": 'auth = { kind = "api_key", secret = "files:key" }',
    "api key in query": 'auth = { kind = "api_key", secret = "files:key", in = "query", name = "key" }',
    "basic": 'auth = { kind = "basic", secret = "files:key", username = "me" }',
}


async def sent(tmp_path: Path, service: str, *lines: str, target: str = "/vendor/x", trailer: str = "") -> Request:
    """Call with these headers, and give what the vendor saw."""
    key = secrets.token_hex(16)
    async with Vendor.answering(answer(b"ok")) as vendor:
        pod = Pod(tmp_path, vendor, service=service)
        pod.write_secret("key", key)
        async with pod, pod.app() as app:
            head = [f"POST {target} HTTP/1.1", "Host: localhost", *lines, "Transfer-Encoding: chunked", "", ""]
            await app.send("\r\n".join(head).encode() + f"1\r\na\r\n0\r\n{trailer}\r\n".encode())
            assert (await app.read_answer("POST")).status == 200
        request = vendor.requests[0]
        seen = request.raw_head + request.body + repr(request.trailers).encode()
        assert "auth" not in service or key.encode() in seen or b"Basic " in seen
        return request


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
async def test_no_placeholder_reaches_the_vendor(scheme: str, tmp_path: Path) -> None:
    """Neither where the credential goes, nor in a header that the scheme does not use, nor behind the body."""
    trailer = f"Authorization: {PLACEHOLDER}\r\nCookie: {PLACEHOLDER}\r\nProxy-Authorization: {PLACEHOLDER}\r\n"
    request = await sent(tmp_path, scheme, *SENT, trailer=trailer)
    assert PLACEHOLDER.encode() not in request.raw_head
    assert request.trailers == []
    assert len(request.values("Authorization")) <= 1


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
async def test_only_what_forward_names_goes_on(scheme: str, tmp_path: Path) -> None:
    """And never beside the credential that takes its place."""
    request = await sent(tmp_path, f'{scheme}\nforward = ["Cookie"]', *SENT)
    assert request.values("Cookie") == [f"session={PLACEHOLDER}".encode()]
    assert request.raw_head.count(PLACEHOLDER.encode()) == 1


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
async def test_a_forwarded_authorization_gives_way_to_the_credential(scheme: str, tmp_path: Path) -> None:
    """One of the two would win at the vendor, and nobody knows which."""
    request = await sent(tmp_path, SCHEMES[scheme] + '\nforward = ["Authorization"]', *SENT)
    assert len(request.values("Authorization")) == 1
    assert PLACEHOLDER.encode() not in request.raw_head


async def test_a_key_in_a_header_that_the_scheme_does_not_use_goes_on_unless_it_is_removed(tmp_path: Path) -> None:
    """Some vendors want two of them; `headers.remove` is for those where the second is a placeholder."""
    line = f"X-Api-Key: {PLACEHOLDER}"
    assert (await sent(tmp_path, SCHEMES["bearer"], line)).values("X-Api-Key") == [PLACEHOLDER.encode()]


@pytest.mark.parametrize("scheme", ["bearer", "api key"])
async def test_a_removed_header_still_takes_the_credential(scheme: str, tmp_path: Path) -> None:
    """What is removed is the app's."""
    service = SCHEMES[scheme] + '\nheaders = { remove = ["X-Api-Key"] }'
    request = await sent(tmp_path, service, f"X-API-KEY: {PLACEHOLDER}")
    assert PLACEHOLDER.encode() not in request.raw_head
    assert len(request.values("X-Api-Key")) == (scheme == "api key")


async def test_a_placeholder_in_the_query_is_replaced_however_it_is_spelt(tmp_path: Path) -> None:
    """Vendors decode names of parameters."""
    target = f"/vendor/x?%6bey={PLACEHOLDER}&a=1&key={PLACEHOLDER}"
    request = await sent(tmp_path, SCHEMES["api key in query"], target=target)
    assert request.target.startswith(b"/x?a=1&key=")
    assert PLACEHOLDER.encode() not in request.target


async def test_a_vendor_is_not_asked_to_send_the_credential_back(tmp_path: Path) -> None:
    """TRACE echoes the request as it arrived: the app would read what it must never have."""
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, service=SCHEMES["bearer"])
        pod.write_secret("key", secrets.token_hex(16))
        async with pod, pod.app() as app:
            for target in ("/vendor/x", vendor.url + "/x"):
                reply = await app.ask("TRACE", target)
                assert (reply.status, reply.value("Sidecar-Error")) == (405, "bad_request")
        assert not vendor.requests
