"""A real HTTPS server as the vendor: nginx sees the credential, which we show nowhere; it goes away, and comes back."""

import asyncio
import gzip
import json
import secrets
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.cli import main
from tests.kit.app import App, Reply
from tests.kit.certificates import Authority
from tests.kit.process import Process, free_ports

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed here")

CONFIG = """
daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format facts escape=json '{{"line":"$request","status":"$status","authorization":"$http_authorization",'
    '"host":"$http_host","sni":"$ssl_server_name","tls":"$ssl_protocol","connection":"$connection",'
    '"bytes":"$content_length","encoding":"$http_transfer_encoding"}}';
  access_log {root}/access.log facts;
  client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d;
  scgi_temp_path {root}/e; gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; keepalive_timeout 60s;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
    location /v1/moved {{ return 301 https://localhost:{port}/v1/things; }}
    location / {{ default_type text/plain; return 200 "hello from nginx, which compresses this\\n"; }}
  }}
}}
"""
SERVICE = """
[secrets.files]
kind = "file"
path = "{secrets}"
[log]
level = "debug"
[services.vendor]
base_url = "https://localhost:{port}/v1"
ca_file = "{root}/ca.pem"
allow_private = true
auth = {{ kind = "bearer", secret = "files:key" }}
"""


class Nginx:
    """One nginx in a folder, in the foreground, as a child of the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        [self.port] = free_ports(1)
        authority = Authority()
        authority.write_to(root / "ca.pem")
        authority.write_server(root / "cert.pem", root / "key.pem")
        (root / "nginx.conf").write_text(CONFIG.format(root=root, port=self.port))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve from here to the block's end."""
        assert NGINX is not None
        process = await asyncio.create_subprocess_exec(
            NGINX, "-p", str(self.root), "-c", str(self.root / "nginx.conf"), stderr=PIPE
        )
        try:
            await self._until_it_listens(process)
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(10):
                await process.communicate()

    async def _until_it_listens(self, process: asyncio.subprocess.Process) -> None:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionRefusedError:
                    assert process.returncode is None, (self.root / "error.log").read_text()
                    continue
                writer.transport.abort()
                return

    def lines(self) -> list[Any]:
        """Give what it logged of each request; it writes a line before it sends an answer's end."""
        return [json.loads(line) for line in (self.root / "access.log").read_text().splitlines()]


async def ask(sidecar: Process, target: str, *headers: str, host: str = "localhost") -> Reply:
    """Ask on a connection of its own."""
    async with App.to(sidecar.egress_url) as app:
        return await app.ask("GET", target, *headers, host=host)


async def written(sidecar: Process) -> str:
    """Give everything that the sidecar shows to anybody but the vendor."""
    shown = [json.dumps(sidecar.lines), sidecar.errors.decode()]
    async with aiohttp.ClientSession() as session:
        for url in (
            f"{sidecar.telemetry_url}/metrics", f"{sidecar.admin_url}/", f"{sidecar.admin_url}/api/services",
            f"{sidecar.admin_url}/api/config",
        ):  # fmt: skip
            async with session.get(url) as answer:
                assert answer.status == 200
                shown.append(await answer.text())
    return "\n".join(shown)


async def test_nginx_sees_the_credential_and_nobody_else_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By each form of address, over one kept connection, TLS verified for the very name; bodies stay compressed."""
    token = secrets.token_hex(24)
    nginx = Nginx(tmp_path)
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_text(token + "\n")
    config = SERVICE.format(secrets=folder, port=nginx.port, root=tmp_path)
    async with nginx.running(), Process(tmp_path, config) as sidecar:
        replies = [
            await ask(sidecar, "/vendor/things?x=%2F", "Authorization: Bearer placeholder"),
            await ask(sidecar, "/things", host="vendor.localhost"),
            await ask(sidecar, f"http://localhost:{nginx.port}/v1/things", host=f"localhost:{nginx.port}"),
            await ask(sidecar, "/vendor/things", "Accept-Encoding: gzip"),
            await ask(sidecar, "/vendor/moved"),
        ]
        assert [reply.status for reply in replies] == [200, 200, 200, 200, 301]
        assert replies[3].value("Content-Encoding") == "gzip"
        assert gzip.decompress(replies[3].body) == replies[0].body
        assert replies[4].value("Location") == "http://localhost/vendor/things"
        for line in nginx.lines():
            assert line["authorization"] == f"Bearer {token}"
            assert (line["host"], line["sni"]) == (f"localhost:{nginx.port}", "localhost")
            assert line["tls"] in {"TLSv1.2", "TLSv1.3"}
        assert nginx.lines()[0]["line"] == "GET /v1/things?x=%2F HTTP/1.1"
        assert len({line["connection"] for line in nginx.lines()}) == 1
        await sidecar.wait_for_line(lambda line: line.get("status") == 301, "the last call's line")
        assert await asyncio.to_thread(main, ["show", "config", "-c", str(sidecar.config_file)]) == 0
        shown = await written(sidecar) + capsys.readouterr().out
        assert token not in shown + "".join(str(reply.raw_head + reply.body) for reply in replies)


async def test_nginx_goes_away_and_comes_back(tmp_path: Path) -> None:
    """During the outage calls are told so at once, and the pod stays ready; afterwards they work without any act."""
    nginx = Nginx(tmp_path)
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "key").write_text(secrets.token_hex(24))
    config = SERVICE.format(secrets=tmp_path / "secrets", port=nginx.port, root=tmp_path)
    async with Process(tmp_path, config) as sidecar:
        async with nginx.running():
            assert (await ask(sidecar, "/vendor/things")).status == 200
        reply = await ask(sidecar, "/vendor/things")
        assert (reply.status, reply.value("Sidecar-Error")) == (502, "connect_failed")
        async with aiohttp.ClientSession() as session, session.get(f"{sidecar.telemetry_url}/readyz") as answer:
            assert answer.status == 200
        async with nginx.running():
            assert (await ask(sidecar, "/vendor/things")).status == 200
