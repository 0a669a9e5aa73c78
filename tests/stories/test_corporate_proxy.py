"""The way out leads through a corporate proxy: by CONNECT, with credentials by reference, and TLS with the vendor."""

import base64
import secrets
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.kit.app import Reply
from tests.kit.certificates import Authority
from tests.kit.pod import Pod
from tests.kit.proxy import ConnectProxy
from tests.kit.refusal import assert_refusal
from tests.kit.vendor import Vendor, answer

NAME = "api.vendor.test"  # Known to the proxy alone; to look it up here would fail.


def basic(username: str, password: str) -> str:
    """Give what the proxy wants to see."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def service(proxy: ConnectProxy, *more: str) -> str:
    """Give the keys of a service behind the proxy."""
    return "\n".join([f'upstream_proxy = "{proxy.url}"', *more])


async def ask(pod: Pod, *headers: str) -> Reply:
    """Ask on a connection of its own."""
    async with pod.app() as app:
        return await app.ask("GET", "/vendor/v1/charges?limit=3", *headers)


@pytest.fixture
def authority() -> Authority:
    """An authority of this test's own."""
    return Authority()


@pytest.fixture
def password() -> str:
    """The pod's password at the proxy."""
    return secrets.token_hex(12)


@pytest.fixture
def trust(authority: Authority, tmp_path: Path) -> str:
    """The setting with which a service trusts it."""
    return f'ca_file = "{authority.write_to(tmp_path / "ca.pem")}"'


AUTH = 'upstream_proxy_auth = { username = "pod", password = "files:proxy" }'


async def test_calls_go_through_the_proxy_which_sees_no_credential(
    authority: Authority, trust: str, password: str, tmp_path: Path
) -> None:
    """The proxy resolves the name and gets its own credentials, the vendor its own inside TLS; no line has either."""
    token = secrets.token_hex(16)
    async with Vendor.echoing(tls=authority.server(NAME)) as vendor:
        where = f"{NAME}:{vendor.port}"
        async with ConnectProxy({where: vendor.port}, basic("pod", password)) as proxy:
            auth = 'auth = { kind = "bearer", secret = "files:key" }'
            pod = Pod(tmp_path, f"https://{where}/base", service=service(proxy, AUTH, trust, auth), level="debug")
            pod.write_secret("proxy", password + "\n")
            pod.write_secret("key", token + "\n")
            async with pod:
                first, second = await ask(pod), await ask(pod, "Proxy-Authorization: Basic YXBwOmFwcA==")
                assert (first.status, second.status) == (200, 200)
                await pod.calls(2)
                await pod.assert_nothing_left()
            assert [(r.target, r.values("Host"), r.values("Authorization")) for r in vendor.requests] == [
                (b"/base/v1/charges?limit=3", [where.encode()], [f"Bearer {token}".encode()])
            ] * 2
            assert not any(r.values("Proxy-Authorization") for r in vendor.requests)
            lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", f"Proxy-Authorization: {basic('pod', password)}"]
            assert proxy.heads == ["\r\n".join([*lines, "", ""]).encode()], "one tunnel serves both calls"
            assert token.encode() not in proxy.carried
        written = pod.log_file.read_bytes()
        for secret in (token, password, basic("pod", password).removeprefix("Basic ")):
            assert secret.encode() not in written


async def test_the_proxy_wants_credentials_that_we_do_not_have(tmp_path: Path) -> None:
    """502 with the key to write; nothing went to the vendor."""
    async with Vendor.echoing() as vendor:
        where = f"{NAME}:{vendor.port}"
        async with (
            ConnectProxy({where: vendor.port}, basic("pod", "x")) as proxy,
            Pod(tmp_path, f"http://{where}", service=service(proxy)) as pod,
        ):
            reply = await ask(pod)
            detail = assert_refusal(reply, 502, "connect_failed", "http_request_denied", service="vendor", attempts=1)
            assert "upstream_proxy_auth" in detail
            assert vendor.connections_opened == 0
            await pod.assert_nothing_left()


async def test_a_password_that_changes_is_used_for_the_next_tunnel(password: str, tmp_path: Path) -> None:
    """The wrong one is refused without being repeated; the right one is taken up from its file without a restart."""
    wrong = secrets.token_hex(12)
    async with Vendor.echoing() as vendor:
        where = f"{NAME}:{vendor.port}"
        async with ConnectProxy({where: vendor.port}, basic("pod", password)) as proxy:
            pod = Pod(tmp_path, f"http://{where}", service=service(proxy, AUTH))
            pod.write_secret("proxy", wrong)
            async with pod:
                reply = await ask(pod)
                assert_refusal(reply, 502, "connect_failed", "http_request_denied", service="vendor", attempts=1)
                assert wrong.encode() not in reply.raw_head + reply.body
                pod.write_secret("proxy", password)
                await pod.until(lambda: pod.log_file.read_bytes().count(b'"secret_read"') == 2, "the new password")
                assert (await ask(pod)).status == 200
                await pod.assert_nothing_left()
            written = pod.log_file.read_bytes()
            assert wrong.encode() not in written
            assert password.encode() not in written


async def test_a_password_that_cannot_be_read_is_told_by_its_step(tmp_path: Path) -> None:
    """502 credential_unavailable, and no CONNECT without what was asked for."""
    async with (
        ConnectProxy({}) as proxy,
        Pod(tmp_path, f"http://{NAME}:80", service=service(proxy, AUTH)) as pod,
    ):
        reply = await ask(pod)
        assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
        assert "proxy cannot be read" in reply.json()["detail"]
        assert proxy.heads == []
        await pod.assert_nothing_left()


async def test_the_proxy_goes_away_and_comes_back(tmp_path: Path) -> None:
    """While it is away the answer names it; a tunnel that it cut is not lent again."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        where = f"{NAME}:{vendor.port}"
        async with (
            ConnectProxy({where: vendor.port}) as proxy,
            Pod(tmp_path, f"http://{where}", service=service(proxy)) as pod,
        ):
            assert (await ask(pod)).body == b"ok"
            await proxy.stop()
            idle = pod.snapshot()["services"]["vendor"]["pool"]
            await pod.until(lambda: not pod.snapshot()["services"]["vendor"]["pool"]["idle"], f"no idle one of {idle}")
            reply = await ask(pod)
            detail = assert_refusal(reply, 502, "connect_failed", "connection_refused", service="vendor", attempts=1)
            assert f"the proxy localhost:{proxy.port}" in detail
            await proxy.start()
            assert (await ask(pod)).body == b"ok"
            await pod.assert_nothing_left()


async def test_a_name_that_the_proxy_does_not_know_is_its_refusal(tmp_path: Path) -> None:
    """The status that the proxy gave is in the sentence."""
    async with ConnectProxy({}) as proxy, Pod(tmp_path, f"http://{NAME}", service=service(proxy)) as pod:
        reply = await ask(pod)
        detail = assert_refusal(reply, 502, "connect_failed", "destination_unavailable", service="vendor", attempts=1)
        assert "status 502 Unknown Host" in detail
        assert proxy.heads[0].startswith(f"CONNECT {NAME}:80 HTTP/1.1\r\n".encode())
        await pod.assert_nothing_left()


async def test_a_metadata_address_stays_denied_behind_a_proxy(tmp_path: Path) -> None:
    """The proxy is not even asked, although the service allows private addresses."""
    async with ConnectProxy({}) as proxy, Pod(tmp_path, "http://169.254.169.254", service=service(proxy)) as pod:
        assert_refusal(await ask(pod), 502, "address_denied", "destination_ip_prohibited", service="vendor", attempts=1)
        assert proxy.heads == []
        await pod.assert_nothing_left()


async def test_a_websocket_passes_through_the_proxy(tmp_path: Path) -> None:
    """A tunnel in a tunnel: messages go both ways."""
    token = secrets.token_hex(16)

    async def echo(request: web.Request) -> web.WebSocketResponse:
        assert request.headers["Authorization"] == f"Bearer {token}"
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    application = web.Application()
    application.router.add_get("/live", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with ConnectProxy({f"{NAME}:{port}": port}) as proxy:
            auth = 'auth = { kind = "bearer", secret = "files:key" }'
            pod = Pod(tmp_path, f"http://{NAME}:{port}", service=service(proxy, auth))
            pod.write_secret("key", token)
            async with pod:
                async with (
                    aiohttp.ClientSession() as session,
                    session.ws_connect(f"http://{pod.address}/vendor/live") as socket,
                ):
                    await socket.send_str("hello")
                    assert await socket.receive_str(timeout=5) == "HELLO"
                await pod.assert_nothing_left()
    finally:
        await runner.cleanup()
